"""The figures of a score table: leaderboard, heat map, Figure 1, normalised profiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mobilebench.evaluation.metrics import get_metric
from mobilebench.report.notes import ranking_note, result_notes, score_notes
from mobilebench.report.style import BLUE, INK, LINE, MUTED, Picture, canvas, styled
from mobilebench.scoring.measures import dataset_heads, heading, short, title
from mobilebench.system.words import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    import matplotlib as mpl
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from mobilebench.report.inputs import ReportInputs
    from mobilebench.scoring import ScoreTable
    from mobilebench.scoring.ranking import Ranking

WIDTH = 5.2  # inches: as wide as a phone's screen at the size of its text


def spread(scores: ScoreTable) -> str:
    """Say what the bars of a figure of this table are."""
    if scores.draws is None:
        return "No interval (the notes say why)."
    return f"Bars: {scores.level:.0%} interval over {scores.interval_over}, {len(scores.draws)} draws."


@styled()
def leaderboard(inputs: ReportInputs) -> Picture:
    """Return every model's xScore with its interval, best on top."""
    rows = [row for row in inputs.scores.rows if row.rank]
    notes = score_notes(inputs.scores, inputs.matrix)
    figure, (axes,) = canvas(WIDTH, 0.9 + 0.27 * len(rows))
    places = np.arange(len(rows))
    for place, row in zip(places, rows, strict=True):
        axes.plot([row.low, row.high], [place, place], color=BLUE, linewidth=2.2, solid_capstyle="round")
    (points,) = axes.plot([row.score for row in rows], places, "o", color=INK, markersize=5)
    axes.set_yticks(places, [row.model for row in rows])
    axes.invert_yaxis()
    fixed = inputs.scores.anchors_name == "fixed"
    axes.set_xlabel(f"xScore (1: best of {'the anchors' if fixed else 'these models'} on every dataset, 0: worst)")
    axes.grid(visible=False, axis="y")
    caption = (
        f"xScore of {counted(len(rows), 'model')} (λ = {inputs.scores.lam:g}, {inputs.scores.anchors_name} anchors). "
        f"{spread(inputs.scores)}"
    )
    return Picture("leaderboard", caption, figure, ((points, tuple(notes[row.model] for row in rows)),))


@styled()
def ranking(found: Ranking, notes: Mapping[tuple[str, str], str]) -> Picture:
    """Return every model's result on one dataset with its interval, best on top; those that may be the best in blue.

    notes: what each (model, dataset) rests on, as `notes.result_notes` says.
    """
    metric = get_metric(found.metric)
    scale = 100 if metric.percent else 1
    figure, (axes,) = canvas(WIDTH, 0.9 + 0.27 * len(found.rows))
    noted: list[tuple[Artist, tuple[str, ...]]] = []
    for place, row in enumerate(found.rows):
        colour = BLUE if row.may_be_best else MUTED
        if np.isfinite(row.low):
            axes.plot([row.low * scale, row.high * scale], [place, place], color=colour, linewidth=2.2,
                      solid_capstyle="round")  # fmt: skip
        (point,) = axes.plot(
            row.value * scale, place, "o", color=INK, markersize=5, markerfacecolor=INK if row.may_be_best else "none"
        )
        noted.append((point, (ranking_note(row, notes[row.model, found.dataset]),)))
    axes.set_yticks(range(len(found.rows)), [row.model for row in found.rows])
    axes.invert_yaxis()
    axes.set_xlabel(f"test {metric.title} on {found.dataset}{' (%)' if metric.percent else ''}")
    axes.grid(visible=False, axis="y")
    told = "Blue and filled: not told apart from the best. " if found.source else ""
    models = counted(len(found.rows), "model")
    caption = f"{metric.title} of {models} on {found.dataset}, best on top. {told}{found.intervals}"
    return Picture(f"ranking_{found.dataset}", caption, figure, tuple(noted))


@styled()
def heat_map(inputs: ReportInputs) -> Picture:
    """Return the matrix: each result as people read it, coloured by its place between the anchors of its dataset."""
    scores, matrix = inputs.scores, inputs.matrix
    order = [matrix.models.index(row.model) for row in scores.rows]
    shade, values = scores.xscore.normalised[order], matrix.mean[order]
    metrics, notes = [get_metric(name) for name in matrix.metrics], result_notes(inputs)
    noted: list[tuple[Artist, tuple[str, ...]]] = []
    figure, (axes,) = canvas(WIDTH, 1.2 + 0.27 * len(order))
    mesh = axes.pcolormesh(np.clip(shade, 0, 1), cmap="cividis", vmin=0, vmax=1, edgecolors="none")
    for (i, j), value in np.ndenumerate(values):
        words = "absent" if np.isnan(value) else short(metrics[j], float(value))
        drawn = axes.text(
            j + 0.5, i + 0.5, words, ha="center", va="center", fontsize=8, color=_on(mesh.cmap, float(shade[i, j]))
        )
        if note := notes.get((matrix.models[order[i]], matrix.datasets[j])):
            noted.append((drawn, (note,)))
    axes.set_xticks(
        np.arange(len(matrix.datasets)) + 0.5, dataset_heads(matrix.datasets, matrix.metrics), rotation=25, ha="right",
        rotation_mode="anchor",
    )  # fmt: skip
    axes.set_yticks(np.arange(len(order)) + 0.5, [matrix.models[i] for i in order])
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    bar = figure.colorbar(mesh, ax=axes, fraction=0.035, pad=0.02)
    bar.set_label("place between the anchors")
    bar.outline.set_visible(False)
    caption = (
        f"Test results ({heading(matrix.metrics)}), one row a model by xScore; the colour is Eq. 1, bright is best. "
        + runs_line(inputs)
    )
    return Picture("heat_map", caption, figure, tuple(noted))


