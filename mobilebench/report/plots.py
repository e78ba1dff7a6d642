"""Figures of the analysis: proxy scatter, subsets, lambda, cost, elements, learning curves."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from mobilebench.evaluation.metrics import get_metric
from mobilebench.report.analysis import cost_columns, merit
from mobilebench.report.figures import WIDTH, axis, both_notes, runs_line
from mobilebench.report.label_placement import apart, label_points
from mobilebench.report.style import BLUE, INK, LINE, MUTED, ORANGE, Picture, canvas, styled
from mobilebench.scoring.effects import element_effects, lambda_sweep, pareto_front
from mobilebench.scoring.proxy import proxy_fit
from mobilebench.scoring.subsets import all_subsets, chance
from mobilebench.system.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from mobilebench.models.cost.cost_file import CostRow
    from mobilebench.report.inputs import Curve, ReportInputs
    from mobilebench.scoring import Matrix, ScoreTable
    from mobilebench.scoring.subsets import Subset

    Floats = NDArray[np.float64]

MANY = 2_000  # subsets of one size beyond which the figure leaves that size out


@styled()
def proxy_scatter(inputs: ReportInputs, dataset: str) -> Picture:
    """Return xScore against the result on one dataset with the fitted line and its 95 % band."""
    found = proxy_fit(inputs.matrix, dataset, lam=inputs.scores.lam)
    label, shown = axis(inputs, dataset)
    kept = [inputs.matrix.models.index(name) for name in found.models]
    x, line = shown[kept], found.whole
    figure, (axes,) = canvas(WIDTH, 3.8)
    at = np.linspace(x.min(), x.max(), 60)
    # The fit is on `upward`: the same values in another unit, or turned.
    order = np.argsort(x)
    upward = np.interp(at, x[order], found.upward[order])
    middle, half = line.slope * upward + line.intercept, line.band(found.upward, upward)
    axes.fill_between(at, middle - half, middle + half, color=LINE, alpha=0.6, linewidth=0)
    axes.plot(at, middle, color=BLUE, linewidth=1.4)
    (points,) = axes.plot(x, found.score, "o", color=INK, markersize=4.5)
    label_points(axes, x, found.score, found.models)
    axes.set_xlabel(label)
    axes.set_ylabel("xScore")
    caption = (
        f"xScore against {dataset} results, n = {line.n} models: "
        f"r = {line.r:.2f} [{line.r_low:.2f}, {line.r_high:.2f}], "
        f"Spearman {line.rho:.2f} [{line.rho_low:.2f}, {line.rho_high:.2f}]; line and 95% band by least squares. "
    )
    notes = both_notes(inputs, dataset)
    noted = ((points, tuple(notes[name] for name in found.models)),)
    return Picture("proxy_scatter", caption + runs_line(inputs), figure, noted)


@styled()
def subset_plot(matrix: Matrix, lam: float, marked: Sequence[str], label: str) -> Picture:
    """Return every subset's rank agreement with the datasets it leaves out; `label` names the marked subset."""
    figure, (axes,) = canvas(WIDTH, 3.2)
    count = len(matrix.datasets)
    noted: list[tuple[Artist, tuple[str, ...]]] = []
    sizes = [k for k in range(2, count) if math.comb(count, k) <= MANY]
    for size in sizes:
        found = all_subsets(matrix, size, lam=lam)
        y = np.array([s.spearman for s in found])
        (dots,) = axes.plot(size + _beeswarm(y), y, "o", color=MUTED, markersize=3.2, alpha=0.55, markeredgewidth=0)
        noted.append((dots, tuple(_subset_note(s) for s in found if np.isfinite(s.spearman))))
        axes.plot([size - 0.3, size + 0.3], [np.median(y)] * 2, color=BLUE, linewidth=2)
        if noise := chance(matrix, size, lam=lam, nested=False):
            axes.plot([size - 0.4, size + 0.4], [noise.best.spearman] * 2, color=INK, linewidth=1, linestyle="--")
        own = [s.spearman for s in found if set(s.datasets) == set(marked)]
        if own:
            axes.plot(size, own[0], "D", color=ORANGE, markersize=6)
            axes.annotate(label, (size, own[0]), (0, 9), textcoords="offset points", color=ORANGE, ha="center")
    axes.set_xticks(sizes)
    axes.margins(y=0.12)
    axes.set_xlabel("datasets in the subset")
    axes.set_ylabel("Spearman with the score\nof the other datasets")
    caption = (
        f"Each dot is one subset of datasets, n = {len(matrix.models)} models; bars are medians of a size. Dashed: "
        "what the best subset of that size reaches on noise in 5 % of grids; a best one below it says nothing."
    )
    return Picture("subsets", caption, figure, tuple(noted))


