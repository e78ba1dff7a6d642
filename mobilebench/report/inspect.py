"""A cell's pictures: confusion matrix, reliability diagram, and the mistakes it was surest of."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.analysis.inspect import confusion, per_class, reliability, worst_mistakes
from mobilebench.datasets.packing.pictures import pictures
from mobilebench.evaluation.metrics import MetricError, get_metric, is_packaged, metrics_for
from mobilebench.evaluation.target import ONE_CLASS
from mobilebench.report.style import BLUE, INK, LINE, MUTED, Picture, canvas, styled
from mobilebench.report.table import Field, Table, number, text, to_csv
from mobilebench.system.files import write_bytes, write_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from mobilebench.analysis.inspect import Inspected, Mistake

WIDTH = 7.2  # inches, as the report's figures
MOST_CLASSES = 30  # whose names and counts can be read in one figure


def class_table(cell: Inspected) -> Table:
    """Return the per-class table, the classes found least often first."""
    rows = sorted(
        per_class(cell.predictions, cell.classes), key=lambda row: (np.nan_to_num(row.recall, nan=2.0), row.name)
    )
    several = cell.predictions.target not in ONE_CLASS
    columns = [
        "class",
        "images",
        "predicted",
        "recall",
        "precision",
        "F1",
        *([] if several else ["most often taken for"]),
    ]
    fields = tuple(
        (
            Field(row.name),
            Field(f"{row.images}", row.images),
            Field(f"{row.predicted}", row.predicted),
            *(Field("-" if np.isnan(v) else f"{100 * v:.1f}", v) for v in (row.recall, row.precision, row.f1)),
            *([] if several else [Field(row.mistaken_for or "-")]),
        )
        for row in rows
    )
    return Table("classes", f"{_named(cell)}, per class; recall, precision and F1 in percent.", tuple(columns), fields)


def metric_table(cell: Inspected) -> Table:
    """Return the metric that the data is read by and every packaged one: as recorded, or else from kept predictions.

    One from outside is computed anew: its code may have changed since the run.
    """
    recorded = cell.record.metrics if cell.split == "test" else cell.record.val_metrics
    ordered = cell.predictions.target == "ordinal"
    packaged = (m.id for m in metrics_for(cell.predictions.target) if ordered or not m.reads_order)
    rows = []
    for name in dict.fromkeys((*cell.own_metrics, *packaged)):
        title = name
        try:
            metric = get_metric(name)
            title = metric.title
            is_fixed = name in recorded and is_packaged(metric)
            value = recorded[name] if is_fixed else metric.value(cell.predictions)
        except (MetricError, ImportError) as error:
            rows.append((Field(title), Field("-"), Field(str(error))))
            continue
        shown = f"{metric.show(value)}{' %' if metric.percent else ''}"
        rows.append((Field(title), Field(shown, value), Field("" if metric.higher_is_better else "lower is better")))
    return Table("metrics", f"{_named(cell)}.", ("metric", "value", ""), tuple(rows))


def confusion_plot(cell: Inspected) -> Picture:
    """Return the confusion matrix, each row in shares of its class; of many classes those mixed up most.

    Raises UserError where images have several labels.
    """
    return draw_confusion("confusion", _named(cell), confusion(cell.predictions), cell.classes)


@styled()
def draw_confusion(name: str, what: str, counts: NDArray[np.int64], classes: Sequence[str]) -> Picture:
    """Return [C, C] confusion counts as a picture, rows shaded by shares of their class; of many the most mixed up."""
    shown = np.arange(len(counts))
    if len(counts) > MOST_CLASSES:
        off = counts - np.diag(counts.diagonal())
        shown = np.sort(np.argsort(-(off.sum(axis=0) + off.sum(axis=1)), kind="stable")[:MOST_CLASSES])
    part = counts[np.ix_(shown, shown)]
    shares = part / np.maximum(counts.sum(axis=1)[shown], 1)[:, None]
    names = [textwrap.shorten(classes[int(i)], 18, placeholder="...") for i in shown]
    side = max(3.0, 1.4 + 0.26 * len(names))
    figure, (axes,) = canvas(min(WIDTH, side + 0.6), side, 1, 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    small = len(names) > 12
    for i, j in zip(*np.nonzero(part), strict=True):
        colour = "white" if shares[i, j] > 0.6 else INK
        axes.text(j, i, str(part[i, j]), ha="center", va="center", fontsize=5.5 if small else 8, color=colour)
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=6 if small else 8)
    axes.set_yticks(range(len(names)), names, fontsize=6 if small else 8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    axes.grid(visible=False)
    part_of = f"; the {len(names)} of {len(counts)} classes mixed up most" if len(names) < len(counts) else ""
    return Picture(name, f"{what}: images, shaded by the share of their class{part_of}.", figure)


@styled()
def reliability_plot(cell: Inspected) -> Picture:
    """Return the reliability diagram. Raises UserError where images have several labels."""
    bins = reliability(cell.predictions)
    figure, (top, bottom) = canvas(WIDTH * 0.62, 3.8, 2, 1)
    top.plot([0, 1], [0, 1], color=LINE, linewidth=1)
    filled = bins.images > 0
    top.plot(bins.confidence[filled], bins.accuracy[filled], "o-", color=BLUE, markersize=4, linewidth=1)
    top.set_ylabel("share that is right")
    top.set_xlim(0, 1)
    top.set_ylim(0, 1)
    edges = np.linspace(0, 1, len(bins.images) + 1)
    bottom.bar(edges[:-1], bins.images, width=np.diff(edges), align="edge", color=MUTED, linewidth=0)
    bottom.set_xlim(0, 1)
    bottom.set_xlabel("probability given to the predicted class")
    bottom.set_ylabel("images")
    ece = get_metric("ece").value(cell.predictions)
    return Picture(
        "reliability",
        f"{_named(cell)}: below the line the network is surer than it is right. Expected calibration error {ece:.3f}, "
        f"{len(bins.images)} bins.",
        figure,
    )


@styled()
def mistakes_plot(cell: Inspected, most: int = 24) -> Picture | None:
    """Return the pictures of the surest mistakes, None without mistakes or without the images here."""
    mistakes = worst_mistakes(cell.predictions, cell.classes, most)
    if not mistakes or cell.packed is None:
        return None
    columns = min(6, len(mistakes))
    rows = -(-len(mistakes) // columns)
    figure, panels = canvas(WIDTH, 0.2 + 1.72 * rows, rows, columns)
    images = cell.packed.rows(cell.split)
    for panel, mistake in zip(panels, mistakes, strict=False):
        row = images[mistake.image]
        panel.imshow(pictures(cell.packed.images[row : row + 1], cell.packed.meta)[0])
        panel.set_title(_under(mistake), fontsize=6.5, loc="left")
    for panel in panels:
        panel.set_axis_off()
    return Picture("mistakes", f"{_named(cell)}: the {len(mistakes)} mistakes that it was surest of.", figure)


def mistakes_table(cell: Inspected) -> Table:
    """Return all images whose class was not found, the surest mistakes first: image, its class, what was said."""
    every = worst_mistakes(cell.predictions, cell.classes, most=cell.predictions.logits.size)
    rows = tuple(
        (text(str(cell.predictions.ids[m.image])), text(m.truth), text(m.said), number(m.probability)) for m in every
    )
    caption = f"{_named(cell)}: {len(rows)} mistakes, the surest first."
    return Table("mistakes", caption, ("image", "truth", "said", "probability"), rows)


def _under(mistake: Mistake) -> str:
    lines = (f"is {mistake.truth}", f"said {mistake.said}", f"{100 * mistake.probability:.0f} % sure")
    return "\n".join(textwrap.shorten(line, 24, placeholder="...") for line in lines)


def _named(cell: Inspected) -> str:
    record = cell.record
    return f"{record.model} on {record.dataset}, seed {record.seed}, {len(cell.predictions)} {cell.split} images"


def write_inspection(folder: Path, cell: Inspected) -> list[Path]:
    """Write tables (CSV) and figures (PNG) of a cell below a folder and return their paths."""
    paths = [
        write_text(folder / f"{table.name}.csv", to_csv(table))
        for table in (metric_table(cell), class_table(cell), mistakes_table(cell))
    ]
    pictures = [mistakes_plot(cell)]
    if cell.predictions.target in ONE_CLASS:
        pictures += [confusion_plot(cell), reliability_plot(cell)]
        counts = confusion(cell.predictions)
        rows = tuple(
            (Field(name), *(Field(str(n), int(n)) for n in row)) for name, row in zip(cell.classes, counts, strict=True)
        )
        table = Table("confusion", "", ("truth \\ predicted", *cell.classes), rows)
        paths.append(write_text(folder / "confusion.csv", to_csv(table)))
    return [*paths, *(write_bytes(folder / f"{p.name}.png", p.png()) for p in pictures if p is not None)]
