"""From an image file to stored pixels, and the work of a decoding process. RGB needs only Pillow and numpy."""

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
from PIL import Image

from mobilebench.datasets.orientation import ON_ITS_SIDE, turn_of, upright_size
from mobilebench.datasets.packing import dicom
from mobilebench.datasets.packing.arrays import checked, resized
from mobilebench.datasets.packing.colour import ModeError, Source, to_rgb
from mobilebench.datasets.packing.geometry import centre, native_side, padded
from mobilebench.datasets.packing.moments import Sums, of_histogram, of_image, together
from mobilebench.datasets.packing.png import without_metadata
from mobilebench.datasets.readers import ArrayError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mobilebench.config.pixels import PixelType
    from mobilebench.config.recipe import Fit
    from mobilebench.datasets.spec import PixelReader

dicom.register()

Result = TypeVar("Result")

MEGAPIXELS = 90  # of one image: a small file can hold billions
BORDER = (124, 116, 104)  # ImageNet's mean colour
_FITS: Mapping[Fit, str] = {
    "centre": "the centre {} of the upright image",
    "warp": "the whole upright image, warped to a {}",
    "pad": f"the whole upright image in its own shape, its border filled with {BORDER}",
}


def storage(fit: Fit, aspect: tuple[int, int] = (1, 1)) -> str:
    """Return in words how images become stored ones of a shape, height to width."""
    shape = "square" if aspect[0] == aspect[1] else f"rectangle of {aspect[0]} to {aspect[1]}"
    return (
        f"{_FITS[fit].format(shape)}, resized in one step with Pillow's antialiased bilinear filter; JPEGs at least"
        " twice as large as needed are decoded at a reduced scale (DCT scaling); transparency is laid over white;"
        " 16-bit grey keeps its upper 8 bits; of animations the first frame"
    )


def storage_of_arrays(fit: Fit, aspect: tuple[int, int]) -> str:
    """Return the same for images that are no 8-bit RGB."""
    words = storage(fit, aspect).partition(";")[0].replace(f"{BORDER}", "0")
    return f"{words}, each channel by itself; no value is scaled"


class ImageError(Exception):
    """An image that cannot be read, with the reason in one line."""


@dataclass(frozen=True)
class Form:
    """What a stored image is, and how an image file becomes one."""

    size: tuple[int, int]
    """Height and width in pixels."""

    fit: Fit = "centre"
    """How an image of another shape becomes one of this, as in `DataPolicy`."""

    megapixels: int = MEGAPIXELS
    """Images of more million pixels are refused."""

    channels: int = 3
    dtype: PixelType = "uint8"
    reader: PixelReader | None = None
    """How a file is read; None for any image as 8-bit RGB."""

    @property
    def is_square(self) -> bool:
        """Whether it is as wide as high."""
        return self.size[0] == self.size[1]


@dataclass(frozen=True)
class Rows:
    """Where decoded rows go: rows of the array file `images`, whose pixels begin at byte `offset`."""

    images: Path
    offset: int
    form: Form

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        height, width = self.form.size
        return height * width * self.form.channels * np.dtype(self.form.dtype).itemsize


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows to decode: the first one's number, their paths, and which count for mean and std."""

    start: int
    paths: Sequence[str]
    counted: Sequence[bool]


@dataclass
class Decoded:
    """What came of a chunk: a sha1 per row, the sums of the counted rows, and the exceptions."""

    start: int
    sha1s: list[str] = field(default_factory=list)
    sums: Sums | None = None
    failures: list[tuple[str, str]] = field(default_factory=list)
    enlarged: int = 0


def file_size(
    path: Path, reader: PixelReader | None = None, megapixels: int = MEGAPIXELS, *, upright: bool = False
) -> tuple[int, int]:
    """Return width and height of an image file, from its header where the format has one. Raises ImageError.

    upright: whether sides are exchanged where EXIF says that the image lies on its side, which of a PNG takes reading
    it.
    """

    def size(source: Source) -> tuple[int, int]:
        with Image.open(source) as image:
            return upright_size(image) if upright else image.size

    with _reading(megapixels):
        if reader is not None:
            height, width = reader.size(path)
            return width, height
        return _without_broken_metadata(path, size)


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
        raise _too_large(need, megapixels) from error
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(_reason(error)) from error
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _too_large(need: int, megapixels: int) -> ImageError:
    return ImageError(
        f"its {need} megapixels are more than the {megapixels} allowed; if they are meant, write"
        f" `max_megapixels: {need}` in its entry of data_sources"
    )


