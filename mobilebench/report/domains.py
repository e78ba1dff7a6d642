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
from mobilebench.scoring.aggregation import in_domains
from mobilebench.scoring.measures import title

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mobilebench.config.data import DataSource
    from mobilebench.report.inputs import ReportInputs
    from mobilebench.scoring import Matrix
    from mobilebench.scoring.aggregation import Aggregate


def domains_of(datasets: Iterable[str], own: Mapping[str, DataSource]) -> dict[str, str]:
    """Return {dataset: its domain} of those that have one; own: the data_sources of the suite."""
    found = {}
    for dataset in datasets:
        with suppress(UserError):  # somebody else's own data
            found[dataset] = find(dataset, own).domain
    return {dataset: domain for dataset, domain in found.items() if domain}


def domains_table(inputs: ReportInputs) -> Table:
    """Return mean rank and mean result of each model in each domain, in the order of the scores.

    Raises UserError where the datasets are of fewer than two domains.
    """
    matrix = inputs.matrix
    listed: dict[str, list[str]] = {}
    for name in matrix.datasets:
        if domain := inputs.domains.get(name):
            listed.setdefault(domain, []).append(name)
    if len(listed) < 2:
        raise UserError("the datasets are of fewer than two domains")
    found = in_domains(matrix, inputs.domains)
    columns = [column for domain, names in listed.items() for column in _columns(matrix, domain, names, found[domain])]
    order = [matrix.models.index(row.model) for row in inputs.scores.rows]
    rows = tuple((text(matrix.models[i]), *(fields[i] for _, fields in columns)) for i in order)
    said = "; ".join(f"{domain}: {', '.join(names)}" for domain, names in listed.items())
    caption = (
        f"Mean rank (1 is the best of {len(matrix.models)} models, equal ones share the mean of theirs) and mean "
        f"result over the n datasets of each domain, best bold. {said}. {runs_line(inputs)}"
    )
    if left_out := [name for name in matrix.datasets if not inputs.domains.get(name)]:
        caption += f" Of no known domain, and left out: {', '.join(left_out)}."
    return Table("domains", caption, ("model", *(head for head, _ in columns)), rows)


def _columns(
    matrix: Matrix, domain: str, names: Sequence[str], ways: Sequence[Aggregate]
) -> list[tuple[str, list[Field]]]:
    """Return head and fields, one a model, of the columns of a domain; no results where it has several metrics."""
    count, note = f"(n={len(names)})", f"mean over {', '.join(names)}"
    of = {way.id: way for way in ways}
    best = of["mean_rank"].places == 1
    ranks = [number(float(r), 2, strong=bool(b), note=note) for r, b in zip(of["mean_rank"].shown, best, strict=True)]
    columns = [(f"{domain} {count}: rank", ranks)]
    if "mean_result" in of:
        metric = get_metric(matrix.metrics[matrix.datasets.index(names[0])])
        sign = 1 if metric.higher_is_better else -1
        fields = [
            Field(metric.show(sign * float(up)), sign * float(up), strong=bool(place == 1), note=note)
            if np.isfinite(up)
            else number(None)
            for up, place in zip(of["mean_result"].upward, of["mean_result"].places, strict=True)
        ]
        columns.append((f"{domain} {count}: {title(metric)}", fields))
    return columns
