"""Accuracy against latency on a device: fronts, and which model is best under a budget of milliseconds."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.errors import UserError
from mobilebench.report.device_quality import qualities
from mobilebench.report.figures import WIDTH, runs_line
from mobilebench.report.label_placement import label_points
from mobilebench.report.plots import plain_ticks
from mobilebench.report.style import MUTED, ORANGE, Picture, canvas, styled
from mobilebench.report.table import Field, Table, interval_cell, number, text
from mobilebench.scoring.effects import pareto_front
from mobilebench.system.words import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from mobilebench.analysis.devices import DeviceFigures, Measurements
    from mobilebench.models.cost.device_file import DeviceRow
    from mobilebench.report.device_quality import Quality
    from mobilebench.report.inputs import ReportInputs
    from mobilebench.report.label_placement import Box

    Floats = NDArray[np.float64]
    Findings = tuple[tuple[str, ...], tuple[Picture, ...], tuple[Table, ...]]

TRAINED_IN = "fp32"


def device_findings(inputs: ReportInputs) -> Findings:
    """Return sentences, a figure for each setting and the tables. Raises UserError where no figures are known."""
    figures = inputs.devices
    if figures is None or not figures.measurements:
        raise UserError(
            "no latency of any of these models on a device is known; `mobilebench models profile --append "
            "device_results.csv` measures it here, docs/devices.md says how to on a phone"
        )
    pictures, tables, names = [], [], set[str]()
    for quality in qualities(inputs):
        kept = [each for each in figures.measurements if set(each.rows) & set(quality.values)]
        if not kept:
            continue
        tables += [_best_table(quality, kept, figures.budgets), _rows_table(quality, kept)]
        for each in kept:
            name = f"devices_{quality.name}_{re.sub(r'[^a-z0-9]+', '_', each.name.lower()).strip('_')}"
            while name in names:  # two names of devices may differ in signs alone
                name += "_"
            names.add(name)
            pictures.append(_front(name, quality, each, figures.budgets, runs_line(inputs)))
    if not tables:
        raise UserError("no model with device figures has a result")
    return _words(inputs, figures), tuple(pictures), tuple(tables)


def _words(inputs: ReportInputs, figures: DeviceFigures) -> tuple[str, ...]:
    """Say of which models figures are missing, and what the figures of other precisions are not."""
    said = []
    for each in figures.measurements:
        missing = [model for model in inputs.matrix.models if model not in each.rows]
        if missing:
            said.append(f"No figure on {each.name}: {', '.join(missing)}.")
    other = dict.fromkeys(each.setting.precision for each in figures.measurements)
    other.pop(TRAINED_IN, None)
    if other:
        measured = " `mobilebench export RUN --int8` measures that of int8." if "int8" in other else ""
        said.append(
            f"Accuracies are of the networks as they were trained, in fp32. What {' and '.join(other)} costs of them "
            f"is not in this section.{measured}"
        )
    return *said, *figures.left_out


def _best_table(quality: Quality, measured: Sequence[Measurements], budgets: Sequence[float]) -> Table:
    """Return the best model under each budget in each setting, and who cannot be told apart from it."""
    rows = []
    for each in measured:
        known = {model: row for model, row in each.rows.items() if model in quality.values}
        for budget in budgets:
            fast = [model for model, row in known.items() if row.latency_ms < budget]
            rows.append((text(each.name), Field(f"{budget:g}", budget), *_best(quality, known, fast)))
    caption = (
        f"The best by {quality.words} among the models that take less than so many milliseconds a call (median, or the "
        f"mean where a tool prints no median). {quality.covered} {quality.group}"
    )
    columns = ("measured on", "under ms", "models", "best", "ms", quality.title, "interval", "not told apart from it")
    return Table(f"devices_best_{quality.name}", caption, columns, tuple(rows))


def _best(quality: Quality, known: Mapping[str, DeviceRow], fast: Sequence[str]) -> tuple[Field, ...]:
    if not fast:
        quickest = min(known.values(), key=lambda row: row.latency_ms)
        none = f"none: the quickest, {quickest.model}, takes {quickest.latency_ms:.3g} ms"
        return number(0, 0), text(none), number(None), number(None), number(None), text("")
    best = max(fast, key=lambda model: (quality.sign * quality.values[model], -known[model].latency_ms))
    tied = quality.tied(fast)
    others = [model for model in tied or () if model != best]
    said = "not known" if tied is None else ", ".join(others) or ("nobody else" if len(fast) > 1 else "the only one")
    note = quality.notes.get(best, "")
    return (
        number(len(fast), 0),
        Field(best, best, strong=True, note=note),
        _milliseconds(known[best]),
        Field(quality.show(quality.values[best]), quality.values[best], note=note),
        _interval(quality, best),
        text(said),
    )


def _rows_table(quality: Quality, measured: Sequence[Measurements]) -> Table:
    """Return every figure beside its model's value; bold are those that no other is both quicker and better than."""
    rows = []
    for each in measured:
        known = [row for model, row in each.rows.items() if model in quality.values]
        front = _on_front(quality, known)
        for row, is_on in zip(known, front, strict=True):
            value = quality.values[row.model]
            rows.append((
                text(each.name), Field(row.model, row.model, strong=bool(is_on)), _milliseconds(row),
                number(row.p90_ms, 2), number(row.n, 0),
                Field(quality.show(value), value, note=quality.notes.get(row.model, "")),
                _interval(quality, row.model), text(row.date),
            ))  # fmt: skip
    caption = (
        f"Latency of a call, the quickest first, and {quality.words}. Bold: on the front, no other model is both "
        f"quicker and better. p90: nine of ten calls took at most as long; n: calls timed. {quality.covered}"
    )
    columns = ("measured on", "model", "ms", "p90", "n", quality.title, "interval", "date")
    return Table(f"devices_{quality.name}", caption, columns, tuple(rows))


