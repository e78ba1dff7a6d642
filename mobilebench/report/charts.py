"""Lines with intervals in small panels, and critical-difference diagrams, from plain data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mobilebench.report.figures import WIDTH
from mobilebench.report.style import BLUE, GREEN, INK, MUTED, ORANGE, PINK, Picture, canvas, styled

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes

_MARKED = (BLUE, ORANGE, GREEN, PINK)  # lines that stand out; the others are grey


@dataclass(frozen=True, eq=False)
class Line:
    """One line of a panel, with the interval of each point."""

    label: str
    """What it is of."""
    x: tuple[float, ...]
    """Where its points are."""
    y: tuple[float, ...]
    """The points."""
    low: tuple[float, ...]
    """Lower ends of their intervals."""
    high: tuple[float, ...]
    """Upper ends of their intervals."""


@dataclass(frozen=True, eq=False)
class LineChart:
    """Small panels of lines beside each other, x on a logarithmic scale."""

    name: str
    """Id of the figure."""
    caption: str
    """What it shows, with its n."""
    x_label: str
    """What x is."""
    y_label: str
    """What y is."""
    panels: Mapping[str, tuple[Line, ...]]
    """{title of a panel: its lines}."""
    marked: tuple[str, ...] = ()
    """Labels of lines that stand out."""


@dataclass(frozen=True, eq=False)
class RankChart:
    """A critical-difference diagram: mean ranks on an axis, bars over groups that a test does not tell apart."""

    name: str
    """Id of the figure."""
    caption: str
    """What it shows, with its n and the test."""
    ranks: Mapping[str, float]
    """{model: mean rank}, 1 = best."""
    difference: float
    """The critical difference."""
    groups: tuple[tuple[str, ...], ...]
    """Models that the test does not tell apart, each group as large as it gets."""


@styled()
def line_chart(found: LineChart) -> Picture:
    """Return a panel for each group of lines, two abreast, with bars for the intervals and one legend."""
    columns = min(2, len(found.panels))
    rows = -(-len(found.panels) // columns)
    figure, axes = canvas(WIDTH, 0.5 + 2.1 * rows, rows, columns)
    for panel, (title, lines) in zip(axes, found.panels.items(), strict=False):
        panel.set_title(title)
        panel.set_xscale("log")
        places = sorted({x for line in lines for x in line.x})
        panel.set_xticks(places, [f"{place:,g}" for place in places])
        panel.minorticks_off()
        for line in lines:
            _line(panel, line, found.marked)
    for spare in axes[len(found.panels) :]:
        spare.set_visible(False)
    figure.supxlabel(found.x_label, fontsize=9)
    figure.supylabel(found.y_label, fontsize=9)
    handles = {line.get_label(): line for panel in axes for line in panel.lines if line.get_label() in found.marked}
    figure.legend(handles.values(), [str(label) for label in handles], loc="outside upper center", ncols=2)
    return Picture(found.name, found.caption, figure)


def _line(panel: Axes, line: Line, marked: tuple[str, ...]) -> None:
    stands_out = line.label in marked
    colour = _MARKED[marked.index(line.label) % len(_MARKED)] if stands_out else MUTED
    below = [y - low for y, low in zip(line.y, line.low, strict=True)]
    above = [high - y for y, high in zip(line.y, line.high, strict=True)]
    panel.errorbar(line.x, line.y, (below, above), color=colour, linewidth=0.8, fmt="none", alpha=0.9)
    panel.plot(
        line.x, line.y, "o-" if stands_out else "-", color=colour, markersize=3,
        linewidth=1.4 if stands_out else 0.6, label=line.label, zorder=3 if stands_out else 2,
    )  # fmt: skip


@styled()
def rank_chart(found: RankChart) -> Picture:
    """Return the models by mean rank with their bars, and the critical difference as a length."""
    order = sorted(found.ranks, key=found.ranks.__getitem__)
    figure, (axes,) = canvas(WIDTH, 1.1 + 0.27 * len(order))
    for place, model in enumerate(order):
        axes.plot(found.ranks[model], place, "o", color=INK, markersize=5)
    for k, group in enumerate(found.groups):
        ends = [found.ranks[model] for model in group]
        rows = [order.index(model) for model in group]
        # A bar is as tall as its group, beside the others': which rows it spans is what it says.
        at = max(found.ranks.values()) + 0.35 * (k + 1)
        axes.plot([at, at], [min(rows), max(rows)], color=BLUE, linewidth=2.5, solid_capstyle="round")
        assert max(ends) - min(ends) < found.difference, "a group is of models that are not told apart"
    axes.plot([1, 1 + found.difference], [-1, -1], color=ORANGE, linewidth=2.5, solid_capstyle="butt")
    axes.annotate(f"critical difference {found.difference:.2f}", (1 + found.difference, -1), (6, 0),
                  textcoords="offset points", va="center", fontsize=8)  # fmt: skip
    axes.set_yticks(range(len(order)), order)
    axes.invert_yaxis()
    axes.set_xlabel("mean rank, 1 is best")
    axes.grid(visible=False, axis="y")
    return Picture(found.name, found.caption, figure)