@styled()
def figure_1(inputs: ReportInputs, dataset: str) -> Picture:
    """Return the paper's Figure 1: models by xScore on x, the result on one dataset on y, a straight line through."""
    rows = [row for row in reversed(inputs.scores.rows) if row.rank]
    label, column = axis(inputs, dataset)
    y = np.array([column[inputs.matrix.models.index(row.model)] for row in rows])
    x = np.arange(len(rows), dtype=float)
    notes = both_notes(inputs, dataset)
    figure, (axes,) = canvas(WIDTH, 3.4)
    (points,) = axes.plot(x, y, "o", color=INK, markersize=5)
    _line(axes, x, y)
    axes.set_xticks(
        x, [f"{row.model}\n{row.score:.2f}" for row in rows], rotation=60, ha="right", rotation_mode="anchor"
    )
    axes.set_ylabel(label)
    axes.set_xlabel("models, xScore rising")
    caption = f"Figure 1 of the paper: {dataset} results of {len(rows)} models sorted by xScore. " + runs_line(inputs)
    return Picture("figure_1", caption, figure, ((points, tuple(notes[row.model] for row in rows)),))


@styled()
def profiles(inputs: ReportInputs) -> Picture:
    """Return one small panel a model: its normalised result on every dataset, the other models in grey behind."""
    scores = inputs.scores
    order = [scores.models.index(row.model) for row in scores.rows]
    columns = min(4, len(order))
    lines = -(-len(order) // columns)
    figure, panels = canvas(WIDTH, 0.7 + 1.15 * lines, lines, columns)
    x = np.arange(len(scores.datasets))
    for panel, i in zip(panels, order, strict=False):
        panel.plot(x, scores.xscore.normalised.T, color=LINE, linewidth=0.7)
        panel.plot(x, scores.xscore.normalised[i], "o-", color=BLUE, linewidth=1.4, markersize=3)
        panel.set_title(scores.models[i])
        panel.set_xticks(x, scores.datasets, rotation=90, fontsize=7)
        panel.set_yticks([0, 0.5, 1])
        panel.label_outer()
    for panel in panels[len(order) :]:
        panel.set_visible(False)
    caption = "Normalised result (Eq. 1) of each model on each dataset; grey lines are the others. " + runs_line(inputs)
    return Picture("profiles", caption, figure)


def axis(inputs: ReportInputs, dataset: str) -> tuple[str, NDArray[np.float64]]:
    """Return an axis of the results on one dataset: its label, and the models' means [M] in the unit it names."""
    at = inputs.matrix.datasets.index(dataset)
    metric = get_metric(inputs.matrix.metrics[at])
    return f"test {title(metric)} on {dataset}", inputs.matrix.mean[:, at] * (100 if metric.percent else 1)


def both_notes(inputs: ReportInputs, dataset: str) -> dict[str, str]:
    """Return {model: what its result on one dataset and its xScore rest on}."""
    results = result_notes(inputs)
    scores = score_notes(inputs.scores, inputs.matrix)
    return {model: f"{results[model, dataset]}\n{scores[model]}" for model in scores if (model, dataset) in results}


def runs_line(inputs: ReportInputs) -> str:
    """Say how many runs stand behind a result."""
    counts = inputs.matrix.counts[inputs.matrix.counts > 0]
    if counts.size == 0:
        return "No run."
    low, high = int(counts.min()), int(counts.max())
    if high == 1:
        return f"Each result is {inputs.result_is}."
    return f"Each result is the mean of {low if low == high else f'{low} to {high}'} seeds."


def _line(axes: Axes, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    if len(x) > 2:
        slope, intercept = np.polyfit(x, y, 1)
        axes.plot(x, slope * x + intercept, color=BLUE, linewidth=1.4)


def _on(cmap: mpl.colors.Colormap | None, shade: float) -> str:
    """Black or white, whichever reads on this shade."""
    if cmap is None or np.isnan(shade):
        return MUTED
    red, green, blue, _ = cmap(float(np.clip(shade, 0, 1)))
    return "black" if 0.3 * red + 0.59 * green + 0.11 * blue > 0.5 else "white"
