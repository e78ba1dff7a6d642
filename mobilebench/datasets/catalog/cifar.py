"""CIFAR-10 and CIFAR-100: the Toronto archives of Python pickles, read without letting a pickle run anything."""

from __future__ import annotations

import codecs
import pickle
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mobilebench.datasets.acquire.listing import locate
from mobilebench.datasets.spec import DataError, DatasetSpec, Entry, Pixels, Reading, Source

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mobilebench.config.recipe import DataPolicy

_TEN = {**{f"data_batch_{i}": "train" for i in range(1, 6)}, "test_batch": "test"}
_HUNDRED = {"train": "train", "test": "test"}
_RECONSTRUCT = np.empty(0).__reduce__()[0]
_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,  # the archives were written by numpy 1
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,
}


class _ArraysOnly(pickle.Unpickler):
    """Loads containers, strings and numpy arrays; anything else a pickle could call is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it wants to call {module}.{name}")
        return _ALLOWED[module, name]


def _load(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = _ArraysOnly(file, encoding="bytes").load()
        return {key.decode() if isinstance(key, bytes) else key: value for key, value in content.items()}
    except Exception as error:  # a broken pickle raises nearly anything
        raise DataError(f"{path} is not a CIFAR file ({type(error).__name__}: {error}): fetch it again.") from error


def _batch(path: Path, key: str, classes: int) -> tuple[Pixels, list[int], list[str]]:
    """Return one file's images (uint8 [N, 32, 32, 3]), labels and file names. Raises DataError when it is damaged."""
    content = _load(path)
    data, labels, names = (content.get(k) for k in ("data", key, "filenames"))
    sound = (
        isinstance(data, np.ndarray)
        and data.dtype == np.uint8
        and isinstance(labels, list)
        and isinstance(names, list)
        and data.shape == (len(labels), 3072)
        and len(names) == len(labels)
        and all(isinstance(label, int) and 0 <= label < classes for label in labels)
    )
    if not sound or not isinstance(data, np.ndarray):
        raise DataError(f"{path} is damaged: expected data (uint8, N x 3072), {key} below {classes} and filenames.")
    pixels = data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return pixels, labels or [], [_text(name) for name in names or []]


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _read(
    files: Mapping[str, str], names: tuple[str, str], key: str, expected: str, raw: Path, _policy: DataPolicy
) -> Reading:
    first = next(iter(files))
    root = locate(raw, first, expected)
    meta, label_names = names
    classes = tuple(_text(name) for name in _load(root / meta).get(label_names) or ())
    entries: list[Entry] = []
    parts = []
    for file, split in files.items():
        pixels, labels, paths = _batch(root / file, key, len(classes))
        parts.append(pixels)
        entries += [Entry(f"{file}/{path}", label, split) for path, label in zip(paths, labels, strict=True)]
    return Reading(classes, entries, pixels=np.concatenate(parts))


_LICENCE = "none stated"
_CITATION = "A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009"
_HOME = "https://www.cs.toronto.edu/~kriz/cifar.html"

CIFAR10 = DatasetSpec(
    id="cifar10",
    title="CIFAR-10, objects at 32 px",
    domain="natural",
    classes=10,
    counts={"train": 50000, "test": 10000},
    licence=_LICENCE,
    citation=_CITATION,
    homepage=_HOME,
    hflip=True,
    read=partial(
        _read, _TEN, ("batches.meta", "label_names"), "labels", "cifar-10-batches-py/data_batch_1..5, test_batch"
    ),
    sources=(
        Source(
            "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            "cifar-10-python.tar.gz",
            md5="c58f30108f718f92721af3b95e74349a",
        ),
    ),
)

CIFAR100 = DatasetSpec(
    id="cifar100",
    title="CIFAR-100 (fine labels), objects at 32 px",
    domain="natural",
    classes=100,
    counts={"train": 50000, "test": 10000},
    licence=_LICENCE,
    citation=_CITATION,
    homepage=_HOME,
    hflip=True,
    read=partial(_read, _HUNDRED, ("meta", "fine_label_names"), "fine_labels", "cifar-100-python/{train,test,meta}"),
    sources=(
        Source(
            "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
            "cifar-100-python.tar.gz",
            md5="eb9058c3a382ffc7106e4002c42a8d85",
        ),
    ),
)
