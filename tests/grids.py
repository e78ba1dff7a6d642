"""A grid small enough to be trained in a test: two networks on a generated dataset, two epochs."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.execution.suites import open_suite

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.config.suite import Suite

PARAMS = """
suite: tiny
experiment: tiny
models: [shufflenet, starnet]
datasets: [blobs]
seeds: [0]
protocol:
  epochs: {epochs}
  warmup_epochs: 1
  batch_size: 16
  resolution: 32
  normalize: dataset
  data: {{short_side: 16, val_fraction: {val}}}
  selection: {selection}
  tuning: {tuning}
runtime: {{device: cpu, threads: 1, eval_batch_size: 64}}
data_sources:
  blobs: {{folder: source}}
"""


def write(
    folder: Path,
    *,
    epochs: int = 2,
    per_class: int = 16,
    val: float = 0.0,
    selection: str = "last_epoch",
    tuning: str = "null",
) -> Suite:
    """Write params.yaml and packed data of two easily told classes into a project folder, and return its suite."""
    (folder / "params.yaml").write_text(PARAMS.format(epochs=epochs, val=val, selection=selection, tuning=tuning))
    _images(folder / "source", per_class)
    return _pack(folder, "blobs")


def add_dataset(folder: Path, name: str, *, per_class: int = 4, prepared: bool = True) -> Suite:
    """Add a dataset of the same two classes to a project folder, and return its suite."""
    params = folder / "params.yaml"
    text = params.read_text().replace("datasets: [blobs", f"datasets: [blobs, {name}")
    params.write_text(f"{text}  {name}: {{folder: {name}_source}}\n")
    _images(folder / f"{name}_source", per_class)
    return _pack(folder, name) if prepared else open_suite(params)


def _pack(folder: Path, name: str) -> Suite:
    suite = open_suite(folder / "params.yaml")
    from mobilebench.datasets.packing.prepare import prepare

    prepare(
        name,
        policy=suite.protocol.data,
        raw_dir=folder / "data/raw",
        out_dir=folder / "data/packed",
        workers=1,
        own=suite.data_sources,
    )
    return suite


def copy(made: Path, project: Path) -> None:
    """Copy a trained project into a folder. Weights are linked instead: they are most of it, and none is rewritten."""

    def link(source: str, target: str) -> object:
        return os.link(source, target) if source.endswith("model.safetensors") else shutil.copy2(source, target)

    shutil.copytree(made, project, dirs_exist_ok=True, copy_function=link)


def _images(source: Path, per_class: int) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for label, name in enumerate(("dark", "light")):
            folder = source / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(per_class):
                pixels = rng.integers(0, 120, (16, 16, 3), dtype=np.uint8) + np.uint8(120 * label)
                Image.fromarray(pixels).save(folder / f"{number:02d}.png")
