"""DICOM files for Pillow, which has no reader of them: `register` adds one, and `Image.open` takes them from then on.

A picture is what a viewer shows first: rescaled, its first VOI LUT or window applied, MONOCHROME1 turned so that larger
is brighter. Without a window, up to 8 bits are spread over 0 to 255 as they are, and more bits so that the image's own
darkest pixel is 0 and its brightest 255. Colour comes as RGB. pydicom is imported when the first such file is opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from mobilebench.datasets.readers import ArrayError
from mobilebench.system.extras import require

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SUFFIXES = (".dcm", ".dicom")
_PREAMBLE = 128
_MARK = b"DICM"
_GREY = frozenset({"MONOCHROME1", "MONOCHROME2"})

Values = npt.NDArray[Any]


class DicomError(ArrayError):
    """A DICOM file that cannot be shown as one picture, with the reason."""


class DicomImage(ImageFile.ImageFile):
    """A DICOM file of one frame: its size and mode (L or RGB) from the header, its pixels when they are loaded.

    Opening and loading raise DicomError, and NotInstalledError where pydicom is not there.
    """

    format = "DICOM"
    format_description = "DICOM"

    def _open(self) -> None:
        assert self.fp is not None
        if not is_dicom(self.fp.read(_PREAMBLE + len(_MARK)), str(self.filename)):
            raise SyntaxError("not a DICOM file")  # Pillow's word for another format
        header = _dataset(self.fp, pixels=False)
        columns, rows, frames = (_whole(header, name) for name in ("Columns", "Rows", "NumberOfFrames"))
        if not columns or not rows:
            raise DicomError("it holds no picture: it says neither Rows nor Columns")
        if frames > 1:
            raise DicomError(
                f"it holds {frames} frames, expected one: write each frame that counts to a file of its own"
            )
        self._size = (columns, rows)
        self._mode = "L" if header.get("PhotometricInterpretation") in _GREY else "RGB"

    def load(self) -> Any:
        """Read the pixels, unless they are there. Raises DicomError."""
        if self._im is None:
            pixels = _pixels(_dataset(self.fp, pixels=True))
            if pixels.shape[:2] != self.size[::-1]:
                raise DicomError(f"its picture is of {pixels.shape[:2]} pixels, its header says {self.size[::-1]}")
            self.im = Image.fromarray(pixels).im
        return Image.Image.load(self)


def register() -> None:
    """Add DICOM to what `Image.open` takes, after the common formats; again does nothing."""
    Image.preinit()
    if DicomImage.format not in Image.OPEN:
        Image.register_open(DicomImage.format, DicomImage)


def is_dicom(head: bytes, name: str) -> bool:
    """Return whether a file is a DICOM file, by its first 132 bytes, or by its name: old ones lack the mark there."""
    return head[_PREAMBLE:] == _MARK or name.lower().endswith(SUFFIXES)


def _dataset(file: Any, *, pixels: bool) -> Dataset:
    require("pydicom")
    import pydicom
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    file.seek(0)
    try:
        found = pydicom.dcmread(file, force=True, stop_before_pixels=not pixels)
        if "TransferSyntaxUID" not in found.file_meta:  # of a file without the mark
            implicit = found.original_encoding[0]
            found.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    except Exception as error:  # whatever a broken file makes pydicom raise
        raise DicomError(f"it cannot be read as DICOM: {error}") from error
    return found


def _whole(header: Dataset, name: str) -> int:
    try:
        return int(header.get(name) or 0)
    except Exception as error:  # values are read when they are asked for
        raise DicomError(f"{name} of its header is no whole number") from error


def _pixels(found: Dataset) -> npt.NDArray[np.uint8]:
    """Return the picture, uint8 [rows, columns] of grey or [rows, columns, 3] of RGB."""
    try:
        from pydicom.pixels.processing import apply_color_lut
        from pydicom.pixels.utils import pixel_array

        kind = found.PhotometricInterpretation
        values = pixel_array(found)  # YBR is RGB then
        if kind in _GREY:
            grey: Values = np.clip(_grey(values, found), 0, 255)
            shown: Values = 255 - grey if kind == "MONOCHROME1" else grey
            return np.rint(shown).astype(np.uint8)
        if kind == "PALETTE COLOR":
            values = apply_color_lut(values, found)
            values = (values >> 8).astype(np.uint8) if values.dtype == np.uint16 else values
    except Exception as error:  # as above
        raise DicomError(f"its pixels cannot be read: {error}") from error
    if values.ndim != 3 or values.shape[2] != 3 or values.dtype != np.uint8:
        raise DicomError(f"its picture is {kind} of {values.dtype} {values.shape}; expected grey, or colour of 8 bits")
    return cast("npt.NDArray[np.uint8]", values)


def _grey(stored: Values, found: Dataset) -> Values:
    """Return grey as it is shown, 0 to 255, before MONOCHROME1 is turned."""
    from pydicom.pixels.processing import apply_modality_lut, apply_voi, apply_windowing

    values = apply_modality_lut(stored, found)
    if found.get("VOILUTSequence"):
        bits = found.VOILUTSequence[0].LUTDescriptor[2]
        return _spread(apply_voi(np.rint(values).astype(np.int64), found), 0, 2**bits - 1)
    if found.get("WindowCenter") is not None and found.get("WindowWidth") is not None:
        return apply_windowing(values, _window(found))
    most = 2 ** int(found.BitsStored) - 1
    if most <= 255 and values.min() >= 0 and values.max() <= most:
        return _spread(values, 0, most)
    return _spread(values, values.min(), values.max())


def _spread(values: Values, low: float, high: float) -> Values:
    return cast("Values", (values.astype(np.float64) - low) * (255 / max(high - low, 1e-9)))


def _window(found: Dataset) -> Dataset:
    """Return the first window of a file as pydicom takes it, with 0 to 255 as its output."""
    from pydicom.dataset import Dataset

    window = Dataset()
    for name in ("WindowCenter", "WindowWidth"):
        value = found[name]
        setattr(window, name, value.value[0] if value.VM > 1 else value.value)
    window.VOILUTFunction = found.get("VOILUTFunction") or "LINEAR"
    window.PhotometricInterpretation = "MONOCHROME2"
    window.PixelRepresentation, window.BitsStored = 0, 8
    return window
