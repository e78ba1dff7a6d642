"""Results with fewer train images: curves with intervals, and whether models keep their order."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.errors import UserError
from mobilebench.evaluation.metrics import get_metric
from mobilebench.report.charts import Line, LineChart, line_chart
from mobilebench.report.figures import runs_line
from mobilebench.report.table import Field, Table, number, text
from mobilebench.scoring.low_data import retained
from mobilebench.scoring.measures import title
from mobilebench.scoring.ranking import ValueIntervals, value_intervals
from mobilebench.scoring.xscore import ROUNDING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mobilebench.report.inputs import ReportInputs
    from mobilebench.report.style import Picture
    from mobilebench.scoring import Matrix
    from mobilebench.scoring.low_data import LowData

    Findings = tuple[tuple[str, ...], tuple[Picture, ...], tuple[Table, ...]]

MARKED = 4  # models that stand out in the figure where no others are named
FEWEST = 4  # models, for a correlation of two orders


def low_data_findings(inputs: ReportInputs) -> Findings:
    """Return sentences, the figure and two tables. Raises UserError where no dataset is there with fewer images."""
    found = _measured(inputs.low_data) if inputs.low_data else None
    if found is None or not found.shares:
        raise UserError("no dataset is there both with all and with fewer of its train images")
    ends = {name: value_intervals(found.matrix, name) for names in found.shares.values() for name in names}
    over = list(dict.fromkeys(each.over for each in ends.values() if each.over))
    source = found.source or runs_line(inputs).rstrip(".")
    words = f"{source}; 95 % intervals cover {'; or '.join(over) or 'nothing: the noise is not known'}."
    tables = [table for table in (_orders(found),) if table.rows]
    return (), (_chart(inputs, found, ends, words),), (*tables, _results(found, ends, words))


def _measured(found: LowData) -> LowData:
    """Return what has a run: of each dataset, where it and at least one with fewer images have."""
    known = {d for d, counts in zip(found.matrix.datasets, found.matrix.counts.T, strict=True) if counts.any()}
    shares = {base: {name: n for name, n in of.items() if name in known} for base, of in found.shares.items()}
    return replace(found, shares={base: of for base, of in shares.items() if base in of and len(of) > 1})


def _chart(inputs: ReportInputs, found: LowData, ends: dict[str, ValueIntervals], words: str) -> Picture:
    matrix = found.matrix
    best = [row.model for row in inputs.scores.rows if row.model in matrix.models]
    panels = {
        f"{base}, {title(get_metric(matrix.metrics[matrix.datasets.index(base)]))}": tuple(
            line for model in matrix.models if (line := _line(matrix, model, shares, ends))
        )
        for base, shares in found.shares.items()
    }
    caption = f"Results against the number of train images, n = {len(matrix.models)} models. {words}"
    marked = found.marked or tuple(best[:MARKED])
    return line_chart(LineChart("low_data", caption, "train images", "test result", panels, marked))


def _line(matrix: Matrix, model: str, shares: Mapping[str, int], ends: dict[str, ValueIntervals]) -> Line | None:
    points = []
    for name, train in sorted(shares.items(), key=lambda share: share[1]):
        value = _value(matrix, model, name)
        if not np.isfinite(value):
            continue
        low, high = ends[name].ends.get(model, (value, value))
        scale = 100 if get_metric(matrix.metrics[matrix.datasets.index(name)]).percent else 1
        points.append((float(train), *(scale * (x if np.isfinite(x) else value) for x in (value, low, high))))
    return Line(model, *zip(*points, strict=True)) if points else None


def _value(matrix: Matrix, model: str, dataset: str) -> float:
    return float(matrix.mean[matrix.models.index(model), matrix.datasets.index(dataset)])


def _share(train: int, whole: int) -> str:
    return f"{100 * train / whole:.3g} %"


def _results(found: LowData, ends: dict[str, ValueIntervals], words: str) -> Table:
    rows = []
    for base, shares in found.shares.items():
        for name, train in sorted(shares.items(), key=lambda share: share[1]):
            metric = get_metric(found.matrix.metrics[found.matrix.datasets.index(name)])
            for model in found.matrix.models:
                value = _value(found.matrix, model, name)
                low, high = ends[name].ends.get(model, (np.nan, np.nan))
                interval = f"{metric.show(low)} to {metric.show(high)}" if np.isfinite(low) else "unknown"
                shown = Field(metric.show(value), value) if np.isfinite(value) else number(None)
                share = _share(train, shares[base])
                rows.append((text(base), text(share), number(train, 0), text(model), shown, text(interval)))
    heads = ("dataset", "share", "train images", "model", "result", "interval")
    return Table("low_data", f"Results by number of train images. {words}", heads, tuple(rows))


def _orders(found: LowData) -> Table:
    """Return how well the order of models with fewer images agrees with that with all, dataset by dataset."""
    rows, counts = [], set()
    for base, shares in found.shares.items():
        for name, train in sorted(shares.items(), key=lambda share: -share[1]):
            both = found.matrix.select(datasets=[base, name]).upward if name != base else np.empty((0, 2))
            both = both[np.isfinite(both).all(axis=1)]
            if len(both) < FEWEST or (np.ptp(both, axis=0) <= ROUNDING).any():
                continue
            kept = retained(both[:, :1], both[:, 1:])
            counts.add(len(both))
            interval = text(f"{kept.low:.2f} to {kept.high:.2f}")
            rows.append((text(base), text(_share(train, shares[base])), number(kept.rho, 2), interval, number(kept.p)))
    n = " to ".join(map(str, sorted({min(counts), max(counts)}))) if counts else "0"
    caption = (
        f"Spearman's correlation of the order of n = {n} models with fewer train images and with all, 95 % bootstrap "
        "interval over models and one-sided permutation p of each for itself, not corrected for their number."
    )
    return Table("order_kept", caption, ("dataset", "share", "Spearman", "interval", "p"), tuple(rows))
