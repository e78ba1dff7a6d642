"""Tiny copies of further distributions in their exact layout: those of the studies of transfer."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from PIL import Image
from tiny_archives import Files, jpeg, zipped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def table(header: str, lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in (header, *lines)).encode()


def png(seed: int, size: tuple[int, int]) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").rotate(seed % 360).resize(size).convert("RGB").save(out, "PNG")
    return out.getvalue()


def _cassava() -> Files:
    """Ten photos of each of the five classes, in no order; test images have no labels."""
    lines = [f"{7919 * i % 10007:010d}.jpg,{i % 5}" for i in range(50)]
    files = {f"train_images/{line.partition(',')[0]}": jpeg(i, (60, 45)) for i, line in enumerate(lines)}
    files |= {"train.csv": table("image_id,label", lines), "label_num_to_disease_map.json": b'{"4": "Healthy"}'}
    files |= {"test_images/2216849948.jpg": jpeg(99), "sample_submission.csv": b"image_id,label\n2216849948.jpg,4\n"}
    return {"cassava-leaf-disease-classification.zip": zipped(files)}


def _aptos2019() -> Files:
    """Ten retinas of each of the five grades."""
    lines = [f"{7919 * i % 10007:012x},{i // 10}" for i in range(50)]
    files = {f"train_images/{line.partition(',')[0]}.png": png(7 * i, (50, 40)) for i, line in enumerate(lines)}
    files |= {"train.csv": table("id_code,diagnosis", lines), "test.csv": b"id_code\n0005cfc8afb6\n"}
    return {"aptos2019-blindness-detection.zip": zipped(files | {"test_images/0005cfc8afb6.png": png(1, (50, 40))})}


TRANSFER: dict[str, Callable[[], Files]] = {
    "cassava": _cassava,
    "aptos2019": _aptos2019,
}
"""What makes the files of a distribution, by raw name."""