def _milliseconds(row: DeviceRow) -> Field:
    if row.median_ms is None:
        return Field(f"{row.latency_ms:.2f} (mean)", row.latency_ms, note=_note(row))
    return number(row.median_ms, 2, note=_note(row))


def _note(row: DeviceRow) -> str:
    """Say what a figure rests on."""
    kind = "mean" if row.median_ms is None else "median"
    version = f" {row.version}" if row.version else ""
    file = f"\nfile {row.file_sha256[:12]}" if row.file_sha256 else ""
    p90 = f", nine of ten at most {row.p90_ms:.2f}" if row.p90_ms is not None else ""
    return f"{row.setting}{version}, {row.date}\n{kind} of {row.n} calls{p90}; {row.resolution} px{file}"


def _interval(quality: Quality, model: str) -> Field:
    low, high = quality.ends.get(model, (math.nan, math.nan))
    return interval_cell(f"{quality.show(low)} to {quality.show(high)}", low, high)


def _on_front(quality: Quality, rows: Sequence[DeviceRow]) -> NDArray[np.bool_]:
    upward = np.array([quality.sign * quality.values[row.model] for row in rows])
    return pareto_front(np.array([row.latency_ms for row in rows]), upward)


@styled()
def _front(name: str, quality: Quality, measured: Measurements, budgets: Sequence[float], runs: str) -> Picture:
    """Return the models of one setting by latency and value, with their intervals and the front as steps."""
    rows = [row for model, row in measured.rows.items() if model in quality.values]
    x, y = (np.array(each) for each in zip(*((row.latency_ms, quality.values[row.model]) for row in rows), strict=True))
    front = _on_front(quality, rows)
    figure, (axes,) = canvas(WIDTH, 3.6)
    axes.set_xscale("log")
    lines = [*_spreads(quality, rows), *(steps := _steps(x[front], y[front]))]
    for bar, is_on in zip(lines, np.repeat(front, 2), strict=False):
        axes.plot(bar[::2], bar[1::2], color=ORANGE if is_on else MUTED, linewidth=1.3, alpha=0.6)
    for step in steps:
        axes.plot(step[::2], step[1::2], color=ORANGE, linewidth=1, linestyle=":")
    noted = []
    for chosen, style in ((~front, {"color": MUTED, "markerfacecolor": "none"}), (front, {"color": ORANGE})):
        if chosen.any():
            (points,) = axes.plot(x[chosen], y[chosen], "o", markersize=5, **style)  # type: ignore[arg-type]
            notes = [f"{quality.notes.get(row.model, row.model)}\n{_note(row)}" for row in np.array(rows)[chosen]]
            noted.append((points, tuple(notes)))
    plain_ticks(axes, np.concatenate([x, [row.p90_ms or row.latency_ms for row in rows]]))
    label_points(axes, x, y, [row.model for row in rows], lines)
    _draw_budgets(axes, budgets)
    axes.set_xlabel("ms a call, log scale")
    axes.set_ylabel(quality.title)
    spread = "To the right of a point: up to the 90th percentile. " if any(row.p90_ms for row in rows) else ""
    caption = (
        f"{quality.words} against latency on {measured.name}, n = {counted(len(rows), 'model')}. Filled orange: no "
        f"other model is both quicker and better; dashed: budgets. {quality.covered} {spread}{runs}"
    )
    return Picture(name, caption, figure, tuple(noted))


def _spreads(quality: Quality, rows: Sequence[DeviceRow]) -> list[Box]:
    """Return two lines for each row: the interval of its value, and from its latency to the 90th percentile."""
    found = []
    for row in rows:
        ms, value = row.latency_ms, quality.values[row.model]
        low, high = quality.ends.get(row.model, (math.nan, math.nan))
        known = (low, high) if math.isfinite(low) else (value, value)
        found += [(ms, known[0], ms, known[1]), (ms, value, row.p90_ms or ms, value)]
    return found


def _steps(x: Floats, y: Floats) -> list[Box]:
    """Return the lines of a front, from the quickest on: level until the next one, then up to it."""
    corners = zip(x, y, x[1:], y[1:], strict=False)
    return [line for a, b, c, d in corners for line in ((a, b, c, b), (c, b, c, d))]


def _draw_budgets(axes: Axes, budgets: Sequence[float]) -> None:
    """Draw the budgets that lie within the axes."""
    low, high = axes.get_xlim()
    for budget in budgets:
        if low < budget < high:
            axes.axvline(budget, color=MUTED, linewidth=0.8, linestyle="--", alpha=0.7, zorder=0)
