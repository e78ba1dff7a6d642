"""Where the packed images live and how an epoch's batches are made of them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mobilebench.training.errors import TrainingError
from mobilebench.training.rng import generator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mobilebench.training.augment import Augmenter
    from mobilebench.training.data import Split
    from mobilebench.training.recipe import Recipe


@dataclass(frozen=True)
class Batch:
    """images: float32 [B, 3, R, R]; first, second: labels [B]; kept: weight of the first label [B]."""

    images: Tensor
    first: Tensor
    second: Tensor
    kept: Tensor


def batch_sizes(n: int, recipe: Recipe) -> list[int]:
    """Images of each batch of an epoch over n images.

    The last batch may be smaller (or is dropped when the recipe says so). A last batch of one image is always dropped,
    because batch norm needs two; the shuffle makes it another image in every epoch.
    Raises TrainingError when nothing is left.
    """
    full, rest = divmod(n, recipe.batch_size)
    sizes = [recipe.batch_size] * full + [rest] * (rest > 1 and not recipe.drop_last)
    if not sizes:
        raise TrainingError(
            f"the train split has {n} images, too few for a batch of {recipe.batch_size}"
            f"{' with drop_last' if recipe.drop_last else ''}; use a smaller batch_size or more images"
        )
    return sizes


class Store:
    """The images and labels of one split, on the device or as a memory map on the host."""

    def __init__(self, split: Split, device: torch.device) -> None:
        self._device = device
        self._images = _tensor(split.images)
        self._rows = torch.from_numpy(np.ascontiguousarray(split.rows, dtype=np.int64))
        self._labels = torch.from_numpy(np.asarray(split.labels[split.rows], dtype=np.int64)).to(device)

    def __len__(self) -> int:
        return len(self._rows)

    def take(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 images [B, S, S, 3] and labels [B] of places (int64, within the split), on the device."""
        images = self._images[self._rows[places]].to(self._device, non_blocking=True)
        return images, self._labels[places]


def _tensor(array: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Tensor:
    with warnings.catch_warnings():  # a read-only memory map is what we want: nothing here writes to images
        warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
        return torch.from_numpy(array)


class Batches:
    """Shuffled, augmented batches of the train split; order and draws depend on (seed, epoch) only."""

    def __init__(self, store: Store, augmenter: Augmenter, recipe: Recipe, seed: int) -> None:
        self._store = store
        self._augmenter = augmenter
        self._seed = seed
        self.sizes = batch_sizes(len(store), recipe)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of epoch `epoch` (0-based)."""
        order = torch.from_numpy(generator(self._seed, epoch, "order").permutation(len(self._store)))
        draws = self._augmenter.draw(self._seed, epoch, self.sizes)
        start = 0
        for size in self.sizes:
            here = slice(start, start + size)
            stored, labels = self._store.take(order[here])
            mine = {name: values[here] for name, values in draws.items()}
            images = self._augmenter.images(stored, mine)
            if "kept" in mine:
                yield Batch(images, labels, labels[mine["partners"]], mine["kept"])
            else:
                yield Batch(images, labels, labels, torch.ones(size))
            start += size
