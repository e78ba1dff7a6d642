"""Images that are no 8-bit RGB, in the form that is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from mobilebench.datasets.packing.geometry import centre, padded
from mobilebench.datasets.readers import ArrayError
from mobilebench.system.words import counted

if TYPE_CHECKING:
    from mobilebench.config.pixels import PixelType
    from mobilebench.config.recipe import Fit
    from mobilebench.datasets.spec import Pixels

# Files written by numpy users keep whole numbers in whatever type came of their computation.
_AS_FLOAT = {"float16", "float64", "int8", "int16", "int32", "uint32"}


def checked(array: Pixels, channels: int, dtype: PixelType) -> Pixels:
    """Return an image [H, W, C] in the dataset's kind of number. Raises ArrayError where it is of another kind.

    No value is changed: whole numbers become floats where the dataset is of floats, and nothing else.
    """
    if array.ndim != 3 or array.shape[2] != channels or not array.size:
        found = "x".join(map(str, array.shape))
        raise ArrayError(f"its array is {found} (height x width x channels); expected {counted(channels, 'channel')}")
    name = array.dtype.name
    if name != dtype and not (dtype == "float32" and name in _AS_FLOAT | {"uint8", "uint16"}):
        raise ArrayError(f"its numbers are {name}; expected {dtype}")
    if dtype == "float32":
        with np.errstate(over="ignore"):  # named below
            array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise ArrayError("it has values that are NaN, infinite or too large for 32 bits; expected finite numbers")
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))  # as this machine has them, whoever wrote them


def resized(array: Pixels, size: tuple[int, int], fit: Fit) -> Pixels:
    """Return an image [H, W, C] as one of `size` (height, width), each channel as `decode` treats those of RGB.

    Whole numbers are rounded. The border that `fit: pad` leaves is 0.
    """
    height, width = size
    source = (array.shape[1], array.shape[0])
    inner = padded(source, (width, height)) if fit == "pad" else (width, height)
    out = np.zeros((height, width, array.shape[2]), array.dtype)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    box = centre(source, inner) if fit == "centre" else None
    for channel in range(array.shape[2]):
        plane = np.ascontiguousarray(array[..., channel])
        if source != inner:
            plane = _plane(plane, inner, box)
        out[top : top + inner[1], left : left + inner[0], channel] = plane
    return out


def _plane(plane: Pixels, size: tuple[int, int], box: tuple[float, float, float, float] | None) -> Pixels:
    is_bytes = plane.dtype == np.uint8
    picture = Image.fromarray(plane if is_bytes else plane.astype(np.float32))
    small = np.asarray(picture.resize(size, Image.Resampling.BILINEAR, box=box))
    return small if plane.dtype.kind == "f" or is_bytes else np.rint(small).astype(plane.dtype)
