"""Names beside points, placed so that they cover neither each other nor a point."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Box = tuple[float, float, float, float]

SIZE = 8.0  # points
# Offsets in points and the side of the name that is nearest to its point, most wanted first.
_PLACES = (
    (5, 0, "left"), (-5, 0, "right"), (4, 7, "left"), (-4, 7, "right"), (4, -7, "left"), (-4, -7, "right"),
    (0, 10, "center"), (0, -10, "center"), (8, 14, "left"), (-8, 14, "right"), (8, -14, "left"), (-8, -14, "right"),
)  # fmt: skip


def label_points(axes: Axes, x: Floats, y: Floats, names: Sequence[str], lines: Sequence[Box] = ()) -> None:
    """Write each name at the first place beside its point that is free; limits and scale must be set before.

    lines: (x, y, x, y) of horizontal and vertical lines, in the units of the axes, which names keep clear of.
    """
    axes.margins(0.08)
    axes.autoscale_view()
    figure = axes.get_figure(root=True)
    assert figure is not None, "axes made by canvas() lie in a figure"
    figure.draw_without_rendering()
    per_point = figure.dpi / 72
    points = axes.transData.transform(np.column_stack([x, y])) / per_point
    left, bottom, right, top = (v / per_point for v in axes.get_window_extent().extents)
    taken: list[Box] = [(px - 3, py - 3, px + 3, py + 3) for px, py in points]
    for line in lines:
        ends = axes.transData.transform(np.reshape(line, (2, 2))) / per_point
        taken.append((*(ends.min(axis=0) - 1), *(ends.max(axis=0) + 1)))
    for k in np.argsort(-points[:, 1]):
        costs = [
            sum(_overlap(box, other) for other in taken) + 50 * _outside(box, (left, bottom, right, top))
            for box in (_box(points[k], place, names[k]) for place in _PLACES)
        ]
        place = _PLACES[int(np.argmin(costs))]
        taken.append(_box(points[k], place, names[k]))
        axes.annotate(
            names[k], (x[k], y[k]), place[:2], textcoords="offset points", ha=place[2], va="center", fontsize=SIZE,
        )  # fmt: skip


def apart(values: Floats, gap: float) -> Floats:
    """Move label heights up until each is `gap` from the next, keeping their order."""
    placed = np.array(values, dtype=float)
    for below, above in itertools.pairwise(np.argsort(values)):
        placed[above] = max(placed[above], placed[below] + gap)
    return placed


def _box(point: Floats, place: tuple[int, int, str], name: str) -> Box:
    """Where a name would lie, in points; a character is about 0.6 of the font size wide."""
    width = 0.6 * SIZE * len(name)
    x = point[0] + place[0] - {"left": 0.0, "right": width, "center": width / 2}[place[2]]
    y = point[1] + place[1]
    return x, y - SIZE * 0.6, x + width, y + SIZE * 0.6


def _overlap(a: Box, b: Box) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def _outside(box: Box, frame: Box) -> float:
    return max(0.0, frame[0] - box[0], box[2] - frame[2]) + max(0.0, frame[1] - box[1], box[3] - frame[3])
