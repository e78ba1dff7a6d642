"""What an image is: height, width, channels and the kind of its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

Resolution = int | tuple[int, int]
"""Pixels along each side of a square, or height and width of a rectangle."""

PixelType = Literal["uint8", "uint16", "float32"]
"""The kind of number that a stored pixel is."""

UNITS: Mapping[str, int] = {"uint8": 255, "uint16": 65535, "float32": 1}
"""What stored numbers are divided by before a network gets them: whole numbers lie in [0, 1] then."""


class InputSize(NamedTuple):
    """One image as a network gets it."""

    height: int
    width: int
    channels: int = 3

    def __str__(self) -> str:
        channels = "" if self.channels == 3 else f" of {self.channels} channel{'s' if self.channels > 1 else ''}"
        return f"{shown(self[:2])} px{channels}"


Size = Resolution | InputSize
"""An image that a network is given: the side of a square of RGB, height and width of one, or all there is to say."""


def sides(resolution: Resolution) -> tuple[int, int]:
    """Return height and width."""
    return (resolution, resolution) if isinstance(resolution, int) else resolution


def input_size(size: Size, channels: int = 3) -> InputSize:
    """Return what a network gets of this resolution; of an `InputSize`, itself."""
    return size if isinstance(size, InputSize) else InputSize(*sides(size), channels)


def shown(resolution: Resolution) -> str:
    """Return `224` of a square, `448x672` (height x width) of a rectangle."""
    height, width = sides(resolution)
    return str(height) if height == width else f"{height}x{width}"
