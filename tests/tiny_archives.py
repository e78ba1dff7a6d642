"""Tiny copies of official distributions in their exact layout, beside those that tests/datasets/conftest.py makes."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Files = dict[str, bytes]


def jpeg(seed: int, size: tuple[int, int] = (48, 40)) -> bytes:
    """A smooth coloured picture: small numbers survive JPEG."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (10, 10, 3), np.uint8))
    out = io.BytesIO()
    coarse.resize(size, Image.Resampling.BICUBIC).save(out, "JPEG", quality=90)
    return out.getvalue()


def tar(files: Mapping[str, bytes], mode: str = "w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def zipped(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def saved_mat(**content: Any) -> bytes:
    """A file of MATLAB's, as scipy writes it."""
    from scipy.io import savemat

    out = io.BytesIO()
    savemat(out, content)
    return out.getvalue()


def _flowers102() -> Files:
    """Three species of eight images: two each in train and val, four in test; the ids are in no order."""
    ids = np.random.default_rng(102).permutation(24) + 1
    labels = np.zeros((1, 24), np.uint8)
    labels[0, ids - 1] = np.arange(24) % 3 + 1
    return {
        "102flowers.tgz": tar({f"jpg/image_{i:05d}.jpg": jpeg(i, (64, 50 + i)) for i in range(1, 25)}, "w:gz"),
        "imagelabels.mat": saved_mat(labels=labels),
        "setid.mat": saved_mat(trnid=ids[None, :6], valid=ids[None, 6:12], tstid=ids[None, 12:]),
    }


def _dtd() -> Files:
    """Three textures of six images; split 2 shares them out otherwise, and is not to be read."""
    names = [[f"{c}/{c}_{i:04d}.jpg" for i in range(6)] for c in ("woven", "banded", "zigzagged")]
    parts = {"train": slice(0, 2), "val": slice(2, 4), "test": slice(4, 6)}
    files = {f"dtd/images/{name}": jpeg(i, (60, 60 + i)) for i, name in enumerate(chain.from_iterable(names))}
    for number, order in ((1, 1), (2, -1)):
        for split, part in parts.items():
            listed = [name for some in names for name in some[::order][part]]
            files[f"dtd/labels/{split}{number}.txt"] = "".join(f"{name}\n" for name in listed).encode()
    files["dtd/labels/labels_joint_anno.txt"] = b"banded/banded_0000.jpg banded\n"
    return {"dtd-r1.0.1.tar.gz": tar(files, "w:gz")}


def _food101() -> Files:
    """Three dishes of six photos, in lists of both forms that the archive has."""
    dishes = ("apple_pie", "waffles", "baby_back_ribs")
    parts = {"train": range(4), "test": range(4, 6)}
    files = {f"food-101/images/{d}/{100 + i}.jpg": jpeg(i, (60, 60)) for d in dishes for i in range(6)}
    for split, part in parts.items():
        listed = {d: [f"{d}/{100 + i}" for i in part] for d in dishes}
        files[f"food-101/meta/{split}.txt"] = "\n".join(chain.from_iterable(listed.values())).encode()
        files[f"food-101/meta/{split}.json"] = json.dumps(listed).encode()
    files["food-101/meta/classes.txt"] = "\n".join(sorted(dishes)).encode()
    return {"food-101.tar.gz": tar(files, "w:gz")}


MORE: dict[str, Callable[[], Files]] = {
    "flowers102": _flowers102,
    "dtd": _dtd,
    "food101": _food101,
}
"""What makes the files of a distribution, by raw name."""
