"""Results by domain: which dataset is of which, and the table."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.datasets.packing.prepare import find
from mobilebench.errors import UserError
from mobilebench.evaluation.metrics import get_metric
from mobilebench.report.figures import runs_line
from mobilebench.report.table import Field, Table, number, text
from mobilebench.scoring.domains import by_domain
from mobilebench.scoring.measures import title
from mobilebench.scoring.xscore import ROUNDING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mobilebench.config.data import DataSource
    from mobilebench.report.inputs import ReportInputs
    from mobilebench.scoring.domains import DomainStanding


def domains_of(datasets: Iterable[str], own: Mapping[str, DataSource]) -> dict[str, str]:
    """Return {dataset: its domain} of those that have one; own: the data_sources of the suite."""
    found = {}
    for dataset in datasets:
        with suppress(UserError):  # somebody else's own data
            found[dataset] = find(dataset, own).domain
    return {dataset: domain for dataset, domain in found.items() if domain}


def domains_table(inputs: ReportInputs) -> Table:
    """Return mean place and mean result of each model in each domain, in the order of the scores.

    Raises UserError where the datasets are of fewer than two domains.
    """
    matrix = inputs.matrix
    standings = by_domain(matrix, inputs.domains)
    if len(standings) < 2:
        raise UserError("the datasets are of fewer than two domains")
    columns = [column for standing in standings for column in _columns(standing)]
    order = [matrix.models.index(row.model) for row in inputs.scores.rows]
    rows = tuple((text(matrix.models[i]), *(fields[i] for _, fields in columns)) for i in order)
    listed = "; ".join(f"{standing.domain}: {', '.join(standing.datasets)}" for standing in standings)
    caption = (
        f"Mean rank (1 is the best of {len(matrix.models)} models) and mean result over the n datasets of each domain, "
        f"best bold. {listed}. {runs_line(inputs)}"
    )
    if left_out := [name for name in matrix.datasets if not inputs.domains.get(name)]:
        caption += f" Of no known domain, and left out: {', '.join(left_out)}."
    return Table("domains", caption, ("model", *(head for head, _ in columns)), rows)


def _columns(standing: DomainStanding) -> list[tuple[str, list[Field]]]:
    """Return head and fields, one a model, of the columns of a domain; no results where it has several metrics."""
    count, note = f"(n={len(standing.datasets)})", f"mean over {', '.join(standing.datasets)}"
    least = np.nanmin(standing.rank, initial=np.inf)
    ranks = [number(float(rank), 2, strong=bool(rank <= least + ROUNDING), note=note) for rank in standing.rank]
    columns = [(f"{standing.domain} {count}: rank", ranks)]
    if standing.metric:
        metric = get_metric(standing.metric)
        upward = standing.value * (1 if metric.higher_is_better else -1)
        best = np.nanmax(upward, initial=-np.inf)
        fields = [
            Field(metric.show(float(value)), float(value), strong=bool(up >= best - ROUNDING), note=note)
            if np.isfinite(value)
            else number(None)
            for value, up in zip(standing.value, upward, strict=True)
        ]
        columns.append((f"{standing.domain} {count}: {title(metric)}", fields))
    return columns
