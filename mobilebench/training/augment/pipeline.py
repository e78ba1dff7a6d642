"""The augmentation of a recipe, in order: crop + flip, colour jitter, normalisation, CutMix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mobilebench.training.augment.color import draw_jitter, jitter
from mobilebench.training.augment.crop import crop_flip_resize, draw_crops, resize_centre
from mobilebench.training.augment.cutmix import draw_cutmix, paste
from mobilebench.training.rng import generator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mobilebench.training.data import TrainData
    from mobilebench.training.recipe import Recipe

Draws = dict[str, Tensor]


class Augmenter:
    """Draws and applies the augmentation of one recipe on one dataset.

    Each kind of draw has its own generator, seeded by (seed, epoch, kind): switching one augmentation off leaves the
    draws of the others as they were.
    """

    def __init__(self, recipe: Recipe, data: TrainData, device: torch.device) -> None:
        self._augment = recipe.augment
        self._size = recipe.resolution
        self._resize = recipe.eval_resize or recipe.resolution
        self._side = data.train.side
        self._hflip = recipe.augment.hflip if data.hflip else 0.0
        mean, std = data.statistics(recipe.normalize)
        self._scale = (1 / torch.tensor(std, device=device)).view(3, 1, 1)
        self._shift = -torch.tensor(mean, device=device).view(3, 1, 1) * self._scale

    def draw(self, seed: int, epoch: int, batches: list[int]) -> Draws:
        """All parameters of one epoch, on the CPU; the first axis of each tensor is the image's place in the epoch."""
        augment, n = self._augment, sum(batches)
        crops = draw_crops(generator(seed, epoch, "crop"), n, self._side, augment.crop_scale, augment.crop_ratio)
        flips = generator(seed, epoch, "flip").random(n) < self._hflip
        draws: dict[str, NDArray[Any]] = {"crops": crops, "flips": flips}
        if any(augment.color_jitter):
            draws["factors"], draws["orders"] = draw_jitter(generator(seed, epoch, "jitter"), n, augment.color_jitter)
        if augment.cutmix_alpha > 0 and augment.cutmix_prob > 0:
            cutmix = draw_cutmix(generator(seed, epoch, "cutmix"), batches, self._size, augment)
            draws["boxes"], draws["kept"], draws["partners"] = cutmix
        return {name: torch.from_numpy(values) for name, values in draws.items()}

    def images(self, stored: Tensor, draws: Draws) -> Tensor:
        """uint8 [B, S, S, 3] -> normalised float32 [B, 3, R, R] in channels-last memory, ready for the network."""
        images = crop_flip_resize(stored, draws["crops"], draws["flips"], self._size)
        if "factors" in draws:
            images = jitter(images, draws["factors"], draws["orders"])
        images = self._normalize(images)
        return paste(images, draws["boxes"], draws["partners"]) if "boxes" in draws else images

    def view(self, stored: Tensor) -> Tensor:
        """The evaluation view of uint8 [B, S, S, 3]: resized, centre-cropped, normalised [B, 3, R, R]."""
        return self._normalize(resize_centre(stored, self._resize, self._size))

    def _normalize(self, images: Tensor) -> Tensor:
        out = torch.empty_like(images, memory_format=torch.channels_last)
        return torch.addcmul(self._shift, images, self._scale, out=out)
