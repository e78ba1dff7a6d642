"""A new model's place among those of a reference: the sentence, the table, its LaTeX row and the figure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mobilebench.evaluation.metrics import get_metric
from mobilebench.report.figures import WIDTH
from mobilebench.report.style import BLUE, INK, ORANGE, Picture, canvas, styled
from mobilebench.report.table import Field, Table, number, to_latex, to_latex_row
from mobilebench.scoring.measures import dataset_heads
from mobilebench.system.files import write_bytes, write_csv, write_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mobilebench.analysis.placement import PlacedModels
    from mobilebench.scoring import Matrix
    from mobilebench.scoring.placement import Placement

COLUMNS = (
    "model", "how", "xscore", "low", "high", "place", "place_low", "place_high", "of", "level", "datasets", "missing",
    "outside",
)  # fmt: skip


def sentence(placement: Placement) -> str:
    """Return where a model stands, in one sentence."""
    p = placement
    is_known = math.isfinite(p.place_low)
    interval = f" ({p.level:.0%} interval: {_places(p)})" if is_known else " (no interval can be given)"
    score = f"{p.score:.3f}" + (f" [{p.low:.3f}, {p.high:.3f}]" if math.isfinite(p.low) else "")
    if p.how == "measured":
        return f"{p.model} stands {ordinal(p.place)} of {p.of}{interval}: xScore {score}."
    return (
        f"{p.model} would stand {ordinal(p.place)} of {p.of}{interval}: xScore {score}, predicted from "
        f"{', '.join(p.datasets)}."
    )


def ordinal(place: int) -> str:
    """Return 1st, 2nd, 3rd, 4th ... 11th, 12th, 13th ... 21st."""
    ending = "th" if place % 100 in {11, 12, 13} else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"{place}{ending}"


def placement_table(placements: Sequence[Placement], reference: Matrix, name: str) -> Table:
    """Return the reference's models with the new ones among them, in bold, best first; `name` is the reference's."""
    matrix = reference
    heads = dataset_heads(list(matrix.datasets), list(matrix.metrics))
    rows: list[tuple[float, tuple[Field, ...]]] = []
    first = placements[0]
    new = {p.model for p in placements}
    for row in first.table.rows:
        if row.model in new or row.rank is None:
            continue
        values = dict(zip(matrix.datasets, matrix.mean[matrix.models.index(row.model)], strict=True))
        rows.append((row.score, _row(row.model, values, matrix, row.score, (row.low, row.high))))
    for p in placements:
        values = dict(zip(p.datasets, p.values, strict=True))
        rows.append((p.score, _row(p.model, values, matrix, p.score, (p.low, p.high), p)))
    rows.sort(key=lambda row: -row[0])
    fixed = "the reference's models set the scale" if first.table.anchors_name == "fixed" else "the scale is the grid's"
    predicted = [p.model for p in placements if p.how == "predicted"]
    words = f" Predicted from fewer datasets: {', '.join(predicted)}." if predicted else ""
    caption = (
        f"{name}, and in bold {', '.join(p.model for p in placements)}, each placed for itself; "
        f"{fixed}, lambda {first.table.lam:g}. Intervals: {first.level:.0%}, of the reference's models over "
        f"{first.table.interval_over}.{words}"
    )
    return Table(
        "placement", caption, ("model", *heads, "xScore", "interval", "place"), tuple(fields for _, fields in rows)
    )


def _row(
    model: str, values: Mapping[str, float], matrix: Matrix, score: float, ends: tuple[float, float],
    placement: Placement | None = None,
) -> tuple[Field, ...]:  # fmt: skip
    strong = placement is not None
    shown = []
    for dataset, name in zip(matrix.datasets, matrix.metrics, strict=True):
        metric, value = get_metric(name), values.get(dataset, math.nan)
        is_known = math.isfinite(value)
        shown.append(Field(metric.show(value) if is_known else "-", float(value), strong=strong))
    interval = f"{ends[0]:.3f} to {ends[1]:.3f}" if math.isfinite(ends[0]) else "-"
    place = "" if placement is None else f"{placement.place} ({_places(placement)})"
    return (
        Field(model, model, strong=strong), *shown, number(score, strong=strong),
        Field(interval, interval, strong=strong), Field(place, place, strong=strong),
    )  # fmt: skip


def _places(p: Placement) -> str:
    if not math.isfinite(p.place_low):
        return "no interval"
    low, high = ordinal(round(p.place_low)), ordinal(round(p.place_high))
    return low if low == high else f"{low} to {high}"


@styled()
def placement_picture(placements: Sequence[Placement]) -> Picture:
    """Return every model's xScore with its interval, the new ones orange and as diamonds."""
    new = {p.model for p in placements}
    known = [row for row in placements[0].table.rows if row.model not in new and row.rank is not None]
    points = [(r.model, r.score, r.low, r.high, False) for r in known]
    points += [(p.model, p.score, p.low, p.high, True) for p in placements]
    points.sort(key=lambda point: point[1])
    figure, (axes,) = canvas(WIDTH, 1.0 + 0.26 * len(points))
    for y, (_, score, low, high, is_new) in enumerate(points):
        colour = ORANGE if is_new else BLUE
        if np.isfinite([low, high]).all():
            axes.plot([low, high], [y, y], color=colour, linewidth=2.2 if is_new else 1.4)
        axes.plot(score, y, "D" if is_new else "o", color=colour, markersize=6 if is_new else 4.5)
    axes.set_yticks(range(len(points)), [name for name, *_ in points])
    for label, (*_, is_new) in zip(axes.get_yticklabels(), points, strict=True):
        label.set_color(ORANGE if is_new else INK)
        label.set_fontweight("bold" if is_new else "normal")
    axes.set_xlabel("xScore")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    caption = f"xScore with {placements[0].level:.0%} intervals. " + " ".join(map(sentence, placements))
    return Picture("placement", caption, figure)


def write_placement(out: Path, found: PlacedModels) -> tuple[Path, ...]:
    """Write placement.csv, placement.tex (the table), row.tex (the new models' lines of it) and the figure."""
    table = placement_table(found.placements, found.reference.matrix, found.reference.name)
    picture = placement_picture(found.placements)
    new = {p.model for p in found.placements}
    lines = [to_latex_row(row) for row in table.rows if row[0].text in new]
    return (
        write_csv(out / "placement.csv", to_frame(found.placements)),
        write_text(out / "placement.tex", to_latex(table)),
        write_text(out / "row.tex", "% " + " & ".join(table.columns) + "\n" + "\n".join(lines) + "\n"),
        write_bytes(out / "placement.pdf", picture.pdf()),
        write_bytes(out / "placement.png", picture.png()),
    )


def to_frame(placements: Sequence[Placement]) -> pd.DataFrame:
    """Return one row a new model (COLUMNS); an undefined number is NaN."""
    rows = [
        (
            p.model, p.how, p.score, p.low, p.high, p.place, p.place_low, p.place_high, p.of, p.level,
            " ".join(p.datasets), " ".join(p.missing), " ".join(p.outside),
        )
        for p in placements
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))
