"""Every way a PNG (and a few other formats) can hold a picture, against its samples worked out by hand."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from mobilebench.datasets.packing.decode import Form, ImageError, decode

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 16
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6  # colour types of the PNG standard
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}
PLTE = np.random.default_rng(5).integers(0, 256, (16, 3)).astype(np.uint8)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(samples: np.ndarray, depth: int, kind: int, *chunks: tuple[bytes, bytes], late: bytes = b"") -> bytes:
    """A PNG of `samples` [SIDE, SIDE, channels], written by the standard and no library."""
    if depth == 16:
        rows = samples.astype(">u2").reshape(SIDE, -1).view(np.uint8)
    else:
        bits = np.unpackbits(samples.astype(np.uint8).reshape(SIDE, -1, 1), axis=2)[..., 8 - depth :]
        rows = np.packbits(bits.reshape(SIDE, -1), axis=1)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", SIDE, SIDE, depth, kind, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *(chunk(*c) for c in chunks), chunk(b"IDAT", data), late, chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def by_hand(samples: np.ndarray, depth: int, kind: int, clear: tuple[int, ...] | None) -> np.ndarray:
    """RGB over white, as the PNG standard defines it; 16 bits keep their upper 8."""
    most = 2**depth - 1
    eight = (samples >> 8) if depth == 16 else samples * 255 // most
    if kind == PALETTE:
        rgb = PLTE[samples[..., 0]].astype(int)
        alpha = np.array([*(clear or ()), *[255] * 16])[samples]
    else:
        rgb = np.repeat(eight[..., :1], 3, axis=2) if kind in {GREY, GREY_ALPHA} else eight[..., :3]
        alpha = eight[..., -1:] if kind in {GREY_ALPHA, RGBA} else np.full((SIDE, SIDE, 1), 255)
        if clear is not None:
            alpha = np.where((samples == np.array(clear)).all(axis=2, keepdims=True), 0, 255)
    return rgb * alpha / 255 + 255 * (1 - alpha / 255)


def samples_of(depth: int, kind: int) -> np.ndarray:
    rng = np.random.default_rng(depth + kind)
    found = rng.integers(0, 2**depth, (SIDE, SIDE, CHANNELS[kind]))
    found[:4] = found[0, 0]  # a plain part, which can be the transparent colour
    if depth == 16:
        found[4:8] = found[0, 0] ^ 1  # the same in its upper 8 bits
    return found


KINDS = [
    *((depth, GREY) for depth in (1, 2, 4, 8, 16)),
    *((depth, PALETTE) for depth in (1, 2, 4)),
    *((depth, kind) for depth in (8, 16) for kind in (RGB, GREY_ALPHA, RGBA)),
]


@pytest.mark.parametrize("see_through", [False, True])
@pytest.mark.parametrize(("depth", "kind"), KINDS)
def test_every_kind_of_png_is_what_the_standard_says(depth: int, kind: int, see_through: bool, tmp_path: Path) -> None:
    samples, chunks, clear = samples_of(depth, kind), [], None
    if kind == PALETTE:
        chunks.append((b"PLTE", PLTE[: 2**depth].tobytes()))
    if see_through:
        if kind in {GREY_ALPHA, RGBA}:
            pytest.skip("the standard allows no tRNS there")
        clear = (0, 128) if kind == PALETTE else tuple(int(v) for v in samples[0, 0])
        packed = bytes(clear) if kind == PALETTE else struct.pack(f">{len(clear)}H", *clear)
        chunks.append((b"tRNS", packed))
    (tmp_path / "a.png").write_bytes(png(samples, depth, kind, *chunks))
    found = np.asarray(decode(tmp_path / "a.png", Form((SIDE, SIDE)))[0]).astype(float)
    assert abs(found - by_hand(samples, depth, kind, clear)).max() <= 1


@pytest.mark.filterwarnings("ignore:The image decoding")
@pytest.mark.parametrize(("depth", "kind"), [(8, RGB), (8, GREY), (4, PALETTE), (1, GREY), (4, GREY)])
def test_opaque_pngs_are_what_torchvision_reads(depth: int, kind: int, tmp_path: Path) -> None:
    from torchvision.io import ImageReadMode, decode_image

    chunks = [(b"PLTE", PLTE.tobytes())] if kind == PALETTE else []
    (tmp_path / "a.png").write_bytes(png(samples_of(depth, kind), depth, kind, *chunks))
    theirs = decode_image(str(tmp_path / "a.png"), ImageReadMode.RGB).permute(1, 2, 0).numpy()
    assert (np.asarray(decode(tmp_path / "a.png", Form((SIDE, SIDE)))[0]) == theirs).all()


@pytest.mark.parametrize(
    "chunks",
    [
        [(b"eXIf", b"nonsense")],
        [(b"eXIf", b"")],
        [(b"eXIf", b"MM\0*\xff\xff\xff\xff")],
        [(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"exif\n 4\nzz"))],
        [(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0<x:xmpmeta>cut")],
        [(b"gAMA", b"\0")],
        [(b"pHYs", b"\0")],
        [(b"iCCP", b"x\0\0nonsense")],
        [(b"tIME", b"")],
        [(b"abCd", b"private")],
    ],
    ids=lambda chunks: chunks[0][0].decode(),
)
def test_damaged_metadata_is_no_damage_of_the_picture(chunks: list[tuple[bytes, bytes]], tmp_path: Path) -> None:
    samples = samples_of(8, RGB)
    wrong_sum = chunk(*chunks[0])[:-1] + b"?"
    for content in (
        png(samples, 8, RGB, *chunks),
        png(samples, 8, RGB, late=chunk(*chunks[0])),
        png(samples, 8, RGB, late=wrong_sum),
    ):
        (tmp_path / "a.png").write_bytes(content)
        assert (np.asarray(decode(tmp_path / "a.png", Form((SIDE, SIDE)))[0]) == samples).all()


@pytest.mark.parametrize("other", [[], [(b"pHYs", b"\0")]])
def test_exif_behind_the_pixels_turns_them_too(other: list[tuple[bytes, bytes]], tmp_path: Path) -> None:
    samples, exif = samples_of(8, RGB), Image.Exif()
    exif[0x0112] = 3
    late = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    (tmp_path / "a.png").write_bytes(png(samples, 8, RGB, *other, late=late))
    assert (np.asarray(decode(tmp_path / "a.png", Form((SIDE, SIDE)))[0]) == samples[::-1, ::-1]).all()


@pytest.mark.parametrize("cut", [60, 200, 400])
def test_a_png_that_is_cut_short_is_refused(cut: int, tmp_path: Path) -> None:
    content = png(samples_of(8, RGB), 8, RGB)
    (tmp_path / "a.png").write_bytes(content[:cut])
    with pytest.raises(ImageError):
        decode(tmp_path / "a.png", Form((SIDE, SIDE)))


def tiff16(values: np.ndarray, photometric: int) -> bytes:
    """A 16-bit grey TIFF, little-endian, one strip."""
    tags = [(256, 4, SIDE), (257, 4, SIDE), (258, 3, 16), (259, 3, 1), (262, 3, photometric), (273, 4, 8), (277, 3, 1)]
    tags += [(278, 4, SIDE), (279, 4, values.size * 2)]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    start = 8 + values.size * 2
    ifd = struct.pack("<H", len(tags)) + entries + b"\0\0\0\0"
    return struct.pack("<2sHI", b"II", 42, start) + values.astype("<u2").tobytes() + ifd


@pytest.mark.parametrize("photometric", [0, 1])
def test_16_bit_tiffs_whose_white_is_zero_are_no_negatives(photometric: int, tmp_path: Path) -> None:
    values = samples_of(16, GREY)[..., 0]
    (tmp_path / "a.tif").write_bytes(tiff16(values, photometric))
    found = np.asarray(decode(tmp_path / "a.tif", Form((SIDE, SIDE)))[0])
    assert (found == ((values if photometric else 65535 - values) >> 8)[..., None]).all()


@pytest.mark.parametrize("most", [255, 1000, 65535])
def test_grey_pgms_of_any_maximum_reach_white(most: int, tmp_path: Path) -> None:
    values = np.linspace(0, most, SIDE * SIDE).astype(int).reshape(SIDE, SIDE)
    body = values.astype(">u2" if most > 255 else np.uint8).tobytes()
    (tmp_path / "a.pgm").write_bytes(f"P5 {SIDE} {SIDE} {most}\n".encode() + body)
    found = np.asarray(decode(tmp_path / "a.pgm", Form((SIDE, SIDE)))[0]).astype(float)
    assert abs(found - (values * 255 / most)[..., None]).max() <= 1


@pytest.mark.parametrize("mode", ["RGBa", "La", "LA", "PA", "RGBX", "HSV", "CMYK", "YCbCr", "LAB"])
def test_every_other_mode_comes_out_as_rgb(mode: str, tmp_path: Path) -> None:
    image = Image.new(mode, (SIDE, SIDE))
    try:
        image.save(tmp_path / "a.tif")
    except (OSError, KeyError):
        pytest.skip(f"Pillow writes no TIFF of mode {mode}")
    assert decode(tmp_path / "a.tif", Form((SIDE, SIDE)))[0].mode == "RGB"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiffs_orientation_is_applied(orientation: int, tmp_path: Path) -> None:
    from PIL import ImageOps

    image = Image.fromarray(samples_of(8, RGB).astype(np.uint8))
    image.save(tmp_path / "a.tif", tiffinfo={0x0112: orientation})
    with Image.open(tmp_path / "a.tif") as opened:
        upright = np.asarray(ImageOps.exif_transpose(opened))
    assert (np.asarray(decode(tmp_path / "a.tif", Form((SIDE, SIDE)))[0]) == upright).all()
