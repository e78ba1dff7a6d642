"""The slope chart of a comparison: one line a model (its xScore) or a dataset (its mean result) from A to B."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mobilebench.evaluation.metrics import get_metric
from mobilebench.report.style import BLUE, INK, LINE, MUTED, ORANGE, Picture, canvas, styled
from mobilebench.scoring.measures import heading

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mobilebench.analysis.compare import Comparison

_GAP = 0.04  # of the axis' height, between two labels


@styled()
def slopes(found: Comparison, a: str, b: str) -> Picture:
    """Return the chart; rising lines are blue and solid, falling ones orange and dashed."""
    scores = [row for row in found.of("xscore") if np.isfinite([row.a, row.b]).all()]
    percent = all(get_metric(name).percent for name in found.metrics)
    rows, scale = (scores, 1.0) if scores else (found.of("dataset"), 100.0 if percent else 1.0)
    rows = [row for row in rows if np.isfinite([row.a, row.b]).all()]
    figure, (axes,) = canvas(6.4, 1.6 + 0.28 * len(rows))
    for row in rows:
        rises = row.difference >= 0
        axes.plot(
            [0, 1], [scale * row.a, scale * row.b], "o", markersize=4, linewidth=1.4, color=BLUE if rises else ORANGE,
            linestyle="-" if rises else "--",
        )  # fmt: skip
    low, high = axes.get_ylim()
    ends = [scale * row.b for row in rows]
    for row, end, y in zip(rows, ends, _apart(ends, _GAP * (high - low)), strict=True):
        axes.plot([1.02, 1.1], [end, y], color=LINE, linewidth=0.8)
        text = f"{row.name}  {scale * row.difference:+.{1 if percent and not scores else 2}f}"
        axes.text(1.12, y, text, va="center", fontsize=8.5, color=INK)
    axes.set_xlim(-0.1, 1.75)
    axes.set_xticks([0, 1], [f"A\n{a}", f"B\n{b}"])
    axes.set_ylabel("xScore" if scores else f"test {heading(found.metrics)}")
    axes.grid(visible=False)
    axes.spines["bottom"].set_color(MUTED)
    n = len(found.seeds)
    known = any(row.interval_over for row in rows)
    runs = f"Means of {n} seeds." if n > 1 else "Single runs." if known else "Single runs, no interval."
    of_dataset = f"{heading(found.metrics)} of each dataset, mean over the models"
    what = "xScore of each model on one common scale" if scores else of_dataset
    return Picture("slopes", f"{what}, in A ({a}) and B ({b}). {runs}", figure)


def _apart(values: Sequence[float], gap: float) -> list[float]:
    """Return the label heights nearest to their values, in their order, that are at least `gap` apart."""
    from scipy.optimize import isotonic_regression

    order = np.argsort(values)
    steps = gap * np.arange(len(order))
    answer = np.empty(len(order))
    answer[order] = isotonic_regression(np.asarray(values, dtype=float)[order] - steps).x + steps
    return [float(place) for place in answer]