def _subset_note(subset: Subset) -> str:
    return f"{', '.join(subset.datasets)}: Spearman {subset.spearman:.3f} with the score of the others"


@styled()
def lambda_plot(scores: ScoreTable) -> Picture:
    """Return each model's xScore as lambda goes from 0 to 1, named at the right end."""
    sweep = lambda_sweep(scores.xscore)
    figure, (axes,) = canvas(WIDTH, 3.6)
    known = [i for i in range(len(scores.models)) if np.isfinite(sweep.scores[0, i])]
    for k, i in enumerate(sorted(known, key=lambda i: -sweep.scores[-1, i])):
        axes.plot(sweep.lams, sweep.scores[:, i], color=BLUE if k % 2 else INK, linewidth=1.3)
    ends = apart(sweep.scores[-1, known], 0.042 * (np.nanmax(sweep.scores) - np.nanmin(sweep.scores)))
    for i, y in zip(known, ends, strict=True):
        axes.annotate(
            scores.models[i], (1, sweep.scores[-1, i]), (1.03, y), fontsize=8, va="center", annotation_clip=False
        )
    axes.axvline(scores.lam, color=MUTED, linewidth=0.8, linestyle="--")
    axes.set_xlim(0, 1)
    axes.set_xlabel("λ (dashed: the one used)")
    axes.set_ylabel("xScore")
    return Picture(
        "lambda", f"xScore of {counted(len(known), 'model')} as lambda moves; crossings are changes of rank.", figure
    )


@styled()
def pareto_plot(inputs: ReportInputs, costs: Sequence[CostRow]) -> Picture:
    """Return how good each model is (`analysis.merit`) against each known cost, the Pareto front drawn as steps."""
    what = merit(inputs)
    assert what is not None, "the caller has looked whether there is anything to hold costs against"
    known = [row for row in costs if row.model in what.shown]
    score = np.array([what.shown[row.model] for row in known])
    upward = np.array([what.upward[row.model] for row in known])
    params, macs, latency = cost_columns(known)
    panels = [("params (M)", params / 1e6), ("MACs (M), log scale", macs / 1e6)]
    if np.isfinite(latency).any():
        panels.append(("latency (ms), log scale", latency))
    noted: list[tuple[Artist, tuple[str, ...]]] = []
    figure, axes = canvas(WIDTH, 2.9 * len(panels), len(panels))
    for panel, (label, values) in zip(axes, panels, strict=True):
        panel.set_xlabel(label)
        if "log" in label:
            panel.set_xscale("log")
            plain_ticks(panel, values)
        names = [row.model for row in known]
        words = [
            f"{what.notes[name]}\n{label.partition(',')[0]}: {value:,.2f}"
            for name, value in zip(names, values, strict=True)
        ]
        noted += _pareto_panel(panel, values, (score, upward), (names, words), what.title)
    caption = (
        f"Cost against {what.title}, n = {counted(len(known), 'model')}; filled orange: nothing is both cheaper and "
        "better. "
    )
    return Picture("pareto", caption + runs_line(inputs), figure, tuple(noted))


@styled()
def element_plot(inputs: ReportInputs) -> Picture:
    """Return the difference in mean xScore that goes with each element, its group sizes and p beside it."""
    effects = element_effects(inputs.scores.models, inputs.scores.xscore.score, inputs.elements or {})
    figure, (axes,) = canvas(WIDTH, 0.9 + 0.27 * len(effects))
    for place, effect in enumerate(effects):
        axes.plot([0, effect.effect], [place, place], color=LINE, linewidth=2)
        axes.plot(effect.effect, place, "o", color=BLUE if effect.p < 0.05 else MUTED, markersize=5)
        p = f"p = {effect.p:.2f}" if math.isfinite(effect.p) else "p undefined"
        words = f"{effect.n_with} vs {effect.n_without}, {p}"
        axes.annotate(words, (1.02, place), xycoords=("axes fraction", "data"), fontsize=8, va="center")
    axes.axvline(0, color=MUTED, linewidth=0.8)
    axes.set_yticks(range(len(effects)), [effect.element for effect in effects])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("mean xScore with minus without the element")
    return Picture(
        "elements", f"Associations among {len(inputs.scores.models)} models; blue would be p < 0.05.", figure
    )


