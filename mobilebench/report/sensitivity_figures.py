"""The figures of a probe of the protocol: slices, importances, parallel coordinates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mobilebench.report.style import BLUE, GREEN, INK, LINE, MUTED, ORANGE, PINK, Picture, canvas, styled
from mobilebench.search.space import SETTINGS
from mobilebench.search.trials import axis_values, coordinates
from mobilebench.sensitivity.analysis import slice_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from mobilebench.config.sensitivity import Value
    from mobilebench.sensitivity.analysis import Probe, SlicePoint
    from mobilebench.sensitivity.results import Findings, Importances

COLOURS = (BLUE, ORANGE, GREEN, PINK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")


@styled()
def slices(found: Findings) -> Picture:
    """Return one row of panels a model, one column a setting: what changing that setting alone does, by dataset."""
    models = list(dict.fromkeys(probe.model for probe in found.probes))
    datasets = list(dict.fromkeys(probe.dataset for probe in found.probes))
    settings = [name for name in SETTINGS if any(len(slice_of(probe, name)) > 1 for probe in found.probes)]
    figure, panels = canvas(2.0 + 2.1 * len(settings), 0.9 + 1.8 * len(models), len(models), len(settings))
    for place, panel in enumerate(panels):
        model, setting = models[place // len(settings)], settings[place % len(settings)]
        if place % len(settings):
            panel.sharey(panels[place - place % len(settings)])
        panel.axhline(0, color=MUTED, linewidth=0.8)
        for probe in found.probes:
            if probe.model == model:
                _slice(panel, probe, setting, datasets.index(probe.dataset))
        panel.set_title(f"{model}: {setting}")
        panel.set_xlabel(SETTINGS[setting].path)
        if place % len(settings) == 0:
            panel.set_ylabel("change of val top-1 (points)")
    handles, labels = _legend(panels)
    figure.legend(handles, labels, loc="outside lower center", ncols=len(datasets))
    caption = (
        "Validation top-1 when one setting is changed and all others stay as the protocol has them, in percentage "
        f"points from the protocol's own (ring, 0). {bars(found)}"
    )
    return Picture("slices", caption, figure)


def bars(found: Findings) -> str:
    """Say what the bars of an accuracy are."""
    sizes = ", ".join(dict.fromkeys(f"{probe.dataset} {probe.n_val}" for probe in found.probes))
    seeds = max(len(probe.seeds) for probe in found.probes)
    if seeds == 1:
        return f"Single runs; bars: 95 % from the n validation images ({sizes}), training not rerun."
    return f"Means of up to {seeds} seeds, bars from the lowest to the highest; n validation images: {sizes}."


def _slice(panel: Axes, probe: Probe, setting: str, number: int) -> None:
    points = slice_of(probe, setting)
    own = next((point.mean for point in points if point.is_protocol), None)
    if own is None or len(points) < 2:
        return
    values = [point.value for point in points]
    x = _x(panel, setting, values)
    y = np.array([100 * (point.mean - own) for point in points])
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    panel.errorbar(
        x, y, yerr=_spread(probe, points), color=colour, marker=marker, markersize=3.5, linewidth=1.2, elinewidth=0.8,
        capsize=2, label=probe.dataset,
    )  # fmt: skip
    ring = [place for place, point in zip(x, points, strict=True) if point.is_protocol]
    panel.plot(ring, [0] * len(ring), "o", markersize=9, markerfacecolor="none", markeredgecolor=INK)


def _x(panel: Axes, setting: str, values: Sequence[Value]) -> list[float]:
    scale = SETTINGS[setting].scale
    if scale == "choice":
        panel.set_xticks(range(len(values)), [str(value) for value in values])
        return [float(place) for place in range(len(values))]
    if scale == "log":
        smallest = min(float(value) for value in values if float(value) > 0)
        panel.set_xscale("symlog" if 0 in values else "log", **({"linthresh": smallest} if 0 in values else {}))
    return [float(value) for value in values]


def _spread(probe: Probe, points: Sequence[SlicePoint]) -> list[list[float]]:
    if len(probe.seeds) > 1:
        return [[100 * (p.mean - p.low) for p in points], [100 * (p.high - p.mean) for p in points]]
    half = [196 * (p.mean * (1 - p.mean) / probe.n_val) ** 0.5 for p in points]
    return [half, half]


def _legend(panels: Sequence[Axes]) -> tuple[list[Artist], list[str]]:
    named = {
        label: handle
        for panel in panels
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }  # fmt: skip
    return list(named.values()), list(named)


@styled()
def importances(found: Findings) -> Picture:
    """Return one panel a probe: each setting's share of the variance the forest sees, with its interval over refits."""
    items = list(found.importances.items())
    columns = min(2, len(items))
    lines = -(-len(items) // columns)
    height = 0.7 + lines * (0.75 + 0.24 * max(len(fit.settings) for _, fit in items))
    figure, panels = canvas(6.4, height, lines, columns)
    for panel, (name, fit) in zip(panels, items, strict=False):
        _importance(panel, fit)
        panel.set_title(f"{name}\nn = {fit.combinations}, R² = {fit.r2:.2f}", fontsize=8.5)
    for panel in panels[len(items) :]:
        panel.set_visible(False)
    refits = len(items[0][1].values)
    caption = (
        f"fANOVA importance: share of the variance of validation top-1 over the probed ranges. Dot: median, bar: 5 "
        f"to 95 % of {refits} refits, each with another forest seed and combinations drawn with replacement. n: "
        "combinations of settings, each the mean of its seeds. R²: out of bag, of the same kind of forest; at 0 or "
        "below the importances mean nothing."
    )
    return Picture("importances", caption, figure)


def _importance(panel: Axes, fit: Importances) -> None:
    low, middle, high = np.quantile(fit.values, [0.05, 0.5, 0.95], axis=0)
    places = np.arange(len(fit.settings))
    panel.hlines(places, low, high, color=BLUE, linewidth=2.2)
    panel.plot(middle, places, "o", color=INK, markersize=4.5)
    panel.set_yticks(places, fit.settings)
    panel.invert_yaxis()
    panel.set_xlim(-0.02, 1.02)
    panel.grid(visible=False, axis="y")


@styled()
def parallel(probe: Probe) -> Picture:
    """Return the parallel coordinates of one probe: a line a trial across its settings, brighter for higher top-1."""
    names = probe.varied()
    done = [trial for trial in probe.trials if trial.state == "complete"]
    rows = [trial.values for trial in done]
    places = coordinates(rows, names)
    low, span = places.min(axis=0), np.ptp(places, axis=0)
    heights = (places - low) / np.where(span > 0, span, 1)
    top1 = np.array([100 * (trial.val_top1 or 0.0) for trial in done])
    figure, (panel,) = canvas(1.2 + 1.3 * len(names), 2.9)
    norm = panel.scatter(np.zeros_like(top1), heights[:, 0], c=top1, cmap="cividis", s=0)
    for line, value in sorted(zip(heights, top1, strict=True), key=lambda pair: float(pair[1])):
        panel.plot(range(len(names)), line, color=norm.to_rgba(value), linewidth=1.4)
    _axes(panel, names, [axis_values(name, rows) for name in names])
    bar = figure.colorbar(norm, ax=panel, fraction=0.05, pad=0.04)
    bar.set_label("val top-1 (%)")
    bar.outline.set_visible(False)
    caption = f"The {len(done)} complete trials of {probe.name}, one line each across its settings. {_seeds(probe)}"
    return Picture(f"parallel_{probe.model.replace(':', '_')}_{probe.dataset}", caption, figure)


def _seeds(probe: Probe) -> str:
    return "One seed." if len(probe.seeds) == 1 else f"Seeds: {', '.join(map(str, probe.seeds))}."


def _axes(panel: Axes, names: Sequence[str], values: Sequence[Sequence[Value]]) -> None:
    """Write each axis's lowest and highest value at its ends."""
    for place, tried in enumerate(values):
        panel.axvline(place, color=LINE, linewidth=1)
        for end, value in ((0, tried[0]), (1, tried[-1])):
            words = value if isinstance(value, str) else f"{value:g}"
            panel.annotate(
                words, (place, end), (0, 4 if end else -4), textcoords="offset points", ha="center",
                va="bottom" if end else "top", fontsize=7.5,
            )  # fmt: skip
    panel.set_xticks(range(len(names)), names)
    panel.tick_params(axis="x", pad=14, length=0)
    panel.set_yticks([])
    panel.set_ylim(-0.06, 1.12)
    panel.grid(visible=False)
    panel.spines[:].set_visible(False)
