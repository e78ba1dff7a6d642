"""From an image file to a square of RGB pixels, and the work of a decoding process. Needs only Pillow and numpy."""

from __future__ import annotations

import hashlib
import io
import os
import re
import threading
import warnings
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from mobilebench.datasets.packing import dicom
from mobilebench.datasets.packing.colour import ModeError, Source, to_rgb
from mobilebench.datasets.packing.png import without_metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mobilebench.config.recipe import Fit

dicom.register()

Result = TypeVar("Result")
Histogram = npt.NDArray[np.int64]

MEGAPIXELS = 90  # of one image: a small file can hold billions
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # by EXIF's orientation
BORDER = (124, 116, 104)  # ImageNet's mean colour
_FITS: Mapping[Fit, str] = {
    "centre": "the centre square of the upright image",
    "warp": "the whole upright image, warped to a square",
    "pad": f"the whole upright image in its own shape, its border filled with {BORDER}",
}


def storage(fit: Fit) -> str:
    """Return in words how images become squares."""
    return (
        f"{_FITS[fit]}, resized in one step with Pillow's antialiased bilinear filter; JPEGs at least twice as large as"
        " needed are decoded at a reduced scale (DCT scaling); transparency is laid over white; 16-bit grey keeps its"
        " upper 8 bits; of animations the first frame"
    )


class ImageError(Exception):
    """An image that cannot be read, with the reason in one line."""


@dataclass(frozen=True)
class Square:
    """Where decoded rows go: `side` x `side` rows of the array file `images`, whose pixels begin at byte `offset`.

    fit: how an image becomes a square, as in `DataPolicy`. megapixels: images of more million pixels are refused.
    """

    images: Path
    offset: int
    side: int
    fit: Fit
    megapixels: int = MEGAPIXELS


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows to decode: the first one's number, their paths, and which count for mean and std."""

    start: int
    paths: Sequence[str]
    counted: Sequence[bool]


@dataclass
class Decoded:
    """What came of a chunk: a sha1 per row, the colour histogram [3, 256] of the counted rows, and the exceptions."""

    start: int
    sha1s: list[str] = field(default_factory=list)
    histogram: Histogram = field(default_factory=lambda: np.zeros((3, 256), np.int64))
    failures: list[tuple[str, str]] = field(default_factory=list)
    enlarged: int = 0


def native_side(path: Path, fit: Fit, megapixels: int = MEGAPIXELS) -> int:
    """Return the side in pixels of the largest square that enlarges nothing of an image file, from its header.

    Raises ImageError.
    """

    def side(source: Source) -> int:
        with Image.open(source) as image:
            return _native_side(image, fit)

    with _reading(megapixels):
        return _without_broken_metadata(path, side)


