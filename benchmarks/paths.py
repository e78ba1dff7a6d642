"""The fast path and the plain one on a real dataset: the same recipe, seed and images, one plot.

`python -m benchmarks.paths FOLDER [--models ..] [--paths ..] [--epochs N] [--train N] [--test N] [--plot FILE]`

FOLDER is a packed dataset (`mobilebench data prepare` makes it). Both paths draw the same random numbers, so that they
begin alike; rounding then drives them apart, as two seeds would be, and the ends show whether one of them learns worse.
With `--paths fast bf16` the precisions are compared instead, with `--paths compiled plain` what long runs do.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from benchmarks.results import arguments, publish
from mobilebench.config.recipe import Recipe
from mobilebench.config.runtime import Runtime
from mobilebench.datasets.packing.packed import Packed, open_packed
from mobilebench.models import create
from mobilebench.training import Split, TrainData, Trainer

if TYPE_CHECKING:
    import argparse

    from mobilebench.training import EpochResult

# Name: the path, the precision of its recipe, and runtime.acceleration.
PATHS: dict[str, tuple[Literal["fast", "plain"], Literal["fp32", "bf16"], Literal["on", "off"]]] = {
    "fast": ("fast", "fp32", "off"),
    "compiled": ("fast", "fp32", "on"),
    "plain": ("plain", "fp32", "off"),
    "bf16": ("fast", "bf16", "off"),
}
Curves = dict[tuple[str, str], list["EpochResult"]]


def part(packed: Packed, split: str, most: int) -> Split:
    """At most so many images of a split, drawn with seed 0."""
    rows = packed.rows(split)
    drawn = np.random.default_rng(0).permutation(rows)[:most]
    return Split(*packed.arrays(np.sort(drawn)))


def curves(packed: Packed, settings: argparse.Namespace) -> Curves:
    """Every model on both paths, epoch by epoch."""
    meta = packed.meta
    train, test = part(packed, "train", settings.train), part(packed, "test", settings.test)
    data = TrainData(train, None, test, meta.mean, meta.std, len(meta.classes), meta.hflip)
    recipe = Recipe(epochs=settings.epochs, warmup_epochs=1, resolution=settings.resolution)
    found: Curves = {}
    for model_id in settings.models:
        for name in settings.paths:
            path, precision, acceleration = PATHS[name]
            torch.manual_seed(0)
            model = create(model_id, len(meta.classes))
            runtime = Runtime(path=path, threads=settings.threads, acceleration=acceleration)
            trainer = Trainer(model, data, replace(recipe, precision=precision), 0, runtime)
            found[model_id, name] = []
            for result in trainer.epochs():
                found[model_id, name].append(result)
                print(model_id, name, result, flush=True)
    return found


def table(found: Curves, settings: argparse.Namespace) -> list[str]:
    """Markdown: first and last epoch of each path, and how much faster the fast one was (training alone)."""
    rows = [
        "| network | path | train loss, epoch 1 | train loss, last | test loss, last | test top-1, last | images/s |"
    ]
    rows.append("|-|-|-|-|-|-|-|")
    for (model_id, path), epochs in found.items():
        end = epochs[-1]
        rate = median(e.images_per_second for e in epochs)
        rows.append(
            f"| {model_id} | {path} | {epochs[0].train_loss:.4f} | {end.train_loss:.4f} | {end.test['loss']:.4f} "
            f"| {100 * end.test['top1']:.1f} % | {rate:.0f} |"
        )
    note = f"{settings.epochs} epochs, {settings.resolution} px, seed 0, n = 1 each; images/s: median over the epochs."
    return [*rows, "", note]


def plot(found: Curves, dataset: str, settings: argparse.Namespace) -> None:
    """Train loss, test loss and test top-1 by epoch: lines the first path, rings the others; a colour per network."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    models = list(dict.fromkeys(model for model, _ in found))
    for (model_id, path), epochs in found.items():
        style: dict[str, Any] = (
            {"linestyle": "-"} if path == settings.paths[0] else {"linestyle": "", "marker": "o", "mfc": "none"}
        )
        style["color"] = f"C{models.index(model_id)}"
        for panel, key in zip(panels, ("train_loss", "test_loss", "test_top1"), strict=True):
            panel.plot(
                [e.epoch for e in epochs], [e.readings()[key] for e in epochs], label=f"{model_id} {path}", **style
            )
            panel.set(title=key.replace("_", " "), xlabel="epoch")
    panels[0].legend(frameon=False)
    rings = " and ".join(settings.paths[1:])
    figure.suptitle(f"{dataset}, {settings.resolution} px: {settings.paths[0]} lines, {rings} rings")
    figure.savefig(settings.plot, dpi=80)


def main() -> None:
    """Parses the arguments, trains, prints, plots and, if asked, writes the section of the results file."""
    parser = arguments(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", nargs="+", default=["shufflenet", "starnet"])
    parser.add_argument("--paths", nargs="+", choices=PATHS, default=["fast", "plain"])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--train", type=int, default=3000, help="at most so many training images")
    parser.add_argument("--test", type=int, default=1000, help="at most so many test images")
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--plot", type=Path)
    settings = parser.parse_args()
    packed = open_packed(settings.folder)
    found = curves(packed, settings)
    sizes = f"{len(found)} runs, {min(settings.train, len(packed.rows('train')))} training images"
    publish(table(found, settings), settings, f"{packed.meta.id}, {sizes}")
    if settings.plot:
        plot(found, packed.meta.id, settings)


if __name__ == "__main__":
    main()