@styled()
def curves_plot(inputs: ReportInputs) -> Picture:
    """Return the metric by epoch, one panel a dataset; the best three of the leaderboard are named, the others grey."""
    names = [d for d in inputs.matrix.datasets if any(c.dataset == d for c in inputs.curves)]
    columns = min(2, len(names))
    figure, panels = canvas(WIDTH, 0.6 + 2.1 * -(-len(names) // columns), -(-len(names) // columns), columns)
    best = [row.model for row in inputs.scores.rows[:3]]
    colours = dict(zip(best, (BLUE, ORANGE, INK), strict=False))
    styles = dict(zip(best, ("-", "--", ":"), strict=False))
    for panel, name in zip(panels, names, strict=False):
        for curve in sorted((c for c in inputs.curves if c.dataset == name), key=lambda c: c.model in best):
            first = curve.seed == min(c.seed for c in inputs.curves)
            panel.plot(
                curve.epochs, _as_shown(curve), styles.get(curve.model, "-"),
                color=colours.get(curve.model, LINE), linewidth=1.4 if curve.model in best else 0.8,
                marker="o" if len(curve.epochs) == 1 else None, markersize=3,
                label=curve.model if curve.model in best and first else None,
            )  # fmt: skip
            panel.set_ylabel(_read(curve), fontsize=9)
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set_title(name)
    for panel in panels[len(names) :]:
        panel.set_visible(False)
    lines = {line.get_label(): line for panel in panels for line in panel.get_lines() if line.get_label() in best}
    figure.legend(list(lines.values()), [str(name) for name in lines], loc="outside upper center", ncols=3)
    figure.supxlabel("epoch", fontsize=9)
    caption = "Learning curves, each line one run; shown for diagnosis, the kept epoch alone is scored. "
    return Picture("curves", caption + _curve_count(inputs.curves), figure)


def _as_shown(curve: Curve) -> list[float]:
    return [100 * value if get_metric(curve.metric).percent else value for value in curve.values]


def _read(curve: Curve) -> str:
    """Return what a curve shows: `test top-1 (%)`."""
    metric = get_metric(curve.metric)
    return f"{curve.split} {metric.title.lower()}{' (%)' if metric.percent else ''}"


def _curve_count(curves: Sequence[Curve]) -> str:
    return f"{counted(len(curves), 'run')}; grey: models beyond the best three."


def _pareto_panel(
    axes: Axes, cost: Floats, of: tuple[Floats, Floats], called: tuple[Sequence[str], Sequence[str]], label: str
) -> list[tuple[Artist, tuple[str, ...]]]:
    """Draw one cost and return its points with their notes.

    of: how good each model is as shown, and turned so that the higher is the better; called: its name and its note.
    """
    (score, upward), (names, notes) = of, called
    front = pareto_front(cost, upward)
    (others,) = axes.plot(cost[~front], score[~front], "o", color=MUTED, markersize=4.5, markerfacecolor="none")
    order = np.argsort(cost[front])
    axes.step(cost[front][order], score[front][order], where="post", color=ORANGE, linewidth=1, alpha=0.5)
    (best,) = axes.plot(cost[front], score[front], "o", color=ORANGE, markersize=5.5)
    known = np.isfinite(cost)
    label_points(axes, cost[known], score[known], [n for n, k in zip(names, known, strict=True) if k])
    axes.set_ylabel(label)
    return [
        (points, tuple(note for note, drawn in zip(notes, of_points & known, strict=True) if drawn))
        for points, of_points in ((best, front), (others, ~front))
        if (of_points & known).any()
    ]


def plain_ticks(axes: Axes, values: Floats) -> None:
    """Set ticks at 1, 2, 5 times the powers of ten, or more where these are few, written as plain numbers."""
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 1.5, 2, 3, 5, 7), (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9)):
        ticks = [m * 10.0**p for p, m in itertools.product(powers, steps) if low * 0.8 <= m * 10.0**p <= high * 1.25]
        if len(ticks) > 2:
            break
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()


def _beeswarm(y: Floats) -> Floats:
    """Horizontal offsets that set equal values next to each other, centred."""
    offsets = np.zeros(len(y))
    for value in np.unique(np.round(y, 3)):
        at = np.flatnonzero(np.round(y, 3) == value)
        offsets[at] = (np.arange(len(at)) - (len(at) - 1) / 2) * min(0.05, 0.7 / len(at))
    return offsets
