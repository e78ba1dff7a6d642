"""From files of every kind to squares of RGB: what is handled, and what is refused by name."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from mobilebench.config.data import OwnData
from mobilebench.config.recipe import DataPolicy
from mobilebench.datasets import DataError
from mobilebench.datasets.packing.decode import Form, ImageError, decode
from mobilebench.datasets.packing.packed import open_packed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mobilebench.config.recipe import Fit


def picture(size: tuple[int, int] = (90, 60)) -> Image.Image:
    """Left to right red rises, top to bottom green."""
    x, y = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    return Image.fromarray(np.stack([x, y, np.full_like(x, 128)], axis=2).astype(np.uint8))


def stored(tmp_path: Path, image: Image.Image, name: str, **options: object) -> np.ndarray:
    image.save(tmp_path / name, **options)
    return np.asarray(decode(tmp_path / name, Form((32, 32)))[0]).astype(int)


@pytest.fixture
def plain(tmp_path: Path) -> np.ndarray:
    return stored(tmp_path, picture(), "plain.png")


def test_the_square_is_the_centre_as_torchvision_resizes_it(plain: np.ndarray) -> None:
    from torchvision.transforms import v2

    square = picture().crop((15, 0, 75, 60))
    theirs = np.asarray(v2.functional.resize(square, [32, 32])).astype(int)
    assert abs(plain - theirs).max() <= 1


def test_warp_is_the_whole_image_as_torchvision_and_pillow_resize_it(tmp_path: Path) -> None:
    from torchvision.transforms import v2

    for size in ((90, 60), (60, 90), (33, 71), (20, 20)):
        image = picture(size)
        image.save(tmp_path / "a.png")
        ours = np.asarray(decode(tmp_path / "a.png", Form((32, 32), "warp"))[0]).astype(int)
        torchvision = np.asarray(v2.functional.resize(image, [32, 32])).astype(int)
        assert abs(ours - torchvision).max() <= 1
        assert (ours == np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR))).all()


def test_pad_is_the_whole_image_between_bars(tmp_path: Path) -> None:
    from PIL import ImageOps

    for size in ((96, 48), (48, 96), (20, 20), (960, 30)):
        image = picture(size)
        image.save(tmp_path / "a.png")
        ours = np.asarray(decode(tmp_path / "a.png", Form((32, 32), "pad"))[0])
        padded = np.asarray(ImageOps.pad(image, (32, 32), Image.Resampling.BILINEAR, color=(124, 116, 104)))
        if size == (960, 30):  # one row, which cannot lie in the middle of 32
            padded = np.roll(padded, -1, axis=0)
        assert (ours == padded).all()


@pytest.mark.parametrize(
    ("mode", "name", "most"),
    [
        ("CMYK", "a.jpg", 12),
        ("RGBA", "a.png", 1),
        ("P", "a.png", 40),
        ("YCbCr", "a.tiff", 4),
        ("RGB", "a.webp", 12),
        ("RGB", "a.bmp", 0),
        ("RGB", "a.jpg", 8),
    ],
)
def test_colour_modes_come_out_as_the_same_picture(
    mode: str, name: str, most: int, plain: np.ndarray, tmp_path: Path
) -> None:
    assert abs(stored(tmp_path, picture().convert(mode), name) - plain).max() <= most


@pytest.mark.parametrize("mode", ["L", "LA", "1", "I;16"])
def test_grey_becomes_three_equal_channels(mode: str, tmp_path: Path) -> None:
    grey = picture().convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    image = deep if mode == "I;16" else grey.convert(mode)
    rgb = stored(tmp_path, image, "grey.png")
    assert (rgb == rgb[..., :1]).all()
    if mode != "1":
        assert abs(rgb - stored(tmp_path, grey.convert("RGB"), "rgb.png")).max() <= 1


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (40, 40), (200, 0, 0, 0))
    assert stored(tmp_path, clear, "clear.png").min() == 255
    half = Image.new("RGBA", (40, 40), (0, 0, 0, 128))
    assert abs(stored(tmp_path, half, "half.png") - 127).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
@pytest.mark.parametrize("fit", ["centre", "warp", "pad"])
def test_exif_orientation_is_applied(orientation: int, name: str, fit: Fit, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture((90, 60)).save(tmp_path / name, exif=exif, **({} if name.endswith("png") else {"quality": 95}))
    from PIL import ImageOps

    with Image.open(tmp_path / name) as image:
        upright = ImageOps.exif_transpose(image)
    upright.save(tmp_path / "upright.png", exif=b"")
    theirs = np.asarray(decode(tmp_path / "upright.png", Form((32, 32), fit))[0]).astype(int)
    ours = np.asarray(decode(tmp_path / name, Form((32, 32), fit))[0]).astype(int)
    assert abs(ours - theirs).max() <= 2


@pytest.mark.parametrize("fit", ["centre", "warp", "pad"])
def test_large_jpegs_decoded_small_stay_the_same_picture(fit: Fit, tmp_path: Path) -> None:
    picture((900, 600)).save(tmp_path / "large.jpg", quality=95)
    picture((900, 600)).save(tmp_path / "large.png")
    large, exact = (
        np.asarray(decode(tmp_path / f"large.{kind}", Form((32, 32), fit))[0]).astype(int) for kind in ("jpg", "png")
    )
    assert abs(large - exact).max() <= 6


def test_of_an_animation_the_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert np.asarray(decode(tmp_path / "a.gif", Form((8, 8)))[0])[0, 0].tolist() == [255, 0, 0]


def test_32_bit_images_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((9, 9), np.float32)).save(tmp_path / "a.tiff")
    with pytest.raises(ImageError, match="no agreed scale"):
        decode(tmp_path / "a.tiff", Form((8, 8)))


def test_an_image_bomb_is_refused_and_a_large_image_is_a_setting(tmp_path: Path) -> None:
    Image.new("1", (2000, 1100)).save(tmp_path / "a.png")  # 2.2 million pixels
    before = Image.MAX_IMAGE_PIXELS
    for megapixels in (1, 2):  # beyond twice the limit Pillow raises another kind of exception
        with pytest.raises(ImageError, match=rf"3 megapixels are more than the {megapixels} .*`max_megapixels: 3`"):
            decode(tmp_path / "a.png", Form((8, 8), megapixels=megapixels))
    assert decode(tmp_path / "a.png", Form((8, 8), megapixels=3))[0].size == (8, 8)
    assert before == Image.MAX_IMAGE_PIXELS


def test_large_images_of_ones_own_are_allowed_by_a_setting(image_folder: Path, packed_at: Callable[..., Path]) -> None:
    Image.new("RGB", (1100, 1000)).save(image_folder / "cats" / "0.jpg")
    with pytest.raises(DataError, match=r"(?s)1 of 20 images.*cats/0\.jpg: its 2 megapixels.*max_megapixels: 2"):
        packed_at("mine", own={"mine": OwnData(folder=str(image_folder), max_megapixels=1)})
    packed_at("mine", own={"mine": OwnData(folder=str(image_folder), max_megapixels=2)})


def test_damaged_images_are_all_named_and_nothing_is_packed(
    image_folder: Path, packed_at: Callable[..., Path], tmp_path: Path
) -> None:
    whole = (image_folder / "cats" / "1.jpg").read_bytes()
    (image_folder / "cats" / "1.jpg").write_bytes(whole[: len(whole) // 2])
    (image_folder / "dogs" / "2.jpg").write_bytes(whole[:-200])
    with pytest.raises(DataError, match=r"(?s)2 of 20 images cannot be read.*cats/1\.jpg.*dogs/2\.jpg.*Nothing was"):
        packed_at("mine", own={"mine": OwnData(folder=str(image_folder))})
    (image_folder / "cats" / "3.jpg").write_bytes(b"")
    (image_folder / "dogs" / "notes.txt").write_text("no image")
    with pytest.raises(DataError, match=r"(?s)4 of 21 images.*cats/3\.jpg.*dogs/notes\.txt"):
        packed_at("mine", own={"mine": OwnData(folder=str(image_folder))})
    assert [path.name for path in (tmp_path / "packed").iterdir()] == [".mine.lock"]


def test_the_side_is_the_median_short_side_and_small_images_are_counted(
    image_folder: Path, packed_at: Callable[..., Path]
) -> None:
    out = io.BytesIO()
    picture((20, 31)).save(out, "PNG")
    (image_folder / "cats" / "0.jpg").write_bytes(out.getvalue())
    own = {"mine": OwnData(folder=str(image_folder))}
    packed = open_packed(packed_at("mine", own=own))
    assert packed.images.shape == (20, 40, 40, 3)
    assert (packed.meta.storage["enlarged"], packed.meta.storage["native_side"]) == (1, 40)
    small = open_packed(packed_at("mine", DataPolicy(short_side=16), own=own))
    assert small.images.shape == (20, 16, 16, 3)


@pytest.mark.parametrize(("fit", "side", "enlarged"), [("warp", 40, 1), ("pad", 48, 1)])
def test_every_fit_has_a_side_of_its_own_and_meta_says_how(
    fit: Fit, side: int, enlarged: int, image_folder: Path, packed_at: Callable[..., Path]
) -> None:
    for path in image_folder.rglob("*.jpg"):
        picture((48, 40)).save(path)
    picture((20, 31)).save(image_folder / "cats" / "0.jpg")
    own = {"mine": OwnData(folder=str(image_folder))}
    plain = open_packed(packed_at("mine", own=own)).meta
    packed = open_packed(packed_at("mine", DataPolicy(fit=fit), own=own))
    assert packed.images.shape == (20, side, side, 3)
    assert packed.meta.storage["native_side"] == side
    assert packed.meta.storage["enlarged"] == enlarged
    assert "the whole upright image" in packed.meta.storage["how"]
    assert len({plain.identity, packed.meta.identity}) == len({plain.digest, packed.meta.digest}) == 2


@pytest.mark.slow
def test_several_processes_write_what_one_writes(
    image_folder: Path, packed_at: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"mine": OwnData(folder=str(image_folder))}
    one = open_packed(packed_at("mine", own=own))
    monkeypatch.setattr("mobilebench.datasets.packing.pack.FEW", 0)
    monkeypatch.setattr("mobilebench.datasets.packing.pack.CHUNK", 3)
    two = open_packed(packed_at("mine", own=own, workers=2, out_dir=tmp_path / "two"))
    assert two.meta.digest == one.meta.digest
    assert two.meta.mean == one.meta.mean
    assert (two.path / "images.npy").read_bytes() == (one.path / "images.npy").read_bytes()