@contextmanager
def _reading(megapixels: int) -> Iterator[None]:
    """Turn what Pillow raises, nearly every kind of exception on a broken file, into ImageError."""
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = megapixels * 10**6
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd but readable metadata
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        pixels = re.search(r"\d+", str(error))
        need = -(-int(pixels[0]) // 10**6) if pixels else 2 * megapixels
        raise ImageError(
            f"its {need} megapixels are more than the {megapixels} allowed; if they are meant, write"
            f" `max_megapixels: {need}` in its entry of data_sources"
        ) from error
    except Exception as error:
        raise ImageError(_reason(error)) from error
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _native_side(image: Image.Image, fit: Fit) -> int:
    return max(image.size) if fit == "pad" else min(image.size)


def decode(path: Path, side: int, fit: Fit = "centre", megapixels: int = MEGAPIXELS) -> tuple[Image.Image, bool]:
    """Return an image file as a square of RGB, side x side pixels, and whether any of it was enlarged.

    fit: as in `DataPolicy`; `storage` says the rest. megapixels: most million pixels it may have. Raises ImageError.
    """

    def square(source: Source) -> tuple[Image.Image, bool]:
        with Image.open(source) as image:
            enlarged = _native_side(image, fit) < side
            return _square(image, source, side, fit), enlarged

    with _reading(megapixels):
        return _without_broken_metadata(path, square)


def squared(image: Image.Image, side: int, fit: Fit = "centre") -> Image.Image:
    """Return an opened image as `decode` returns a file, side x side pixels of RGB; the given image is left as it is.

    A JPEG is decoded in full first, so that its pixels differ slightly from those of a file packed at a reduced scale.
    Raises ImageError.
    """
    with _reading(MEGAPIXELS):
        return _square(image.copy(), io.BytesIO(), side, fit)  # a copy has no file, and nothing is read again


def _without_broken_metadata(path: Path, read: Callable[[Source], Result]) -> Result:
    """Return what reading the file gives or, where that fails, reading it without a PNG's metadata."""
    try:
        return read(path)
    except Exception:
        picture = without_metadata(path)
        if picture is None:
            raise
        return read(picture)


def _square(image: Image.Image, source: Source, side: int, fit: Fit) -> Image.Image:
    size = _padded(image.size, side) if fit == "pad" else (side, side)
    image.draft("RGB", size)
    rgb = to_rgb(image, source)
    turn = _turn(image)  # once it is loaded: a PNG's EXIF may follow the pixels, and Pillow turns a TIFF itself
    if rgb.size != size:
        rgb = rgb.resize(size, Image.Resampling.BILINEAR, box=_centre(rgb.size) if fit == "centre" else None)
    if turn is not None:  # what is cut or squeezed lies the same way turned: turning the small one is cheap
        rgb = rgb.transpose(turn)
    if rgb.size != (side, side):
        picture, rgb = rgb, Image.new("RGB", (side, side), BORDER)
        rgb.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return rgb


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return how the image is turned upright; None where it is, or where its EXIF is damaged: the pixels are not."""
    try:
        return _TURNS.get(image.getexif().get(0x0112, 1))
    except Exception:  # noqa: BLE001 - as broken files do
        return None


def _padded(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Return width and height with which an image of this size just fits into the square."""
    width, height = (max(1, round(length * side / max(size))) for length in size)
    return width, height


def _centre(size: tuple[int, int]) -> tuple[float, float, float, float]:
    width, height = size
    short = min(size)
    left, top = (width - short) / 2, (height - short) / 2
    return left, top, left + short, top + short


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    return text if isinstance(error, (ImageError, ModeError)) else f"{type(error).__name__}: {text}"


def decode_chunk(square: Square, chunk: Chunk) -> Decoded:
    """Decode a chunk and write its rows into the array file. Unreadable images are listed, their rows left zero."""
    done = Decoded(chunk.start)
    # Plain writes, not a memory map: pages of a map would count as this process's memory until it ends.
    with square.images.open("r+b") as file:
        file.seek(square.offset + chunk.start * square.side * square.side * 3)
        for path, counted in zip(chunk.paths, chunk.counted, strict=True):
            file.write(_row(square, path, done, counted=counted))
    return done


def _row(square: Square, path: str, done: Decoded, *, counted: bool) -> bytes:
    try:
        image, enlarged = decode(Path(path), square.side, square.fit, square.megapixels)
    except ImageError as error:
        done.failures.append((path, str(error)))
        image, counted, enlarged = Image.new("RGB", (square.side, square.side)), False, False
    pixels = image.tobytes()
    done.sha1s.append(hashlib.sha1(pixels, usedforsecurity=False).hexdigest())
    done.enlarged += enlarged
    if counted:
        done.histogram += np.array(image.histogram(), np.int64).reshape(3, 256)
    return pixels


def probe_chunk(fit: Fit, megapixels: int, paths: Sequence[str]) -> tuple[int, list[int]]:
    """Return how many files were looked at and `native_side` of those whose header can be read."""
    sides = []
    for path in paths:
        with suppress(ImageError):  # decoding names it
            sides.append(native_side(Path(path), fit, megapixels))
    return len(paths), sides


def start_worker() -> None:
    """Prepare a decoding process: Ctrl-C is the parent's to handle, and a killed parent takes this process with it."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
