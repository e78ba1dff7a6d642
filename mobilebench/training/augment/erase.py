"""Random erasing: a rectangle of the normalised image is set to zero, i.e. to the mean colour."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.config.pixels import sides
from mobilebench.training.augment.crop import TRIES, first_that_fits
from mobilebench.training.augment.cutmix import inside

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from mobilebench.config.pixels import Resolution

SCALE = (0.02, 0.33)
RATIO = (0.3, 3.3)


def draw_erasing(rng: np.random.Generator, n: int, size: Resolution, probability: float) -> NDArray[np.int64]:
    """Boxes [n, 4] as (top, left, bottom, right), empty where nothing is erased: torchvision's RandomErasing(p).

    Area fraction from SCALE, aspect ratio log-uniform from RATIO, ten tries; a rectangle as long as the image does not
    fit, and an image without a rectangle that fits is kept.
    """
    high, wide = sides(size)
    area = high * wide * rng.uniform(*SCALE, size=(n, TRIES))
    aspect = np.exp(rng.uniform(math.log(RATIO[0]), math.log(RATIO[1]), size=(n, TRIES)))
    height = np.round(np.sqrt(area * aspect)).astype(np.int64)
    width = np.round(np.sqrt(area / aspect)).astype(np.int64)
    height, width, found = first_that_fits(height, width, (height < high) & (width < wide))
    place = rng.random((n, 2))
    top = (place[:, 0] * (high - height + 1)).astype(np.int64)
    left = (place[:, 1] * (wide - width + 1)).astype(np.int64)
    boxes = np.stack([top, left, top + height, left + width], axis=1)
    boxes[~found | (rng.random(n) >= probability)] = 0
    return boxes


def erase(images: Tensor, boxes: Tensor) -> Tensor:
    """Float [B, C, H, W] with the box [B, 4] of each image set to zero, in place."""
    return images.masked_fill_(inside(boxes, images.shape[2], images.shape[3]), 0)
