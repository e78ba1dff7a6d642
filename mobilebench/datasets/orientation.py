"""How an image file says that it is to be turned before it is seen: EXIF's orientation."""

from __future__ import annotations

from PIL import Image

_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ON_ITS_SIDE = frozenset(_TURNS[value] for value in range(5, 9))
"""The turns that exchange width and height."""


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """Return how an opened image is turned upright; None where it is, or its EXIF is damaged: the pixels are not."""
    try:
        return _TURNS.get(image.getexif().get(_TAG, 1))
    except Exception:  # noqa: BLE001 - as broken files do
        return None


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height of an opened image as it is meant to be seen. Of a PNG this may read the pixels."""
    width, height = image.size
    return (height, width) if turn_of(image) in ON_ITS_SIDE else (width, height)