def _check_megapixels(size: tuple[int, int], megapixels: int) -> None:
    need = -(-size[0] * size[1] // 10**6)
    if need > megapixels:
        raise _too_large(need, megapixels)


def decode(path: Path, form: Form) -> tuple[Image.Image, bool]:
    """Return an image file as RGB in its stored form, and whether any of it was enlarged.

    `storage` says how. Raises ImageError.
    """

    def stored(source: Source) -> tuple[Image.Image, bool]:
        with Image.open(source) as image:
            size = image.size if form.is_square else upright_size(image)
            enlarged = native_side(size, form.fit, form.size) < min(form.size)
            return _stored(image, source, form), enlarged

    with _reading(form.megapixels):
        return _without_broken_metadata(path, stored)


def stored_image(image: Image.Image, size: tuple[int, int], fit: Fit = "centre") -> Image.Image:
    """Return an opened image as `decode` returns a file: RGB of this height and width; the given one is left as it is.

    A JPEG is decoded in full first, so that its pixels differ slightly from those of a file packed at a reduced scale.
    Raises ImageError.
    """
    with _reading(MEGAPIXELS):
        return _stored(image.copy(), io.BytesIO(), Form(size, fit))  # a copy has no file, and nothing is read again


def _without_broken_metadata(path: Path, read: Callable[[Source], Result]) -> Result:
    """Return what reading the file gives or, where that fails, reading it without a PNG's metadata."""
    try:
        return read(path)
    except Exception:
        picture = without_metadata(path)
        if picture is None:
            raise
        return read(picture)


def _stored(image: Image.Image, source: Source, form: Form) -> Image.Image:
    (height, width), fit, native = form.size, form.fit, image.size
    inner = padded(native, (width, height)) if fit == "pad" else (width, height)
    # Which side of a rectangle is which is known once the image is loaded: until then, enough for either.
    image.draft("RGB", inner if form.is_square else (max(form.size), max(form.size)))
    rgb = to_rgb(image, source)
    turn = turn_of(image)  # once it is loaded: a PNG's EXIF may follow the pixels, and Pillow turns a TIFF itself
    if turn in ON_ITS_SIDE:
        inner = padded(native, (height, width)) if fit == "pad" else (height, width)
    if rgb.size != inner:
        rgb = rgb.resize(inner, Image.Resampling.BILINEAR, box=centre(rgb.size, inner) if fit == "centre" else None)
    if turn is not None:  # what is cut or squeezed lies the same way turned: turning the small one is cheap
        rgb = rgb.transpose(turn)
    if rgb.size != (width, height):
        picture, rgb = rgb, Image.new("RGB", (width, height), BORDER)
        rgb.paste(picture, ((width - picture.width) // 2, (height - picture.height) // 2))
    return rgb


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    return text if isinstance(error, (ImageError, ModeError, ArrayError)) else f"{type(error).__name__}: {text}"


def decode_chunk(rows: Rows, chunk: Chunk) -> Decoded:
    """Decode a chunk and write its rows into the array file. Unreadable images are listed, their rows left zero."""
    done, sums = Decoded(chunk.start), list[Sums]()
    # Plain writes, not a memory map: pages of a map would count as this process's memory until it ends.
    with rows.images.open("r+b") as file:
        file.seek(rows.offset + chunk.start * rows.row_bytes)
        for path, counted in zip(chunk.paths, chunk.counted, strict=True):
            try:
                pixels, summed, enlarged = _row(rows.form, Path(path), counted=counted)
            except ImageError as error:
                done.failures.append((path, str(error)))
                pixels, summed, enlarged = bytes(rows.row_bytes), None, False
            file.write(pixels)
            done.sha1s.append(hashlib.sha1(pixels, usedforsecurity=False).hexdigest())
            done.enlarged += enlarged
            sums += [summed] if summed else []
    done.sums = together(sums) if sums else None
    return done


def _row(form: Form, path: Path, *, counted: bool) -> tuple[bytes, Sums | None, bool]:
    """Return an image's stored bytes, its sums where they count, and whether it was enlarged. Raises ImageError."""
    if form.reader is None:
        image, enlarged = decode(path, form)
        sums = of_histogram(np.array(image.histogram(), np.int64).reshape(3, 256)) if counted else None
        return image.tobytes(), sums, enlarged
    with _reading(form.megapixels):
        _check_megapixels(form.reader.size(path), form.megapixels)
        array = checked(form.reader.read(path), form.channels, form.dtype)
        enlarged = native_side((array.shape[1], array.shape[0]), form.fit, form.size) < min(form.size)
        stored = resized(array, form.size, form.fit)
        return stored.tobytes(), of_image(stored) if counted else None, enlarged


def probe_chunk(
    reader: PixelReader | None,
    megapixels: int,
    upright: bool,  # noqa: FBT001 - of partial
    paths: Sequence[str],
) -> list[tuple[int, int] | None]:
    """Return `file_size` of each file, None where its header cannot be read."""
    found: list[tuple[int, int] | None] = []
    for path in paths:
        size = None
        with suppress(ImageError):  # decoding names it
            size = file_size(Path(path), reader, megapixels, upright=upright)
        found.append(size)
    return found


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
