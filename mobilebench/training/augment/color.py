"""Colour jitter: brightness, contrast, saturation and hue, each image with its own factors in its own order.

Brightness, contrast and saturation are all `clamp(a * image + b * grey + c)` with numbers a, b, c per image, so images
that are at different operations share one pass. Hue is the odd one: it runs once for the whole batch, between the
operations that come before it and those that come after it in each image's order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


def draw_jitter(
    rng: np.random.Generator, n: int, strength: tuple[float, float, float, float]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Factors [n, 4] and orders [n, 4] of torchvision's ColorJitter(*strength), one independent draw per image.

    Brightness, contrast and saturation factors from [max(0, 1 - s), 1 + s], hue shifts from [-s, s] in turns; an order
    lists the operations (BRIGHTNESS .. HUE) from first to last.
    """
    spread = np.array(strength)
    low = np.append(np.maximum(0, 1 - spread[:3]), -spread[3])
    high = np.append(1 + spread[:3], spread[3])
    factors = rng.uniform(low, high, size=(n, 4)).astype(np.float32)
    return factors, rng.permuted(np.tile(np.arange(4), (n, 1)), axis=1)


def jitter(images: Tensor, factors: Tensor, orders: Tensor) -> Tensor:
    """Colour-jitters float [B, 3, H, W] in [0, 1]; factors [B, 4] and orders [B, 4] as drawn by `draw_jitter`."""
    place = (orders == HUE).long().argmax(dim=1)  # how many operations come before hue
    for step in range(3):
        operation = torch.where(step < place, orders[:, step], HUE)
        images = _affine(images, operation, factors)
    images = shift_hue(images, factors[:, HUE])
    for step in range(1, 4):
        operation = torch.where(step > place, orders[:, step], HUE)
        images = _affine(images, operation, factors)
    return images


def _affine(images: Tensor, operation: Tensor, factors: Tensor) -> Tensor:
    """One brightness, contrast or saturation per image; HUE stands for no change."""
    factor = factors.gather(1, operation[:, None]).squeeze(1)
    image_share = torch.where(operation == HUE, 1.0, factor)
    rest = 1 - image_share
    grey = greyscale(images)
    mean = grey.mean(dim=(1, 2))
    grey_share = torch.where(operation == SATURATION, rest, 0.0)
    constant = torch.where(operation == CONTRAST, rest * mean, 0.0)
    add = torch.addcmul(constant[:, None, None], grey_share[:, None, None], grey)
    return torch.addcmul(add[:, None], images, image_share[:, None, None, None]).clamp_(0, 1)


def greyscale(images: Tensor) -> Tensor:
    """Luma [B, H, W] of float RGB [B, 3, H, W], with torchvision's weights (ITU-R 601)."""
    red, green, blue = images.unbind(dim=1)
    return torch.add(0.2989 * red, green, alpha=0.587).add_(blue, alpha=0.114)


def shift_hue(images: Tensor, shift: Tensor) -> Tensor:
    """Turns the hue of float RGB [B, 3, H, W] by `shift` [B] turns, saturation and value kept.

    The hexcone model: with value v and chroma c, channel n in (5, 3, 1) is v - c * clamp(min(k, 4 - k), 0, 1), where
    k = (n + 6 * hue) mod 6; so the way back from HSV needs no table of six cases.
    """
    red, green, blue = images.unbind(dim=1)
    value = images.amax(dim=1)
    chroma = value - images.amin(dim=1)
    safe = torch.where(chroma == 0, 1.0, chroma)
    sixths = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    sixths += 6 * shift[:, None, None]
    return torch.stack([value - chroma * _drop(sixths + n) for n in (5, 3, 1)], dim=1)


def _drop(k: Tensor) -> Tensor:
    k = torch.remainder(k, 6.0)
    return torch.minimum(k, 4 - k).clamp_(0, 1)
