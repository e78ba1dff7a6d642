"""DICOM files are shown as a viewer shows them first; the expected greys are computed by hand."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from tiny_transfer import dicom_bytes

from mobilebench.config.data import OwnData
from mobilebench.datasets import DataError
from mobilebench.datasets.packing.decode import Form, ImageError, decode, file_size
from mobilebench.datasets.packing.packed import open_packed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pydicom = pytest.importorskip("pydicom")


def grey(tmp_path: Path, values: np.ndarray, name: str = "a.dcm", **elements: Any) -> list[list[int]]:
    """The picture as packing takes it, at its own size; all three channels must be alike."""
    (tmp_path / name).write_bytes(dicom_bytes(values, **elements))
    rgb = np.asarray(decode(tmp_path / name, Form(values.shape[:2], "warp"))[0])
    assert (rgb == rgb[..., :1]).all()
    return rgb[..., 0].tolist()


EIGHT = np.array([[0, 1], [128, 255]], np.uint8)
TWELVE = np.array([[0, 1000], [2000, 4095]], np.uint16)


def test_eight_bits_without_a_window_are_as_they_are(tmp_path: Path) -> None:
    assert grey(tmp_path, EIGHT) == [[0, 1], [128, 255]]
    assert grey(tmp_path, EIGHT, RescaleSlope=1, RescaleIntercept=0) == [[0, 1], [128, 255]]


def test_of_monochrome1_the_least_is_the_brightest(tmp_path: Path) -> None:
    assert grey(tmp_path, EIGHT, PhotometricInterpretation="MONOCHROME1") == [[255, 254], [127, 0]]


def test_more_bits_without_a_window_go_from_the_darkest_to_the_brightest(tmp_path: Path) -> None:
    values = np.array([[100, 200], [300, 600]], np.uint16)
    assert grey(tmp_path, values, BitsStored=12) == [[0, 51], [102, 255]]
    assert grey(tmp_path, np.full((2, 2), 7, np.uint16), BitsStored=12) == [[0, 0], [0, 0]]


def test_a_window_decides_what_is_black_and_white(tmp_path: Path) -> None:
    # PS3.3 C.11.2.1.2.1: ((x - (c - 0.5)) / (w - 1) + 0.5) * 255; with c 1500.5 and w 2001: (x - 500) / 2000 * 255
    shown = grey(tmp_path, TWELVE, BitsStored=12, WindowCenter=1500.5, WindowWidth=2001)
    assert shown == [[0, round(500 / 2000 * 255)], [round(1500 / 2000 * 255), 255]]
    several = grey(tmp_path, TWELVE, BitsStored=12, WindowCenter=[1500.5, 9], WindowWidth=[2001, 9])
    assert several == shown
    turned = grey(
        tmp_path, TWELVE, BitsStored=12, WindowCenter=1500.5, WindowWidth=2001, PhotometricInterpretation="MONOCHROME1"
    )
    assert turned == [[255 - value for value in line] for line in shown]


def test_a_window_is_of_rescaled_values(tmp_path: Path) -> None:
    values = np.array([[0, 1000], [1040, 2000]], np.uint16)  # Hounsfield -1024, -24, 16, 976
    shown = grey(
        tmp_path, values, BitsStored=12, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=40.5, WindowWidth=401
    )
    assert shown == [[0, round((-24 + 160) / 400 * 255)], [round((16 + 160) / 400 * 255), 255]]


def test_signed_values_and_a_sigmoid(tmp_path: Path) -> None:
    values = np.array([[-1000, 0], [100, 1000]], np.int16)
    shown = grey(tmp_path, values, BitsStored=16, WindowCenter=0, WindowWidth=400, VOILUTFunction="SIGMOID")
    assert shown == [[0, 128], [round(255 / (1 + np.exp(-1))), 255]]


def test_a_voi_lut_goes_before_a_window(tmp_path: Path) -> None:
    item = pydicom.Dataset()
    item.LUTDescriptor = [4, 0, 10]
    item.add_new("LUTData", "US", [0, 1023, 511, 100])
    values = np.array([[0, 1], [2, 9]], np.uint16)
    shown = grey(tmp_path, values, BitsStored=12, VOILUTSequence=[item], WindowCenter=1, WindowWidth=2)
    assert shown == [[0, 255], [round(511 / 1023 * 255), round(100 / 1023 * 255)]]


@pytest.mark.parametrize("name", ["a.dcm", "a.DICOM", "a"])
def test_colour_is_rgb_whatever_the_file_is_called(name: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    (tmp_path / name).write_bytes(dicom_bytes(values))
    with Image.open(tmp_path / name) as image:
        assert (image.format, image.mode, image.size) == ("DICOM", "RGB", (6, 4))
        np.testing.assert_array_equal(np.asarray(image), values)


def test_ybr_is_turned_to_rgb(tmp_path: Path) -> None:
    # black, white and the red of PS3.3 C.7.6.3.1.2: Y 76, CB 85, CR 255
    values = np.array([[[0, 128, 128], [255, 128, 128]], [[76, 85, 255], [0, 128, 128]]], np.uint8)
    (tmp_path / "a.dcm").write_bytes(dicom_bytes(values, PhotometricInterpretation="YBR_FULL"))
    rgb = np.asarray(decode(tmp_path / "a.dcm", Form((2, 2), "warp"))[0]).astype(int)
    assert abs(rgb - [[[0, 0, 0], [255, 255, 255]], [[254, 0, 0], [0, 0, 0]]]).max() <= 1


def test_a_palette_of_16_bits_keeps_its_upper_8(tmp_path: Path) -> None:
    tables = {"Red": [0, 0xFFFF, 0x80FF, 7], "Green": [0, 0x1234, 0, 0], "Blue": [0xAB00, 0, 0, 0x0100]}
    palette: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name, table in tables.items():
        palette[f"{name}PaletteColorLookupTableDescriptor"] = [4, 0, 16]
        palette[f"{name}PaletteColorLookupTableData"] = np.array(table, "<u2").tobytes()
    (tmp_path / "a.dcm").write_bytes(dicom_bytes(np.array([[0, 1], [2, 3]], np.uint8), **palette))
    rgb = np.asarray(decode(tmp_path / "a.dcm", Form((2, 2), "warp"))[0])
    assert rgb.tolist() == [[[0, 0, 0xAB], [0xFF, 0x12, 0]], [[0x80, 0, 0], [0, 0, 1]]]


def test_colour_of_more_bits_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(dicom_bytes(np.zeros((2, 2, 3), np.uint16)))
    with pytest.raises(ImageError, match=r"RGB of uint16 \(2, 2, 3\); expected grey, or colour of 8 bits"):
        decode(tmp_path / "a.dcm", Form((2, 2)))


def test_a_file_without_preamble_is_known_by_its_name(tmp_path: Path) -> None:
    assert grey(tmp_path, EIGHT, preamble=False) == [[0, 1], [128, 255]]
    with pytest.raises(ImageError, match="UnidentifiedImageError"):
        grey(tmp_path, EIGHT, name="a.png", preamble=False)


def test_the_native_size_needs_no_pixels(tmp_path: Path) -> None:
    content = dicom_bytes(np.zeros((40, 30), np.uint8))
    (tmp_path / "a.dcm").write_bytes(content[:-1200])
    assert file_size(tmp_path / "a.dcm") == (30, 40)
    with pytest.raises(ImageError, match=r"its pixels cannot be read: .*less than expected"):
        decode(tmp_path / "a.dcm", Form((8, 8)))


@pytest.mark.parametrize(
    ("elements", "said"),
    [
        ({"NumberOfFrames": 3}, "it holds 3 frames, expected one"),
        ({"Rows": None}, "it says neither Rows nor Columns"),
        ({"WindowCenter": 1, "WindowWidth": 0}, "Window Width must be greater"),
        ({"Rows": 4000, "Columns": 4000}, "16 megapixels are more than the 9"),
        ({"PhotometricInterpretation": "HSV"}, "HSV"),
    ],
)
def test_what_is_no_picture_is_refused(elements: dict[str, Any], said: str, tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(dicom_bytes(EIGHT, **elements))
    with pytest.raises(ImageError, match=said):
        decode(tmp_path / "a.dcm", Form((2, 2), megapixels=9))


def test_what_is_only_called_so_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"no picture at all" * 100)
    with pytest.raises(ImageError, match=r"^it (cannot be read as DICOM|holds no picture)"):
        decode(tmp_path / "a.dcm", Form((2, 2)))


def test_a_jpeg_called_dcm_is_a_jpeg(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.dcm", "JPEG")
    assert decode(tmp_path / "a.dcm", Form((8, 8)))[0].size == (8, 8)


@pytest.mark.parametrize("seed", range(60))
def test_broken_files_are_read_or_refused_in_one_line(seed: int, tmp_path: Path) -> None:
    content = bytearray(dicom_bytes(TWELVE, BitsStored=12, WindowCenter=1500, WindowWidth=2000))
    rng = random.Random(seed)
    for _ in range(rng.randint(1, 5)):
        at = rng.randrange(128, len(content))
        content[at : at + rng.randrange(1, 9)] = rng.randbytes(rng.randrange(9))
    (tmp_path / "a.dcm").write_bytes(content[: rng.choice([len(content), rng.randrange(len(content))])])
    try:
        said, mode = "", decode(tmp_path / "a.dcm", Form((2, 2)))[0].mode
    except ImageError as error:
        said, mode = str(error), "RGB"
    assert mode == "RGB"
    assert "\n" not in said


def test_folders_of_ones_own_hold_dicom_files_too(
    packed_at: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "own"
    for label, name in enumerate(("healthy", "ill")):
        (root / name).mkdir(parents=True)
        for i in range(5):
            values = np.full((20, 24), 100 * label + i, np.uint8)
            (root / name / f"{i}.dcm").write_bytes(dicom_bytes(values))
    own = {"scans": OwnData(folder=str(root))}
    packed = open_packed(packed_at("scans", own=own))
    assert packed.images.shape == (10, 20, 20, 3)
    assert [int(image[0, 0, 0]) for image in packed.images] == [*range(5), *range(100, 105)]
    (root / "loose.dcm").write_bytes(dicom_bytes(EIGHT))
    with pytest.raises(DataError, match=r"1 images of no class, loose\.dcm"):
        packed_at("scans", own=own)
    (root / "loose.dcm").unlink()
    (root / "ill" / "4.dcm").write_bytes(dicom_bytes(EIGHT, NumberOfFrames=2))
    with pytest.raises(DataError, match=r"(?s)1 of 10 images cannot be read.*ill/4\.dcm: it holds 2 frames"):
        packed_at("scans", own=own)


def test_without_pydicom_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    (tmp_path / "a.dcm").write_bytes(dicom_bytes(EIGHT))
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ImageError, match=r"needs the package pydicom.*mobilebench\[formats\]"):
        decode(tmp_path / "a.dcm", Form((2, 2)))
