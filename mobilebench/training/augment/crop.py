"""Random resized crop and horizontal flip as one resampling of the whole batch.

Antialiased bilinear resizing is linear and separable: each output row is a weighted sum of a few input rows, and the
weights depend on the crop only. So a batch is resized by two weighted sums over rows (one per axis) with every image's
own crop in the weights; a flip reverses one axis' weights and costs nothing. `embedding_bag` is that weighted sum as
one fused kernel, on the CPU and on CUDA.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mobilebench.config.pixels import UNITS, sides

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mobilebench.config.pixels import Resolution

TRIES = 10


def draw_crops(
    rng: np.random.Generator,
    n: int,
    stored: Resolution,
    scale: tuple[float, float] | None,
    ratio: tuple[float, float],
) -> NDArray[np.int64]:
    """Crops [n, 4] as (top, left, height, width) in pixels of a stored image, one independent draw per image.

    torchvision's RandomResizedCrop: ten tries of an area fraction and an aspect ratio (width over height, in pixels),
    the first that fits counts, else the largest central crop of an allowed ratio. scale None takes the whole image.
    """
    high, wide = sides(stored)
    if scale is None:
        return np.tile(np.array([0, 0, high, wide]), (n, 1))
    area = high * wide * rng.uniform(*scale, size=(n, TRIES))
    aspect = np.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1]), size=(n, TRIES)))
    width = np.round(np.sqrt(area * aspect)).astype(np.int64)
    height = np.round(np.sqrt(area / aspect)).astype(np.int64)
    fits = (width > 0) & (width <= wide) & (height > 0) & (height <= high)
    height, width, found = first_that_fits(height, width, fits)
    place = rng.random(size=(n, 2))
    top = (place[:, 0] * (high - height + 1)).astype(np.int64)
    left = (place[:, 1] * (wide - width + 1)).astype(np.int64)
    crops = np.stack([top, left, height, width], axis=1)
    crops[~found] = _central(high, wide, ratio)
    return crops


def first_that_fits(
    height: NDArray[np.int64], width: NDArray[np.int64], fits: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Height [n], width [n] of the first try [n, TRIES] that fits, and whether there is one [n]."""
    first = fits.argmax(axis=1)[:, None]
    found: NDArray[np.bool_] = np.any(fits, axis=1)
    return np.take_along_axis(height, first, 1)[:, 0], np.take_along_axis(width, first, 1)[:, 0], found


def _central(high: int, wide: int, ratio: tuple[float, float]) -> list[int]:
    height, width = high, wide
    if wide / high < min(ratio):
        height = round(wide / min(ratio))
    elif wide / high > max(ratio):
        width = round(high * max(ratio))
    return [(high - height) // 2, (wide - width) // 2, height, width]


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
    """Stored images [B, H, W, C] -> float32 [B, C, out_rows, out_columns], from the weights of `axis_weights`.

    Whole numbers are in [0, 1] then, see `config.pixels.UNITS`.
    """
    batch, high, wide, channels = images.shape
    unit = UNITS[str(images.dtype).removeprefix("torch.")]
    table = images.reshape(batch * high, wide * channels).float()
    tall = _weighted_rows(table, rows[0], rows[1] / unit, high)  # [B, out_rows, W * C]
    out_rows, out_columns = rows[0].shape[1], columns[0].shape[1]
    table = tall.view(batch, out_rows, wide, channels).permute(0, 2, 3, 1).reshape(batch * wide, channels * out_rows)
    resized = _weighted_rows(table, columns[0], columns[1], wide)  # [B, out_columns, C * out_rows]
    return resized.view(batch, out_columns, channels, out_rows).permute(0, 2, 3, 1)


def _weighted_rows(table: Tensor, index: Tensor, weight: Tensor, side: int) -> Tensor:
    batch, out, taps = index.shape
    index = index + torch.arange(batch, device=index.device)[:, None, None] * side
    flat = functional.embedding_bag(
        index.view(-1, taps), table, per_sample_weights=weight.reshape(-1, taps), mode="sum"
    )
    return flat.view(batch, out, -1)


def crop_flip_resize(images: Tensor, crops: Tensor, flips: Tensor, size: Resolution) -> Tensor:
    """Crops, mirrors and resizes each image by its own draw, in one resampling.

    images: stored ones [B, H, W, C]; crops: integers [B, 4] (top, left, height, width); flips: bool [B].
    Returns float32 [B, C, *size], of whole numbers in [0, 1].
    """
    high, wide = images.shape[1:3]
    out_rows, out_columns = sides(size)
    top, left, height, width = crops.float().unbind(dim=1)
    rows = axis_weights(top, height, high, out_rows, None)
    columns = axis_weights(left, width, wide, out_columns, flips)
    return resample(images, rows, columns)


def resized_whole(stored: Resolution, resize: int, size: Resolution) -> tuple[int, int]:
    """Height and width to which a whole stored image is resized so that its centre can be read at `size`.

    resize: to how many pixels of it the shorter side of `size` belongs, at least that itself; of squares, to how many
    pixels the image is resized. A stored image of another shape than `size` covers it.
    """
    (high, wide), (rows, columns) = sides(stored), sides(size)
    scale = max(Fraction(rows, high), Fraction(columns, wide)) * Fraction(resize, min(rows, columns))
    return round(high * scale), round(wide * scale)


def resize_centre(images: Tensor, resize: int, size: Resolution) -> Tensor:
    """The evaluation view: the whole image resized as `resized_whole` says, then the centre of `size` of it.

    images: stored ones [B, H, W, C]. Returns float32 [B, C, *size], of whole numbers in [0, 1].
    """
    high, wide = images.shape[1:3]
    whole, (rows, columns) = resized_whole((high, wide), resize, size), sides(size)
    return resample(images, _centre_axis(images, high, whole[0], rows), _centre_axis(images, wide, whole[1], columns))


def _centre_axis(images: Tensor, side: int, resize: int, size: int) -> tuple[Tensor, Tensor]:
    start = torch.zeros(len(images), device=images.device)
    index, weight = axis_weights(start, start + side, side, resize, None)
    first = round((resize - size) / 2)  # torchvision's CenterCrop
    return index[:, first : first + size], weight[:, first : first + size]
