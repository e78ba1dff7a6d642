"""A small packed dataset and networks on it that need no training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import grids
import pytest
from bright import SIDE

from mobilebench.datasets.packing.packed import read_meta
from mobilebench.execution.model_file import ModelFile
from mobilebench.export.subject import Subject

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn


@pytest.fixture(scope="session")
def _data(made_once: Callable[..., Path]) -> Path:
    return made_once("export-data", lambda folder: grids.write(folder, per_class=40, val=0.0))


@pytest.fixture
def data(_data: Path, project: Path) -> Path:
    """A project folder with packed images of two classes, 40 of each in test, and nothing trained."""
    (project / "data").symlink_to(_data / "data")
    return project


@pytest.fixture
def subject(data: Path) -> Callable[..., Subject]:
    """Return what makes a network the trained one of a cell on these data; keywords change what is said of it."""

    def make(network: nn.Module, **changes: object) -> Subject:
        meta = read_meta(Path("data/packed/blobs"))
        said = {
            "model": "bright", "dataset": "blobs", "seed": 0, "options": {}, "network": "", "classes": meta.classes,
            "resolution": SIDE, "eval_resize": SIDE, "stored": SIDE, "fit": "centre", "mean": (0.5, 0.4, 0.3),
            "std": (0.2, 0.25, 0.3), "target": "single_label", "metric": "top1",
        }  # fmt: skip
        return Subject(ModelFile(**said | changes), network.eval(), None, ".")

    return make
