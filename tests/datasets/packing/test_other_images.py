"""Packed images that are no squares of 8-bit RGB: rectangles, more channels, 16 bits, floats."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from mobilebench.config.data import DerivedData, OwnData
from mobilebench.config.recipe import DataPolicy
from mobilebench.datasets import DataError
from mobilebench.datasets.audit import audit
from mobilebench.datasets.contact_sheet import write_sheet
from mobilebench.datasets.packing.arrays import checked, resized
from mobilebench.datasets.packing.decode import Form, decode
from mobilebench.datasets.packing.geometry import centre, native_side, padded
from mobilebench.datasets.packing.packed import open_packed
from mobilebench.datasets.packing.pictures import pictures
from mobilebench.datasets.packing.prepare import prepare
from mobilebench.datasets.readers import ArrayError, ArrayFiles, ChannelFiles
from mobilebench.system.extras import EXTRA_OF, NotInstalledError

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.config.recipe import Fit

FITS: tuple[Fit, ...] = ("centre", "warp", "pad")


def image(seed: int, size: tuple[int, int], channels: int, dtype: str) -> np.ndarray[Any, Any]:
    """A smooth image with noise, of numbers that fill their range."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((1, channels, 5, 5)))
    smooth = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")[0].permute(1, 2, 0).numpy()
    top = {"uint8": 255, "uint16": 65535, "float32": 4.0}[dtype]
    values = np.clip(smooth + rng.normal(0, 0.05, smooth.shape), 0, 1) * top
    return values.astype(dtype)


def save(path: Path, array: np.ndarray[Any, Any], how: str) -> None:
    if how == "npy":
        np.save(path.with_suffix(".npy"), array)
    elif array.shape[2] == 1:
        tifffile.imwrite(path.with_suffix(".tif"), array[..., 0], photometric="minisblack")
    elif how == "planes":
        planes = np.moveaxis(array, 2, 0)
        tifffile.imwrite(
            path.with_suffix(".tif"), planes, photometric="minisblack", planarconfig="separate", compression="lzw"
        )
    else:
        tifffile.imwrite(path.with_suffix(".tiff"), array, photometric="minisblack", planarconfig="contig")


def own_set(folder: Path, channels: int, dtype: str, *, how: str = "npy", size: tuple[int, int] = (24, 30)) -> OwnData:
    for number in range(20):
        kind = folder / ("a" if number % 2 else "b")
        kind.mkdir(parents=True, exist_ok=True)
        save(kind / f"{number:02d}", image(number, size, channels, dtype), how)
    return OwnData(folder=str(folder), channels=channels, dtype=dtype)  # type: ignore[arg-type]


def packed_set(tmp_path: Path, own: OwnData, policy: DataPolicy | None = None) -> Any:
    out = prepare(
        "mine", policy=policy or DataPolicy(), raw_dir=tmp_path, out_dir=tmp_path / "packed", own={"mine": own}
    )
    return open_packed(out)


@pytest.mark.parametrize(
    ("channels", "dtype"), [(1, "uint8"), (3, "uint16"), (4, "uint8"), (13, "uint16"), (2, "float32")]
)
@pytest.mark.parametrize("how", ["npy", "planes", "contig"])
def test_pixels_are_stored_as_they_are(tmp_path: Path, channels: int, dtype: str, how: str) -> None:
    packed = packed_set(tmp_path, own_set(tmp_path / "own", channels, dtype, how=how))
    assert packed.meta.shape == (20, 24, 24, channels)
    assert packed.images.dtype == packed.meta.dtype == dtype
    for row, line in enumerate(packed.index):
        whole = image(int(line.path[2:4]), (24, 30), channels, dtype)
        assert (packed.images[row] == whole[:, 3:27]).all()  # the centre, nothing resized
    unit = {"uint8": 255, "uint16": 65535, "float32": 1}[dtype]
    train = np.asarray(packed.images[packed.rows("train")], np.float64) / unit
    np.testing.assert_allclose(packed.meta.mean, train.mean((0, 1, 2)), rtol=1e-9)
    np.testing.assert_allclose(packed.meta.std, train.std((0, 1, 2)), rtol=1e-9)
    packed.verify()
    again = packed_set(tmp_path / "again", own_set(tmp_path / "own2", channels, dtype, how=how))
    assert again.meta.digest == packed.meta.digest
    assert again.meta.data_digest == packed.meta.data_digest


