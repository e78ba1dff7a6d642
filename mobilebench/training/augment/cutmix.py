"""CutMix: a box of each image is replaced by the same box of another image of its batch, and the labels are shared."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mobilebench.config.pixels import sides

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mobilebench.config.pixels import Resolution
    from mobilebench.config.recipe import Augment


def draw_cutmix(
    rng: np.random.Generator, batches: list[int], size: Resolution, augment: Augment
) -> tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.int64]]:
    """Boxes [n, 4] as (top, left, bottom, right), kept weights [n] and partners [n] of an epoch.

    batches: images per batch, n their sum. A box covers 1 - lambda of the image before it is clipped at the border,
    lambda ~ Beta(alpha, alpha); the kept weight is what its own label counts (`augment.cutmix_weight`). A partner
    is the place in the epoch of an image of the same batch.
    """
    draws = len(batches) if augment.cutmix_box == "batch" else sum(batches)
    per_image = np.arange(sum(batches)) if augment.cutmix_box == "image" else np.repeat(np.arange(draws), batches)
    drawn = rng.beta(augment.cutmix_alpha, augment.cutmix_alpha, size=draws)
    high, wide = most = sides(size)
    half = (0.5 * np.array(most) * np.sqrt(1 - drawn)[:, None]).astype(np.int64)
    centre = rng.integers(0, high if high == wide else most, size=(draws, 2))  # two bounds are another stream of draws
    boxes = np.concatenate([np.clip(centre - half, 0, most), np.clip(centre + half, 0, most)], axis=1)
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    kept = 1 - area / (high * wide) if augment.cutmix_weight == "area" else drawn
    boxes, kept = boxes[per_image], kept[per_image]
    off = np.repeat(rng.random(len(batches)) >= augment.cutmix_prob, batches)
    boxes[off], kept[off] = 0, 1
    partners = np.concatenate([rng.permutation(count) for count in batches]) + np.repeat(
        np.cumsum([0, *batches[:-1]]), batches
    )
    return boxes, kept.astype(np.float32), partners


def paste(images: Tensor, boxes: Tensor, partners: Tensor) -> Tensor:
    """Float [B, C, H, W] with the box [B, 4] of each image taken from images[partners]."""
    return torch.where(inside(boxes, images.shape[2], images.shape[3]), images[partners], images)


def inside(boxes: Tensor, height: int, width: int) -> Tensor:
    """Bool [B, 1, height, width], true within each image's box [B, 4] (top, left, bottom, right; ends excluded)."""
    top, left, bottom, right = boxes.unbind(dim=1)
    y = torch.arange(height, device=boxes.device)
    x = torch.arange(width, device=boxes.device)
    in_rows = (y >= top[:, None]) & (y < bottom[:, None])
    in_columns = (x >= left[:, None]) & (x < right[:, None])
    return in_rows[:, None, :, None] & in_columns[:, None, None, :]
