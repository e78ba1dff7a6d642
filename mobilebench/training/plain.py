"""The plain path: torchvision's own functions, image by image, with the draws of the fast path.

What the fast path is checked against. It shares the draws (crops, factors, boxes) and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable  # noqa: TC003 - read at run time by the tables below
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torchvision.transforms import functional as tv

from mobilebench.config.pixels import UNITS, sides
from mobilebench.training.augment.crop import resized_whole
from mobilebench.training.augment.pipeline import Augmenter, Draws
from mobilebench.training.augment.policy import OPERATIONS

if TYPE_CHECKING:
    from mobilebench.config.recipe import Recipe
    from mobilebench.training.data import TrainData

_JITTER = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)


class PlainAugmenter(Augmenter):
    """The same draws as `Augmenter`, applied one image at a time by torchvision."""

    def __init__(self, recipe: Recipe, data: TrainData, device: torch.device) -> None:
        super().__init__(recipe, data, device)
        self._mean, self._std = data.statistics(recipe.normalize)
        self._unit = UNITS[data.train.images.dtype.name]

    def images(self, stored: Tensor, draws: Draws) -> Tensor:
        """Stored [B, H, W, C] -> normalised float32 [B, C, R, R]."""
        images = torch.stack([self._one(stored[i], draws.cut(slice(i, i + 1))) for i in range(len(stored))])
        if draws.boxes is None:
            return images
        mixed = images.clone()
        for i, (top, left, bottom, right) in enumerate(draws.boxes.tolist()):
            mixed[i, :, top:bottom, left:right] = images[draws.partners[i], :, top:bottom, left:right]
        return mixed

    def _one(self, stored: Tensor, draws: Draws) -> Tensor:
        image: Tensor = stored.permute(2, 0, 1).float() / self._unit
        image = tv.resized_crop(image, *draws.crops[0].tolist(), size=list(sides(self._size)), antialias=True)
        if draws.flips[0]:
            image = tv.hflip(image)
        if draws.operations is not None and draws.amounts is not None:
            for number, amount in zip(draws.operations[0].tolist(), draws.amounts[0].tolist(), strict=True):
                image = apply_operation(image, OPERATIONS[number], amount)
        if draws.factors is not None and draws.orders is not None:
            for number in draws.orders[0].tolist():
                image = _JITTER[number](image, float(draws.factors[0, number]))
        image = tv.normalize(image, list(self._mean), list(self._std))
        if draws.erased is not None:
            top, left, bottom, right = draws.erased[0].tolist()
            image[:, top:bottom, left:right] = 0
        return image

    def view(self, stored: Tensor) -> Tensor:
        """The evaluation view of stored [B, H, W, C]."""
        images = stored.permute(0, 3, 1, 2).float() / self._unit
        whole = list(resized_whole(self._stored, self._resize, self._size))
        images = tv.center_crop(tv.resize(images, whole, antialias=True), list(sides(self._size)))
        normal: Tensor = tv.normalize(images, list(self._mean), list(self._std))
        return normal


def apply_operation(image: Tensor, name: str, amount: float) -> Tensor:
    """One operation of RandAugment or TrivialAugment on float [3, H, W] in [0, 1], by torchvision."""
    if name in _ON_LEVELS:
        levels = (image * 255).round().to(torch.uint8)
        changed: Tensor = _ON_LEVELS[name](levels, amount).float() / 255
    else:
        changed = _ON_FLOATS[name](image, amount)
    return changed


def _affine(image: Tensor, *, shift: tuple[int, int] = (0, 0), shear: tuple[float, float] = (0, 0)) -> Any:
    degrees = [math.degrees(math.atan(tangent)) for tangent in shear]
    return tv.affine(image, 0.0, list(shift), 1.0, degrees, center=[0, 0] if any(shear) else None)


_ON_FLOATS: dict[str, Callable[[Tensor, float], Any]] = {
    "identity": lambda image, _: image,
    "shear_x": lambda image, m: _affine(image, shear=(m, 0)),
    "shear_y": lambda image, m: _affine(image, shear=(0, m)),
    "translate_x": lambda image, m: _affine(image, shift=(int(m), 0)),
    "translate_y": lambda image, m: _affine(image, shift=(0, int(m))),
    "rotate": tv.rotate,
    "brightness": lambda image, m: tv.adjust_brightness(image, 1 + m),
    "color": lambda image, m: tv.adjust_saturation(image, 1 + m),
    "contrast": lambda image, m: tv.adjust_contrast(image, 1 + m),
    "sharpness": lambda image, m: tv.adjust_sharpness(image, 1 + m),
    "autocontrast": lambda image, _: tv.autocontrast(image),
}
_ON_LEVELS: dict[str, Callable[[Tensor, float], Any]] = {
    "posterize": lambda image, m: tv.posterize(image, int(m)),
    "solarize": tv.solarize,
    "equalize": lambda image, _: tv.equalize(image),
}
