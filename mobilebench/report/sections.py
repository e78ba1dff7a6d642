"""The report as a list of sections; the Markdown and the HTML page are two renderings of the same list."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.report import figures
from mobilebench.report.grid import Cell, Table, number, text

if TYPE_CHECKING:
    from mobilebench.report.inputs import ReportInputs
    from mobilebench.report.style import Picture
    from mobilebench.score import ScoreRow


@dataclass(frozen=True)
class Section:
    """One heading with its sentences, figures and tables, in that order."""

    name: str
    title: str
    words: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = field(default_factory=tuple)


def build(inputs: ReportInputs) -> tuple[Section, ...]:
    """Return every section these inputs allow, in reading order."""
    return (_leaderboard(inputs), _matrix(inputs), _figure_1(inputs))


def proxy_dataset(inputs: ReportInputs) -> str:
    """Return the dataset that stands in for ImageNet: imagenette where present, the first one otherwise."""
    names = inputs.matrix.datasets
    return "imagenette" if "imagenette" in names else names[0]


def _leaderboard(inputs: ReportInputs) -> Section:
    scores = inputs.scores
    caption = (
        f"xScore = G - {scores.lam:g} V (Eq. 1 to 3), {scores.anchors_name} anchors, {len(scores.datasets)} datasets. "
        f"Intervals: {scores.level:.0%}, resampled over {scores.interval_over}. "
        "P(above next): probability that the model truly stands above the one below it."
    )
    columns = ("rank", "model", "xScore", "interval", "G", "V", "rank interval", "P(above next)", "runs per cell")
    table = Table("leaderboard", caption, columns, tuple(_score_cells(row) for row in scores.rows))
    return Section("leaderboard", "Leaderboard", scores.notes, (figures.leaderboard(inputs),), (table,))


def _score_cells(row: ScoreRow) -> tuple[Cell, ...]:
    marks = (f" (outside the anchors on {', '.join(row.outside)})" if row.outside else "") + (
        f" (absent: {', '.join(row.absent)})" if row.absent else ""
    )
    return (
        number(row.rank, 0),
        text(row.model + marks),
        number(row.score),
        between(row.low, row.high),
        number(row.g),
        number(row.v),
        between(row.rank_low, row.rank_high, digits=0),
        number(row.p_above_next, 2),
        Cell("single run", 1.0) if row.seeds == 1 else number(row.seeds, 0),
    )


def between(low: float, high: float, digits: int = 3) -> Cell:
    """Return an interval cell, sorted by its lower end."""
    if not np.isfinite(low):
        return number(None)
    return Cell(f"{low:.{digits}f} to {high:.{digits}f}", float(low))


def _matrix(inputs: ReportInputs) -> Section:
    matrix, order = inputs.matrix, [inputs.matrix.models.index(row.model) for row in inputs.scores.rows]
    mean = matrix.mean
    best = np.nanmax(np.where(np.isnan(mean), -1, mean), axis=0)
    caption = f"Test top-1 in percent, best of each dataset bold. {figures.runs_line(inputs)} {_spread_words(inputs)}"
    rows = tuple(
        (
            text(matrix.models[i]),
            *(_accuracy(inputs, i, j, strong=bool(mean[i, j] == best[j])) for j in range(len(best))),
        )
        for i in order
    )
    heads = tuple(
        f"{name} (n = {size})" if size else name for name, size in zip(matrix.datasets, matrix.n_test, strict=True)
    )
    table = Table("accuracy", caption, ("model", *heads), rows)
    return Section("matrix", "Accuracy matrix", (), (figures.heat_map(inputs), figures.profiles(inputs)), (table,))


def _spread_words(inputs: ReportInputs) -> str:
    if inputs.matrix.counts.max() > 1:
        return "± is the standard deviation over seeds where there are several."
    if (inputs.matrix.n_test > 0).all():
        return "± is the 95% half-width from the n test images (Wald)."
    return "Test sizes unknown: no interval."


def _accuracy(inputs: ReportInputs, i: int, j: int, *, strong: bool) -> Cell:
    values = inputs.matrix.top1[i, j]
    values = values[~np.isnan(values)]
    if not values.size:
        return Cell("absent", float("nan"))
    mean, size = float(values.mean()), int(inputs.matrix.n_test[j])
    half = ""
    if values.size > 1:
        half = f" ±{100 * values.std(ddof=1):.2f}"
    elif size and inputs.matrix.counts.max() == 1:
        half = f" ±{196 * (mean * (1 - mean) / size) ** 0.5:.2f}"
    return Cell(f"{100 * mean:.2f}{half}", mean, strong=strong)


def _figure_1(inputs: ReportInputs) -> Section:
    name = proxy_dataset(inputs)
    if not any(row.rank for row in inputs.scores.rows):
        return Section("proxy", f"Does {name} tell the xScore?", ("No model has a score yet.",))
    return Section("proxy", f"Does {name} tell the xScore?", (), (figures.figure_1(inputs, name),))
