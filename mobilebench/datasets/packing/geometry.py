"""How an image of any shape becomes one of a given shape. Sizes are (width, height), as Pillow has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mobilebench.config.recipe import Fit

Size = tuple[int, int]


def native_side(size: Size, fit: Fit, aspect: tuple[int, int]) -> int:
    """Return the shorter side of the largest stored image that enlarges nothing of an image of this size.

    aspect: height and width of the stored image, in any unit. With `pad` the whole image has to fit into it.
    """
    low = min(aspect)
    by_height, by_width = size[1] * low // aspect[0], size[0] * low // aspect[1]
    return max(by_height, by_width) if fit == "pad" else min(by_height, by_width)


def padded(size: Size, into: Size) -> Size:
    """Return width and height with which an image of this size just fits into another."""
    (width, height), (most_wide, most_high) = size, into
    if width * most_high >= height * most_wide:
        return most_wide, max(1, round(height * most_wide / width))
    return max(1, round(width * most_high / height)), most_high


def centre(size: Size, shape: Size) -> tuple[float, float, float, float]:
    """Return the largest central box (left, top, right, bottom) of an image that has the shape of another."""
    (width, height), (wide, high) = size, shape
    box_width, box_height = (
        (height * wide / high, height) if width * high >= height * wide else (width, width * high / wide)
    )
    left, top = (width - box_width) / 2, (height - box_height) / 2
    return left, top, left + box_width, top + box_height
