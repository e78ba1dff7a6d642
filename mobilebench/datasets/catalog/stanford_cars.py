"""Stanford Cars: 196 models of cars, split by the official annotations. Its host no longer gives it out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mobilebench.datasets.acquire.listing import locate
from mobilebench.datasets.spec import DataError, DatasetSpec, Entry, Reading, Source

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.config.recipe import DataPolicy

_EXPECTED = "devkit/, cars_train/, cars_test/ and cars_test_annos_withlabels.mat in one folder"


def _loaded(path: Path, key: str) -> Any:
    from scipy.io import loadmat

    try:
        return loadmat(path, squeeze_me=True)[key]
    except Exception as error:  # loadmat raises nearly anything on a broken file
        raise DataError(f"{path} is not the official file ({type(error).__name__}: {error}).") from error


def _annotated(path: Path, folder: str, split: str, classes: int) -> list[Entry]:
    """Return the entries of one annotation file, whose classes count from 1."""
    try:
        entries = [
            Entry(f"{folder}/{line['fname']!s}", int(line["class"]) - 1, split) for line in _loaded(path, "annotations")
        ]
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise DataError(f"{path} is not one of the official annotations ({type(error).__name__}: {error}).") from error
    odd = [entry.path for entry in entries if not 0 <= int(str(entry.label)) < classes]
    if odd or not entries:
        raise DataError(f"{path} has {len(entries)} images, {len(odd)} of a class that cars_meta.mat lacks.")
    return entries


def read(raw: Path, _policy: DataPolicy) -> Reading:
    """List cars_train/*.jpg and cars_test/*.jpg as the two annotation files say."""
    root = locate(raw, "devkit/cars_train_annos.mat", _EXPECTED)
    classes = tuple(str(name) for name in _loaded(root / "devkit" / "cars_meta.mat", "class_names"))
    train = _annotated(root / "devkit" / "cars_train_annos.mat", "cars_train", "train", len(classes))
    test = _annotated(root / "cars_test_annos_withlabels.mat", "cars_test", "test", len(classes))
    return Reading(classes, train + test, root)


_HOST = "http://ai.stanford.edu/~jkrause"

SPEC = DatasetSpec(
    id="stanford_cars",
    title="Stanford Cars",
    domain="fine-grained",
    classes=196,
    counts={"train": 8144, "test": 8041},
    licence="none stated",
    citation="J. Krause et al., 3D Object Representations for Fine-Grained Categorization, 3dRR at ICCV 2013",
    homepage="https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
    hflip=True,
    read=read,
    # Sizes and SHA-256s as TensorFlow Datasets publishes them. Copies under these names are held to them too.
    sources=(
        Source(
            f"{_HOST}/car196/cars_train.tgz",
            "cars_train.tgz",
            sha256="512b227b30e2f0a8aab9e09485786ab4479582073a144998da74d64b801fd288",
            size=979269282,
        ),
        Source(
            f"{_HOST}/car196/cars_test.tgz",
            "cars_test.tgz",
            sha256="bffea656d6f425cba3c91c6d83336e4c5f86c6cffd8975b0f375d3a10da8e243",
            size=977350468,
        ),
        Source(
            f"{_HOST}/cars/car_devkit.tgz",
            "car_devkit.tgz",
            sha256="b97deb463af7d58b6bfaa18b2a4de9829f0f79e8ce663dfa9261bf7810e9accd",
            size=330960,
        ),
        Source(
            f"{_HOST}/car196/cars_test_annos_withlabels.mat",
            "cars_test_annos_withlabels.mat",
            sha256="790f75be8ea34eeded134cc559332baf23e30e91367e9ddca97d26ed9b895f05",
            size=185758,
            archive=False,
        ),
    ),
    by_hand=(
        "The addresses of its owners no longer answer. Put a copy of cars_train.tgz, cars_test.tgz, car_devkit.tgz and"
        f" cars_test_annos_withlabels.mat, or what they unpack to ({_EXPECTED}), into one folder and pass it with"
        " --from."
    ),
    note="its owners' addresses no longer answer: a copy is needed, see by hand",
)
