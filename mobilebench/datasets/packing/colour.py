"""Every colour mode that Pillow reads, as RGB: what is transparent is laid over white, 16 bits keep their upper 8."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    import numpy.typing as npt

Source = Path | io.BytesIO

_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
# PNG's grey of few bits is spread over 0 to 255 by Pillow, its transparent grey is not.
_SPREAD = {"L;2": 85, "L;4": 17}


class ModeError(Exception):
    """A colour mode that has no agreed meaning as 8 bits a channel."""


def to_rgb(image: Image.Image, source: Source) -> Image.Image:
    """Return an opened image of any mode as RGB, loaded. Raises ModeError, and nearly anything for a broken file.

    source: its file, or the content of it; a 48-bit PNG with one transparent colour is read twice, for Pillow keeps 24.
    """
    raw = _raw_mode(image)
    image.load()
    clear = image.info.get("transparency")
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):  # a PGM is scaled to 16 bits
        return _from_16_bits(image, clear)
    if image.mode in {"I", "F"}:
        raise ModeError(f"pixel mode {image.mode!r} (32 bits a channel) has no agreed scale; store it as 8 or 16 bits")
    if raw == "RGB;16B" and isinstance(clear, tuple):
        return _from_48_bits(image, source, clear)
    if raw in _SPREAD and isinstance(clear, int):
        image.info["transparency"] = clear * _SPREAD[raw]
    if image.has_transparency_data:
        rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _raw_mode(image: Image.Image) -> str:
    """Return how a PNG's file holds its samples, known before it is loaded; "" for other formats."""
    tile = getattr(image, "tile", [])
    if image.format != "PNG" or not tile:
        return ""
    args = tile[0][3]
    return str(args if isinstance(args, str) else args[0])


def _from_16_bits(image: Image.Image, clear: object) -> Image.Image:
    values = np.asarray(image)
    if image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # type: ignore[attr-defined]
        values = 65535 - values  # Pillow turns those of 8 bits only
    grey = (values >> 8).astype(np.uint8)
    if isinstance(clear, int):
        grey[values == clear] = 255
    return Image.fromarray(grey).convert("RGB")


def _from_48_bits(image: Image.Image, source: Source, clear: tuple[int, ...]) -> Image.Image:
    """Lay white where all 48 bits are the transparent colour's, and nowhere else."""
    with Image.open(source) as again:
        # Read as little-endian, what Pillow keeps of each 16-bit sample is its lower byte.
        again.tile = [tile._replace(args="RGB;16L") for tile in again.tile]
        lower: npt.NDArray[np.uint8] = np.asarray(again)
    upper = np.array(image)
    upper[((upper.astype(np.uint16) << 8 | lower) == np.array(clear)).all(axis=2)] = 255
    return Image.fromarray(upper)