def test_fewer_images_of_such_a_set_have_its_pixels_and_their_own_mean(tmp_path: Path) -> None:
    own = {"mine": own_set(tmp_path / "own", 5, "uint16"), "less": DerivedData(of="mine", per_class=3)}
    out = prepare("less", policy=DataPolicy(), raw_dir=tmp_path, out_dir=tmp_path / "packed", own=own)
    less = open_packed(out)
    train = np.asarray(less.images[less.rows("train")], np.float64) / 65535
    assert (less.meta.dtype, train.shape) == ("uint16", (6, 24, 24, 5))
    np.testing.assert_allclose(less.meta.mean, train.mean((0, 1, 2)), rtol=1e-9)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("size", [(32, 32), (20, 36), (40, 24)])
def test_bytes_of_any_channels_are_resized_as_those_of_rgb(tmp_path: Path, fit: Fit, size: tuple[int, int]) -> None:
    array = image(1, (60, 90), 3, "uint8")
    Image.fromarray(array).save(tmp_path / "a.png")
    rgb = np.asarray(decode(tmp_path / "a.png", Form(size, fit))[0]).astype(int)
    mine = resized(array, size, fit).astype(int)
    border = (rgb == (124, 116, 104)).all(axis=2) & (fit == "pad")
    assert (mine[~border] == rgb[~border]).all()
    assert (mine[border] == 0).all()


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_16_bits_and_floats_are_resized_as_torch_resizes_floats(dtype: str) -> None:
    array = image(2, (61, 47), 2, dtype)
    mine = resized(array, (24, 30), "warp").astype(np.float64)
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(array.astype(np.float64)).permute(2, 0, 1)[None],
        size=(24, 30),
        mode="bilinear",
        antialias=True,
    )[0].permute(1, 2, 0)
    np.testing.assert_allclose(mine, theirs.numpy(), atol=1.0 if dtype == "uint16" else 1e-5)


@pytest.mark.parametrize("fit", FITS)
def test_a_rectangle_lies_as_its_exif_says(tmp_path: Path, fit: Fit) -> None:
    """The image on its side, marked as such, is stored as the upright one is."""
    upright = Image.fromarray(image(3, (60, 100), 3, "uint8"))
    upright.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    form = Form((24, 36), fit)
    stored, turned = (decode(tmp_path / name, form)[0] for name in ("upright.png", "turned.png"))
    assert stored.size == turned.size == (36, 24)
    assert np.abs(np.asarray(stored).astype(int) - np.asarray(turned).astype(int)).max() <= 1


def test_the_shape_of_a_rectangle_is_chosen_so_that_half_of_the_images_need_not_be_enlarged(tmp_path: Path) -> None:
    for number in range(10):
        kind = tmp_path / "own" / ("a" if number % 2 else "b")
        kind.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image(number, (46, 70), 3, "uint8")).save(kind / f"{number}.png")
    own = OwnData(folder=str(tmp_path / "own"))
    packed = packed_set(tmp_path, own, DataPolicy(aspect=(2, 3), short_side=448))
    assert packed.meta.shape == (10, 46, 69, 3)  # 46 x 69 is the largest 2 to 3 in 46 x 70
    assert packed.meta.storage["enlarged"] == 0
    assert "rectangle of 2 to 3" in packed.meta.storage["how"]
    square = packed_set(tmp_path / "square", own)
    assert "aspect" not in (square.path / "meta.json").read_text()  # as it was before there were rectangles
    assert square.meta.shape == (10, 46, 46, 3)


@pytest.mark.parametrize(
    ("size", "fit", "aspect", "side"),
    [
        ((90, 60), "centre", (1, 1), 60),
        ((90, 60), "pad", (1, 1), 90),
        ((90, 60), "centre", (2, 3), 60),
        ((90, 60), "centre", (3, 2), 60),  # a portrait 90 wide: 60 high allows 40 wide, and 40 x 60 has 40
        ((60, 90), "pad", (2, 3), 90),
    ],
)
def test_the_native_side(size: tuple[int, int], fit: Fit, aspect: tuple[int, int], side: int) -> None:
    found = native_side(size, fit, aspect)
    low = min(aspect)
    height, width = (found * length / low for length in aspect)
    fits = (height <= size[1] and width <= size[0]) if fit != "pad" else (height >= size[1] or width >= size[0])
    assert fits
    assert found == (40 if aspect == (3, 2) else side)


def test_the_geometry_of_rectangles() -> None:
    assert centre((100, 60), (40, 20)) == (0, 5, 100, 55)
    assert centre((60, 100), (20, 20)) == (0, 20, 60, 80)
    assert padded((100, 60), (50, 50)) == (50, 30)
    assert padded((60, 100), (50, 50)) == (30, 50)


