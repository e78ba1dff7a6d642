"""The augmentation of a recipe, in order.

Crop + flip, RandAugment or TrivialAugment, colour jitter, normalisation, random erasing, CutMix. Low-resolution images
are jittered after they are enlarged, as in the paper: contrast's mean and the clamps make the other order another
function (tests/training/test_augment.py shows by how much).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mobilebench.config.pixels import sides
from mobilebench.training.augment.color import draw_jitter, jitter
from mobilebench.training.augment.crop import crop_flip_resize, draw_crops, resize_centre
from mobilebench.training.augment.cutmix import draw_cutmix, paste
from mobilebench.training.augment.erase import draw_erasing, erase
from mobilebench.training.augment.policy import apply_policy, draw_randaugment, draw_trivialaugment
from mobilebench.training.errors import TrainingError
from mobilebench.training.rgb_only import rgb_only
from mobilebench.training.rng import generator

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mobilebench.config.recipe import Recipe
    from mobilebench.training.data import TrainData


@dataclass(frozen=True)
class Draws:
    """All random parameters of n images; each tensor's first axis is the image, None where nothing is drawn.

    crops [n, 4] (top, left, height, width); flips [n]; operations, amounts [n, k] of a policy (kept on the host);
    factors, orders [n, 4] of the colour jitter; erased [n, 4] and boxes [n, 4] (top, left, bottom, right); partners [n]
    and kept [n]: whose pixels fill the box, and what an image's own label weighs.
    """

    crops: Tensor
    flips: Tensor
    partners: Tensor
    kept: Tensor
    operations: Tensor | None = None
    amounts: Tensor | None = None
    factors: Tensor | None = None
    orders: Tensor | None = None
    erased: Tensor | None = None
    boxes: Tensor | None = None

    def to(self, device: torch.device) -> Draws:
        """The same draws with everything but the policy on `device`."""
        return self._map(lambda name, t: t if name in {"operations", "amounts"} else t.to(device))

    def cut(self, span: slice) -> Draws:
        """The draws of the images in `span`; partners count from its start."""
        return self._map(lambda name, t: t[span] - span.start if name == "partners" else t[span])

    def _map(self, change: Callable[[str, Tensor], Tensor]) -> Draws:
        mine: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        changed: dict[str, Any] = {name: None if t is None else change(name, t) for name, t in mine.items()}
        return Draws(**changed)


class Augmenter:
    """Draws and applies the augmentation of one recipe on one dataset.

    Each kind of draw has its own generator, seeded by (seed, epoch, kind): switching one augmentation off leaves the
    draws of the others as they were.
    """

    def __init__(self, recipe: Recipe, data: TrainData, device: torch.device) -> None:
        self._augment = recipe.augment
        self._size = recipe.resolution
        self._resize = data.resized_to(recipe)
        self._stored = data.train.size
        self._hflip = recipe.augment.hflip if data.hflip else 0.0
        train = data.train
        if unfit := rgb_only(recipe, train.channels, train.images.dtype.name):
            raise TrainingError(
                f"{', '.join(unfit)}: for three channels of colour only; images have {train.channels} of "
                f"{train.images.dtype}"
            )
        mean, std = data.statistics(recipe.normalize)
        self._scale = (1 / torch.tensor(std, device=device)).view(-1, 1, 1)
        self._shift = -torch.tensor(mean, device=device).view(-1, 1, 1) * self._scale
        self._compiled_colour: Callable[..., Tensor] | None = None
        self._compiled_for: int | None = None

    def compile_colour(self, batch: int | None) -> None:
        """Compiles jitter and normalisation for blocks of `batch` images; other blocks, and None, stay eager."""
        self._compiled_for = batch
        self._compiled_colour = None if batch is None else torch.compile(self._colour, dynamic=False)

    def draw(self, seed: int, epoch: int, batches: list[int]) -> Draws:
        """All parameters of one epoch of batches of these sizes, on the CPU."""
        n = sum(batches)
        augment = self._augment
        crops = draw_crops(generator(seed, epoch, "crop"), n, self._stored, augment.crop_scale, self._crop_ratio)
        flips = generator(seed, epoch, "flip").random(n) < self._hflip
        drawn: dict[str, NDArray[Any]] = {"crops": crops, "flips": flips}
        drawn["partners"], drawn["kept"] = np.arange(n), np.ones(n, np.float32)
        drawn |= self._policy(generator(seed, epoch, "policy"), n)
        if any(augment.color_jitter):
            drawn["factors"], drawn["orders"] = draw_jitter(generator(seed, epoch, "jitter"), n, augment.color_jitter)
        if augment.random_erasing > 0:
            drawn["erased"] = draw_erasing(generator(seed, epoch, "erasing"), n, self._size, augment.random_erasing)
        if augment.cutmix_alpha > 0 and augment.cutmix_prob > 0:
            cutmix = draw_cutmix(generator(seed, epoch, "cutmix"), batches, self._size, augment)
            drawn["boxes"], drawn["kept"], drawn["partners"] = cutmix
        return Draws(**{name: torch.from_numpy(values) for name, values in drawn.items()})

    @property
    def _crop_ratio(self) -> tuple[float, float]:
        """The crop's ratio in stored pixels, given in units of the resolution's own."""
        height, width = sides(self._size)
        low, high = self._augment.crop_ratio
        return (low, high) if height == width else (low * width / height, high * width / height)

    def _policy(self, rng: np.random.Generator, n: int) -> dict[str, NDArray[Any]]:
        if self._augment.randaugment is not None:
            operations, amounts = draw_randaugment(rng, n, self._size, *self._augment.randaugment)
        elif self._augment.trivialaugment:
            operations, amounts = draw_trivialaugment(rng, n, self._size)
        else:
            return {}
        return {"operations": operations, "amounts": amounts}

    def images(self, stored: Tensor, draws: Draws) -> Tensor:
        """Stored [B, H, W, C] -> normalised float32 [B, C, R, R] in channels-last memory, ready for the network."""
        images = crop_flip_resize(stored, draws.crops, draws.flips, self._size)
        if draws.operations is not None and draws.amounts is not None:
            images = apply_policy(images, draws.operations, draws.amounts)
        compiled = self._compiled_colour if len(images) == self._compiled_for else None
        images = (compiled or self._colour)(images, draws.factors, draws.orders)
        if draws.erased is not None:
            images = erase(images, draws.erased)
        return images if draws.boxes is None else paste(images, draws.boxes, draws.partners)

    def _colour(self, images: Tensor, factors: Tensor | None, orders: Tensor | None) -> Tensor:
        if factors is not None and orders is not None:
            images = jitter(images, factors, orders)
        return self._normalize(images)

    def view(self, stored: Tensor) -> Tensor:
        """The evaluation view of stored [B, H, W, C]: resized, centre-cropped, normalised [B, C, R, R]."""
        return self._normalize(resize_centre(stored, self._resize, self._size))

    def _normalize(self, images: Tensor) -> Tensor:
        return torch.addcmul(self._shift, images, self._scale).contiguous(memory_format=torch.channels_last)
