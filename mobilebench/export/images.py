"""The packed images that an exported network is held to, and what a network says of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mobilebench.datasets.packing.packed import open_packed
from mobilebench.evaluation.predictions import Predictions
from mobilebench.export.onnx_file import ExportError
from mobilebench.system.layout import PACKED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from mobilebench.datasets.packing.packed import Packed
    from mobilebench.execution.model_file import ModelFile
    from mobilebench.export.forms import ImageForm
    from mobilebench.runs.records import Record

    Said = Callable[[NDArray[Any]], NDArray[np.float32]]

BATCH = 32


@dataclass(frozen=True, eq=False)
class Images:
    """Some images of one split, in the form that an exported file takes."""

    packed: Packed
    rows: NDArray[np.int64]
    """[N] rows of the packed data."""
    form: ImageForm
    split: str

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, size: int = BATCH) -> Iterator[NDArray[Any]]:
        """Yield the images in their order, `size` at once."""
        for start in range(0, len(self), size):
            yield self.form.arrays(self.packed.images[self.rows[start : start + size]])

    def some(self, most: int) -> Images:
        """Return at most so many of them, spread evenly over the split."""
        if len(self) <= most:
            return self
        places = np.linspace(0, len(self) - 1, most).round().astype(np.int64)
        return Images(self.packed, self.rows[places], self.form, self.split)

    def predictions(self, said: Said, what: str) -> Predictions:
        """Return what a network says of them. Raises ExportError, calling it `what`, for logits that are not finite."""
        logits = np.concatenate([said(batch) for batch in self.batches()])
        ids = np.array([self.packed.index[row].path for row in self.rows], dtype=np.str_)
        undefined = int((~np.isfinite(logits)).any(axis=1).sum())
        if undefined:
            raise ExportError(
                f"{what} gives logits that are not finite, of {undefined} of {len(self)} {self.split} images. Nothing "
                "was written"
            )
        return Predictions.of_logits(self.form.made.target, self.packed.labels[self.rows], logits, ids)


def open_data(made: ModelFile, record: Record | None, packed: Path = PACKED) -> Packed:
    """Return the packed data that a network was trained on.

    Raises ExportError where this folder has other data or other classes, DataError where it has none.
    """
    found = open_packed(packed / made.dataset)
    if found.meta.classes != made.classes:
        raise ExportError(
            f"{made.cell.name} has {len(made.classes)} classes ({_first(made.classes)}), {found.path} has "
            f"{len(found.meta.classes)} ({_first(found.meta.classes)}); an export is checked on the images that the "
            "run was tested on. Bring back its data"
        )
    if record is not None and record.data_digest != found.meta.data_digest:
        raise ExportError(
            f"{made.cell.name} was trained on {made.dataset} {record.data_digest[:12]}, {found.path} is "
            f"{found.meta.data_digest[:12]}; an export is checked on the images that the run was tested on. Bring back "
            "its data (`dvc pull`), or prepare it as its suite says"
        )
    return found


def split_images(packed: Packed, form: ImageForm, split: str) -> Images:
    """Return all images of a split, which may be none."""
    return Images(packed, packed.rows(split), form, split)


def torch_said(network: nn.Module) -> Said:
    """Return a network in eval mode as a function of arrays."""

    def said(images: NDArray[Any]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(network(torch.from_numpy(images)).float().numpy())

    return said


def _first(classes: tuple[str, ...]) -> str:
    return ", ".join(classes[:3]) + (", ..." if len(classes) > 3 else "")