PROBLEMS = [
    (np.zeros((8, 8, 4), np.uint16), r"8x8x4 .*expected 5 channels"),
    (np.zeros((8, 8), np.uint16), r"8x8x1 .*expected 5 channels"),
    (np.zeros((8, 8, 5), np.uint8), "numbers are uint8; expected uint16"),
    (np.zeros((8, 8, 5), np.float64), "numbers are float64; expected uint16"),
    (np.zeros((2, 3, 8, 8, 5), np.uint16), r"2x3x8x8x5"),
]


@pytest.mark.parametrize(("array", "reason"), PROBLEMS, ids=range(len(PROBLEMS)))
def test_an_image_of_another_kind_is_named_with_what_it_is(
    tmp_path: Path, array: np.ndarray[Any, Any], reason: str
) -> None:
    own = own_set(tmp_path / "own", 5, "uint16")
    np.save(tmp_path / "own/a/01.npy", array)
    with pytest.raises(DataError, match=rf"1 of 20 images.*\n.*a/01\.npy: .*{reason}"):
        packed_set(tmp_path, own)
    assert not (tmp_path / "packed/mine").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_floats_that_are_none_are_refused(value: float) -> None:
    array = np.zeros((4, 4, 1))
    array[2, 2] = value
    with pytest.raises(ArrayError, match="NaN, infinite or too large"):
        checked(array, 1, "float32")


@pytest.mark.parametrize("dtype", ["float64", "float16", "int16", "uint8"])
def test_numbers_become_floats_where_the_dataset_is_of_floats(dtype: str) -> None:
    array = np.arange(32).reshape(4, 4, 2).astype(dtype)
    stored = checked(array, 2, "float32")
    assert stored.dtype == np.float32
    assert (stored == array).all()


@pytest.mark.parametrize("content", [b"", b"not an image", b"II*\0\x08\0\0\0\xff\xff"])
@pytest.mark.parametrize("suffix", [".npy", ".tif", ".png"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes, suffix: str) -> None:
    own = own_set(tmp_path / "own", 2, "uint8")
    (tmp_path / f"own/a/01{suffix}").write_bytes(content)
    if suffix != ".npy":
        (tmp_path / "own/a/01.npy").unlink()
    with pytest.raises(DataError, match=rf"a/01\{suffix}: \w+"):
        packed_set(tmp_path, own)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    own = own_set(tmp_path / "own", 5, "uint16", how="planes")
    whole = (tmp_path / "own/a/03.tif").read_bytes()
    (tmp_path / "own/a/03.tif").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"a/03\.tif: "):
        packed_set(tmp_path, own)


def test_a_stack_of_planes_and_times_is_refused(tmp_path: Path) -> None:
    own = own_set(tmp_path / "own", 5, "uint16", how="planes")
    tifffile.imwrite(
        tmp_path / "own/a/01.tif", np.zeros((2, 3, 8, 8), np.uint16), metadata={"axes": "TCYX"}, imagej=True
    )
    with pytest.raises(DataError, match=r"a/01\.tif: its TIFF has the axes TCYX"):
        packed_set(tmp_path, own)


def test_without_the_package_for_tiff_its_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = own_set(tmp_path / "own", 5, "uint16", how="planes")
    monkeypatch.setattr("mobilebench.system.extras.find_spec", lambda _: None)
    assert EXTRA_OF["tifffile"] == "formats"
    with pytest.raises((NotInstalledError, DataError), match=r"mobilebench\[formats\]"):
        packed_set(tmp_path, own)


def test_grey_of_8_and_16_bits_and_rgba_are_read_from_png(tmp_path: Path) -> None:
    grey, deep, rgba = image(1, (9, 7), 1, "uint8"), image(2, (9, 7), 1, "uint16"), image(3, (9, 7), 4, "uint8")
    for name, array in (("grey", grey[..., 0]), ("deep", deep[..., 0]), ("rgba", rgba)):
        Image.fromarray(array).save(tmp_path / f"{name}.png")
    reader = ArrayFiles()
    for name, array in (("grey", grey), ("deep", deep), ("rgba", rgba)):
        path = tmp_path / f"{name}.png"
        assert reader.size(path) == (9, 7)
        assert (checked(reader.read(path), array.shape[2], array.dtype.name) == array).all()  # type: ignore[arg-type]


