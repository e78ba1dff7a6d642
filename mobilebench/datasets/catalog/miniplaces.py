"""MiniPlaces: 100 scene classes at 128 px. The labelled val part is test here; the official test has no labels.

Folders nest by letter and sometimes by kind (train/a/abbey, train/b/bakery/shop): labels come from the lists, never
from the folders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilebench.datasets.acquire.listing import locate
from mobilebench.datasets.acquire.split_lists import numbered
from mobilebench.datasets.spec import DataError, DatasetSpec, Entry, Reading, Source

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.config.recipe import DataPolicy

_LISTS = {"train.txt": "train", "val.txt": "test"}


def _classes(path: Path) -> tuple[str, ...]:
    """Return class names (abbey, bakery/shop) by number, from lines such as `/b/bakery/shop 10`."""
    found = {number: name.strip("/").partition("/")[2] for name, number in numbered(path)}
    if sorted(found) != list(range(len(found))):
        raise DataError(f"{path} does not number its classes 0, 1, 2 ...; fetch it again.")
    return tuple(found[number] for number in sorted(found))


def read(raw: Path, _policy: DataPolicy) -> Reading:
    """List images/train/<letter>/<class>[/<kind>]/*.jpg and images/val/*.jpg as train.txt and val.txt say."""
    root = locate(raw, "categories.txt", "train.txt, val.txt and categories.txt of the development kit")
    classes = _classes(root / "categories.txt")
    listed = [(name, label, split) for file, split in _LISTS.items() for name, label in numbered(root / file)]
    odd = [name for name, label, _ in listed if label >= len(classes)]
    if odd:
        raise DataError(f"{root}: {odd[0]} has a class number that categories.txt lacks; fetch the lists again.")
    entries = [Entry(*image) for image in listed]
    images = locate(raw, entries[0].path, "data.tar.gz unpacked (images/{train,val}/...)")
    return Reading(classes, entries, images)


_KIT = "https://raw.githubusercontent.com/CSAILVision/miniplaces/master/data/"

SPEC = DatasetSpec(
    id="miniplaces",
    title="MiniPlaces",
    domain="scene",
    classes=100,
    counts={"train": 100000, "test": 10000},
    licence="Places, research",
    citation="B. Zhou et al., Places: A 10 million Image Database for Scene Recognition, TPAMI 2017",
    homepage="https://github.com/CSAILVision/miniplaces",
    hflip=True,
    read=read,
    sources=(
        Source("http://miniplaces.csail.mit.edu/data/data.tar.gz", "data.tar.gz"),
        Source(f"{_KIT}train.txt", "train.txt", archive=False),
        Source(f"{_KIT}val.txt", "val.txt", archive=False),
        Source(f"{_KIT}categories.txt", "categories.txt", archive=False),
    ),
    note="the labelled official val part is used as test, as in the paper",
)
