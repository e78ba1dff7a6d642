"""How an epoch's batches are made: shuffled, taken from the store in blocks, augmented on the device, cut."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import torch

from mobilebench.training.errors import TrainingError
from mobilebench.training.rng import generator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from mobilebench.config.recipe import Recipe
    from mobilebench.training.augment import Augmenter
    from mobilebench.training.augment.pipeline import Draws
    from mobilebench.training.image_store import Store

# Devices that would wait while an epoch is drawn: a thread draws the next one while they work. A CPU is what draws.
_DRAWN_AHEAD = {"cuda"}
# Batches augmented together. A GPU is idle most of the time on one batch of 32; a CPU's caches want small blocks.
_BLOCK = {"cuda": 8}


@dataclass(frozen=True)
class Batch:
    """images: float32 [B, 3, R, R]; first, second: labels [B], or 0 and 1 [B, C]; kept: weight of `first` [B]."""

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


class Batches:
    """Shuffled, augmented batches of the train split; order and draws depend on (seed, epoch) only."""

    def __init__(self, store: Store, augmenter: Augmenter, recipe: Recipe, seed: int, device: torch.device) -> None:
        self._store = store
        self._augmenter = augmenter
        self._seed = seed
        self.device = device
        self._block = _BLOCK.get(device.type, 1)
        self.sizes = batch_sizes(len(store), recipe)
        self.batch_size = recipe.batch_size
        self.block_images = self._block * recipe.batch_size
        self._epochs = recipe.total_epochs
        self._ahead: dict[int, Future[tuple[Tensor, Draws]]] = {}  # the next epoch, which a thread draws
        self._thread = ThreadPoolExecutor(max_workers=1) if device.type in _DRAWN_AHEAD else None

    def compile_colour(self, wanted: bool) -> None:  # noqa: FBT001 - a switch
        """Whether full blocks have their colours changed by a compiled function."""
        self._augmenter.compile_colour(self.block_images if wanted else None)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of epoch `epoch` (0-based)."""
        order, draws = self._drawn(epoch)
        order, draws = order.to(self._store.home), draws.to(self.device)
        blocks = [self.sizes[i : i + self._block] for i in range(0, len(self.sizes), self._block)]
        ends = list(accumulate(map(sum, blocks)))
        spans = [slice(end - sum(block), end) for block, end in zip(blocks, ends, strict=True)]
        taken = self._store.take(order[span] for span in spans)
        for block, span, (stored, labels) in zip(blocks, spans, taken, strict=True):
            mine = draws.cut(span)
            images = self._augmenter.images(stored, mine)
            whole = Batch(images, labels, labels[mine.partners], mine.kept)
            yield from _split(whole, block)

    def _drawn(self, epoch: int) -> tuple[Tensor, Draws]:
        """The order of an epoch and its draws, on the host; the next epoch's are begun."""
        ahead = self._ahead.pop(epoch, None)
        drawn = self._draw(epoch) if ahead is None else ahead.result()
        self._ahead.clear()
        if self._thread is not None and epoch + 1 < self._epochs:
            self._ahead[epoch + 1] = self._thread.submit(self._draw, epoch + 1)
        return drawn

    def _draw(self, epoch: int) -> tuple[Tensor, Draws]:
        shuffled = generator(self._seed, epoch, "order").permutation(len(self._store))
        return torch.from_numpy(shuffled), self._augmenter.draw(self._seed, epoch, self.sizes)


def _split(block: Batch, sizes: list[int]) -> Iterator[Batch]:
    parts = (torch.split(part, sizes) for part in (block.images, block.first, block.second, block.kept))
    for images, first, second, kept in zip(*parts, strict=True):
        yield Batch(images, first, second, kept)
