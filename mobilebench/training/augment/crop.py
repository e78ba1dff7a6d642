"""Random resized crop and horizontal flip as one resampling of the whole batch.

Antialiased bilinear resizing is linear and separable: each output row is a weighted sum of a few input rows, and the
weights depend on the crop only. So a batch is resized by two weighted sums over rows (one per axis) with every image's
own crop in the weights; a flip reverses one axis' weights and costs nothing. `embedding_bag` is that weighted sum as
one fused kernel, on the CPU and on CUDA.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from numpy.typing import NDArray

TRIES = 10


def draw_crops(
    rng: np.random.Generator, n: int, side: int, scale: tuple[float, float] | None, ratio: tuple[float, float]
) -> NDArray[np.int64]:
    """Crops [n, 4] as (top, left, height, width) in pixels of a square image, one independent draw per image.

    torchvision's RandomResizedCrop: ten tries of an area fraction and an aspect ratio, the first that fits counts, else
    the largest central crop of an allowed ratio. scale None takes the whole image.
    """
    if scale is None:
        return np.tile(np.array([0, 0, side, side]), (n, 1))
    area = side * side * rng.uniform(*scale, size=(n, TRIES))
    aspect = np.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1]), size=(n, TRIES)))
    width = np.round(np.sqrt(area * aspect)).astype(np.int64)
    height = np.round(np.sqrt(area / aspect)).astype(np.int64)
    fits = (width > 0) & (width <= side) & (height > 0) & (height <= side)
    height, width, found = first_that_fits(height, width, fits)
    place = rng.random(size=(n, 2))
    top = (place[:, 0] * (side - height + 1)).astype(np.int64)
    left = (place[:, 1] * (side - width + 1)).astype(np.int64)
    crops = np.stack([top, left, height, width], axis=1)
    crops[~found] = _central(side, ratio)
    return crops


def first_that_fits(
    height: NDArray[np.int64], width: NDArray[np.int64], fits: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Height [n], width [n] of the first try [n, TRIES] that fits, and whether there is one [n]."""
    first = fits.argmax(axis=1)[:, None]
    found: NDArray[np.bool_] = np.any(fits, axis=1)
    return np.take_along_axis(height, first, 1)[:, 0], np.take_along_axis(width, first, 1)[:, 0], found


def _central(side: int, ratio: tuple[float, float]) -> list[int]:
    height = width = side
    if min(ratio) > 1:
        height = round(side / min(ratio))
    elif max(ratio) < 1:
        width = round(side * max(ratio))
    return [(side - height) // 2, (side - width) // 2, height, width]


def axis_weights(start: Tensor, length: Tensor, side: int, out: int, mirrored: Tensor | None) -> tuple[Tensor, Tensor]:
    """Input positions [B, out, K] and their weights [B, out, K] for one axis of each image's crop.

    start, length: first pixel and pixels of the crop [B]. The triangle filter of antialiased bilinear resizing, its
    half-width at least one pixel, cut at the crop's edge and normalised (as in torch's interpolate with antialias).
    """
    taps = math.ceil(2 * max(side / out, 1.0))
    scale = (length / out)[:, None]
    half = scale.clamp(min=1.0)[..., None]
    place = torch.arange(out, device=start.device, dtype=torch.float32).expand(len(start), out)
    if mirrored is not None:
        place = torch.where(mirrored[:, None], out - 1 - place, place)
    centre = (scale * (place + 0.5))[..., None]
    pixel = torch.floor(centre - half + 0.5) + torch.arange(taps, device=start.device)
    weight = (1 - ((pixel + 0.5 - centre) / half).abs()).clamp_(min=0)
    weight *= (pixel >= 0) & (pixel < length[:, None, None])
    weight /= weight.sum(dim=2, keepdim=True)
    return (pixel + start[:, None, None]).clamp_(0, side - 1).long(), weight


def resample(images: Tensor, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor]) -> Tensor:
    """uint8 [B, S, S, 3] -> float32 [B, 3, out_rows, out_columns] in [0, 1], from the weights of `axis_weights`."""
    batch, side = images.shape[:2]
    table = images.reshape(batch * side, side * 3).float()
    tall = _weighted_rows(table, rows[0], rows[1] / 255, side)  # [B, out_rows, S * 3]
    out_rows, out_columns = rows[0].shape[1], columns[0].shape[1]
    table = tall.view(batch, out_rows, side, 3).permute(0, 2, 3, 1).reshape(batch * side, 3 * out_rows)
    wide = _weighted_rows(table, columns[0], columns[1], side)  # [B, out_columns, 3 * out_rows]
    return wide.view(batch, out_columns, 3, out_rows).permute(0, 2, 3, 1)


def _weighted_rows(table: Tensor, index: Tensor, weight: Tensor, side: int) -> Tensor:
    batch, out, taps = index.shape
    index = index + torch.arange(batch, device=index.device)[:, None, None] * side
    flat = functional.embedding_bag(
        index.view(-1, taps), table, per_sample_weights=weight.reshape(-1, taps), mode="sum"
    )
    return flat.view(batch, out, -1)


def crop_flip_resize(images: Tensor, crops: Tensor, flips: Tensor, size: int) -> Tensor:
    """Crops, mirrors and resizes each image by its own draw, in one resampling.

    images: uint8 [B, S, S, 3]; crops: integers [B, 4] (top, left, height, width); flips: bool [B].
    Returns float32 [B, 3, size, size] in [0, 1].
    """
    side = images.shape[1]
    top, left, height, width = crops.float().unbind(dim=1)
    rows = axis_weights(top, height, side, size, None)
    columns = axis_weights(left, width, side, size, flips)
    return resample(images, rows, columns)


def resize_centre(images: Tensor, resize: int, size: int) -> Tensor:
    """The evaluation view: the whole image resized to `resize` pixels, then the central `size` x `size` of it.

    images: uint8 [B, S, S, 3]. Returns float32 [B, 3, size, size] in [0, 1].
    """
    batch, side = images.shape[:2]
    start = torch.zeros(batch, device=images.device)
    index, weight = axis_weights(start, start + side, side, resize, None)
    first = round((resize - size) / 2)  # torchvision's CenterCrop
    axis = (index[:, first : first + size], weight[:, first : first + size])
    return resample(images, axis, axis)
