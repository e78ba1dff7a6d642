"""Tiny copies of official distributions in their exact layout, beside those that tests/datasets/conftest.py makes."""

from __future__ import annotations

import io
import tarfile
import zipfile
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


MORE: dict[str, Callable[[], Files]] = {
    "flowers102": _flowers102,
}
"""What makes the files of a distribution, by raw name."""
