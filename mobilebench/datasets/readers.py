"""Files of images that are no 8-bit RGB, read as the arrays they are: more channels, 16 bits, floats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from mobilebench.datasets.orientation import turn_of, upright_size
from mobilebench.system.extras import require

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mobilebench.datasets.spec import Pixels


TIFF = {".tif", ".tiff"}
_CHANNELS = "SC"  # what tifffile calls an axis of samples or of channels


class ArrayError(Exception):
    """A file that holds no image of the dataset's kind, with the reason in one line."""


@dataclass(frozen=True)
class ArrayFiles:
    """TIFF, .npy, and what Pillow reads; each file has all channels of its image."""

    def size(self, path: Path) -> tuple[int, int]:
        """Return height and width."""
        suffix = path.suffix.lower()
        if suffix == ".npy":
            height, width = _last(np.load(path, mmap_mode="r", allow_pickle=False)).shape[:2]
        elif suffix in TIFF:
            height, width = _tiff(path, pixels=False)[:2]
        else:
            with Image.open(path) as image:
                width, height = upright_size(image)
        return int(height), int(width)

    def read(self, path: Path) -> Pixels:
        """Return the pixels. Raises ArrayError for a file that is no image, and nearly anything for a broken one."""
        suffix = path.suffix.lower()
        if suffix == ".npy":
            return _last(np.load(path, allow_pickle=False))
        if suffix in TIFF:
            return _last(np.asarray(_tiff(path, pixels=True)))
        with Image.open(path) as image:
            if image.mode in {"P", "1", "CMYK", "YCbCr", "LAB", "HSV"}:
                raise ArrayError(f"its colours are {image.mode}; expected grey, RGB or RGBA, or a TIFF of the channels")
            turn = turn_of(image)
            return _last(np.asarray(image if turn is None else image.transpose(turn)))


@dataclass(frozen=True)
class ChannelFiles:
    """One grey 8-bit file for each channel: an image `x` is x_red.png, x_green.png ... in one folder."""

    endings: Sequence[str]
    """What follows the image's name, a channel each, in their order."""

    def size(self, path: Path) -> tuple[int, int]:
        """Return height and width, those of the first channel."""
        with Image.open(f"{path}{self.endings[0]}") as image:
            return image.height, image.width

    def read(self, path: Path) -> Pixels:
        """Return the channels side by side. Raises ArrayError where they are of different sizes."""
        channels = []
        for ending in self.endings:
            with Image.open(f"{path}{ending}") as image:
                channels.append(np.asarray(image.convert("L")))
        sizes = sorted({channel.shape for channel in channels})
        if len(sizes) > 1:
            raise ArrayError(f"its channels are of different sizes, {sizes[0]} and {sizes[-1]}")
        return np.stack(channels, axis=2)


def _last(array: Pixels) -> Pixels:
    """Return grey as one channel."""
    return array[..., None] if array.ndim == 2 else array


def _tiff(path: Path, *, pixels: bool) -> Any:
    """Return the first image of a TIFF with its channels last, or only its shape so ordered."""
    require("tifffile")
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        colours = getattr(series.keyframe, "photometric", None)
        if colours == tifffile.PHOTOMETRIC.PALETTE:
            raise ArrayError("its numbers are places in a palette of colours; expected the channels themselves")
        axes, shape = series.axes, series.shape
        order = [axes.find(axis) for axis in "YX"]
        channels = [
            place for place, axis in enumerate(axes) if axis in _CHANNELS or (axis not in "YX" and shape[place] > 1)
        ]
        if -1 in order or len(channels) > 1:
            raise ArrayError(f"its TIFF has the axes {axes} {shape}; expected height, width and channels")
        order += channels
        if not pixels:
            return [shape[place] for place in order]
        array = series.asarray()
        alone = [place for place in range(array.ndim) if place not in order]
        return array.transpose([*alone, *order]).reshape([shape[place] for place in order])
