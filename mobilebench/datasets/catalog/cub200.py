"""Caltech-UCSD Birds-200-2011: 200 species, split by train_test_split.txt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilebench.datasets.acquire.listing import locate
from mobilebench.datasets.acquire.split_lists import lines, numbered
from mobilebench.datasets.spec import DataError, DatasetSpec, Entry, Reading, Source

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.config.recipe import DataPolicy

_SPLITS = {1: "train", 0: "test"}


def _by_number(path: Path) -> dict[str, str]:
    """Return what a list of lines `number text` says of each number. Raises DataError for another line."""
    found: dict[str, str] = {}
    for number, line in enumerate(lines(path), start=1):
        key, _, text = line.partition(" ")
        if not key.isdecimal() or not text or key in found:
            raise DataError(f"{path}, line {number}: found {line[:80]!r}, expected a new number, a space and a text.")
        found[key] = text.strip()
    return found


def read(raw: Path, _policy: DataPolicy) -> Reading:
    """List images/<number>.<species>/*.jpg as images.txt, image_class_labels.txt and train_test_split.txt say."""
    root = locate(
        raw, "train_test_split.txt", "CUB_200_2011/{images,images.txt,train_test_split.txt ...} of the archive"
    )
    paths, names = _by_number(root / "images.txt"), _by_number(root / "classes.txt")
    labels, parts = (dict(numbered(root / name)) for name in ("image_class_labels.txt", "train_test_split.txt"))
    if [int(number) for number in names] != list(range(1, len(names) + 1)):
        raise DataError(f"{root / 'classes.txt'} does not number its classes 1, 2, 3 ...; unpack the archive again.")
    entries = []
    for image, path in paths.items():
        label, part = labels.get(image, 0), parts.get(image, -1)
        if not 1 <= label <= len(names) or part not in _SPLITS:
            raise DataError(f"{root}: image {image} of images.txt has no class or no part; unpack the archive again.")
        if path.partition("/")[0] != names[str(label)]:
            raise DataError(f"{root}: {path} is not of class {label}, {names[str(label)]}; unpack the archive again.")
        entries.append(Entry(path, label - 1, _SPLITS[part]))
    return Reading(tuple(name.partition(".")[2] for name in names.values()), entries, root / "images")


SPEC = DatasetSpec(
    id="cub200",
    title="Caltech-UCSD Birds-200-2011",
    domain="fine-grained",
    classes=200,
    counts={"train": 5994, "test": 5794},
    licence="research",
    citation="C. Wah et al., The Caltech-UCSD Birds-200-2011 Dataset, CNS-TR-2011-001, 2011",
    homepage="https://www.vision.caltech.edu/datasets/cub_200_2011/",
    hflip=True,
    read=read,
    # Size and SHA-256 as TensorFlow Datasets publishes them, for another address than this one of its owners.
    sources=(
        Source(
            "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz?download=1",
            "CUB_200_2011.tgz",
            md5="97eceeb196236b17998738112f37df78",
            sha256="0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081",
            size=1150585339,
            unverified=True,
        ),
    ),
    note="photos of flickr.com",
)