def test_a_channel_a_file(tmp_path: Path) -> None:
    reader = ChannelFiles(("_red.png", "_green.png"))
    planes = [image(seed, (9, 7), 1, "uint8")[..., 0] for seed in (1, 2)]
    for ending, plane in zip(reader.endings, planes, strict=True):
        Image.fromarray(plane).save(f"{tmp_path / 'x'}{ending}")
    assert reader.size(tmp_path / "x") == (9, 7)
    assert (reader.read(tmp_path / "x") == np.stack(planes, 2)).all()
    Image.fromarray(planes[0][:5]).save(f"{tmp_path / 'x'}_green.png")
    with pytest.raises(ArrayError, match="different sizes"):
        reader.read(tmp_path / "x")


def test_people_are_shown_the_same_picture_whatever_the_numbers(tmp_path: Path) -> None:
    """Scaled alike, an image of 16 bits and one of floats show what the dataset's spread makes of them."""
    deep = packed_set(tmp_path, own_set(tmp_path / "own", 13, "uint16"))
    shown = pictures(deep.images[:], deep.meta)
    assert (shown.shape, shown.dtype) == ((20, 24, 24, 3), np.uint8)
    first = deep.images[0].astype(np.float64)[..., :3] / 65535
    mean, std = np.array(deep.meta.mean[:3]), np.array(deep.meta.std[:3])
    expected = np.clip((first - mean) / std / 4 + 0.5, 0, 1) * 255
    assert np.abs(shown[0] - expected).max() <= 0.5 + 1e-6
    grey = packed_set(tmp_path / "grey", own_set(tmp_path / "own1", 1, "uint8"))
    assert (pictures(grey.images[:], grey.meta) == np.repeat(grey.images[:], 3, axis=3)).all()


def test_the_audit_finds_equal_images_of_many_channels_and_shows_them(tmp_path: Path) -> None:
    own = own_set(tmp_path / "own", 5, "uint16", size=(64, 64))
    np.save(tmp_path / "own/a/01.npy", image(0, (64, 64), 5, "uint16"))  # that of b
    packed = packed_set(tmp_path, own)
    found = audit([packed])
    assert [(pair.kind, pair.conflict) for pair in found.pairs] == [("exact", True)]
    assert write_sheet(tmp_path / "sheet.png", found.pairs, {"mine": packed})
    with Image.open(io.BytesIO((tmp_path / "sheet.png").read_bytes())) as sheet:
        assert sheet.mode == "RGB"


@pytest.mark.parametrize("channels", [0, 2000])
def test_channels_that_cannot_be_meant_are_refused(channels: int) -> None:
    with pytest.raises(ValueError, match=rf"channels is {channels}; allowed: 1 to 1024"):
        OwnData(folder="x", channels=channels)


def test_the_order_of_bytes_in_a_file_is_of_no_consequence(tmp_path: Path) -> None:
    found = []
    for order in ("<", ">"):
        own = own_set(tmp_path / order, 2, "uint16")
        for path in sorted((tmp_path / order).rglob("*.npy")):
            np.save(path, np.load(path).astype(f"{order}u2"))
        packed = packed_set(tmp_path / f"{order}out", own)
        packed.verify()
        train = np.asarray(packed.images[packed.rows("train")], np.float64) / 65535
        np.testing.assert_allclose(packed.meta.mean, train.mean((0, 1, 2)), rtol=1e-9)
        found.append(packed.meta.digest)
    assert found[0] == found[1]


def test_a_grey_image_lies_as_its_exif_says(tmp_path: Path) -> None:
    upright = Image.fromarray(image(5, (9, 14), 1, "uint8")[..., 0])
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    assert ArrayFiles().size(tmp_path / "turned.png") == (9, 14)
    assert (ArrayFiles().read(tmp_path / "turned.png")[..., 0] == np.asarray(upright)).all()


def test_a_palette_is_refused_whatever_the_format(tmp_path: Path) -> None:
    Image.fromarray(image(5, (9, 14), 3, "uint8")).quantize(8).save(tmp_path / "a.tif")
    with pytest.raises(ArrayError, match="palette"):
        ArrayFiles().read(tmp_path / "a.tif")


@pytest.mark.parametrize("shape", [(0, 0, 1), (0, 8, 1), (8, 0, 1)])
def test_an_image_without_pixels_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ArrayError, match=r"expected 1 channel$"):
        checked(np.zeros(shape, np.uint8), 1, "uint8")


def test_images_of_too_many_pixels_are_refused_before_they_are_read(tmp_path: Path) -> None:
    own = own_set(tmp_path / "own", 1, "uint8")
    np.lib.format.open_memmap(tmp_path / "own/a/01.npy", mode="w+", dtype=np.uint8, shape=(10_000, 10_000, 1))
    with pytest.raises(DataError, match=r"a/01\.npy: its 100 megapixels are more than the 90.*_megapixels: 100"):
        packed_set(tmp_path, own)
