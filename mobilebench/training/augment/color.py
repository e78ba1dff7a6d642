"""Colour jitter: brightness, contrast, saturation and hue, each image with its own factors in its own order.

Brightness, contrast and saturation are all `clamp(a * image + b * grey + c)` with numbers a, b, c per image, so images
that are at different operations share one matrix product. Hue is the odd one: it runs once for the whole batch, between
the operations that come before it and those that come after it in each image's order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
LUMA = (0.2989, 0.587, 0.114)  # torchvision's grey, ITU-R 601


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
        images = blend_color(images, operation, factors.gather(1, operation[:, None]).squeeze(1))
    images = shift_hue(images, factors[:, HUE])
    for step in range(1, 4):
        operation = torch.where(step > place, orders[:, step], HUE)
        images = blend_color(images, operation, factors.gather(1, operation[:, None]).squeeze(1))
    return images


def blend_color(images: Tensor, operation: Tensor, factor: Tensor) -> Tensor:
    """One of BRIGHTNESS, CONTRAST, SATURATION per image by its factor [B]; operation [B], HUE stands for no change.

    All are one 3 x 3 colour matrix and one constant per image, so one matrix product and a clamp do the whole batch. A
    compiler takes a product as it is and joins plain arithmetic to what stands around it: it is given that instead.
    """
    luma = _luma(images.device)
    image_share = torch.where(operation == HUE, 1.0, factor)
    rest = 1 - image_share
    pixels = images.reshape(len(images), 3, -1)
    constant = torch.where(operation == CONTRAST, rest * (pixels.mean(dim=2) * luma).sum(dim=1), 0.0)
    grey_share = torch.where(operation == SATURATION, rest, 0.0)
    if torch.compiler.is_compiling():
        red, green, blue = images.unbind(dim=1)
        grey = LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue
        added = grey_share[:, None, None] * grey + constant[:, None, None]
        return (image_share[:, None, None, None] * images + added[:, None]).clamp(0, 1)
    identity = torch.eye(3, device=images.device)
    matrix = image_share[:, None, None] * identity + grey_share[:, None, None] * luma
    return torch.baddbmm(constant[:, None, None], matrix, pixels).clamp_(0, 1).view(images.shape)


def _luma(device: torch.device) -> Tensor:
    """LUMA [3], written by the device itself: a copy from the host would make it wait."""
    channel = torch.arange(3, device=device)
    return torch.where(channel == 0, LUMA[0], torch.where(channel == 1, LUMA[1], LUMA[2]))


def shift_hue(images: Tensor, shift: Tensor) -> Tensor:
    """Turns the hue of float RGB [B, 3, H, W] by `shift` [B] turns, saturation and value kept.

    The hexcone model: with value v, chroma c and hue h in turns, the channels are v - c * clamp(2 - 6 d, 0, 1), where d
    is the distance on the circle between h and the channel's opposite (1/2, 5/6, 1/6 of a turn): no table of six cases.
    """
    red, green, blue = images.unbind(dim=1)
    value = images.amax(dim=1)
    chroma = value - images.amin(dim=1)
    turns = 1 / (6 * chroma.clamp(min=1e-12))
    hue = torch.where(
        value == red,
        (green - blue) * turns,
        torch.where(value == green, (blue - red) * turns + 1 / 3, (red - green) * turns + 2 / 3),
    )
    hue += shift[:, None, None]
    return torch.stack([value - chroma * _drop(hue - opposite) for opposite in (1 / 2, 5 / 6, 1 / 6)], dim=1)


def _drop(turns: Tensor) -> Tensor:
    return (turns - turns.round()).abs_().mul_(-6).add_(2).clamp_(0, 1)
