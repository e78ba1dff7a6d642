"""Tiny ImageNet: 200 classes of ImageNet at 64 px. The labelled val part is test here; the official test has no labels.

The labels of val are in its annotation file, for its images lie in one folder.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from mobilebench.datasets.acquire.listing import files_below, locate
from mobilebench.datasets.acquire.split_lists import lines
from mobilebench.datasets.spec import DataError, DatasetSpec, Entry, Reading, Source

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.config.recipe import DataPolicy


def _names(words: Path, wnids: list[str]) -> tuple[str, ...]:
    """Return a name per class: the first of its synonyms, with the wnid where another class has that one too."""
    synonyms = dict(line.split("\t", 1) for line in lines(words) if "\t" in line)
    names = [synonyms.get(wnid, wnid).partition(",")[0].strip() for wnid in wnids]
    times = Counter(names)
    return tuple(name if times[name] == 1 else f"{name} ({wnid})" for name, wnid in zip(names, wnids, strict=True))


def _train(root: Path, wnids: list[str]) -> list[Entry]:
    entries: list[Entry] = []
    for label, wnid in enumerate(wnids):
        place = root / "train" / wnid / "images"
        if not place.is_dir():
            raise DataError(f"{place} is missing; wnids.txt names that class. Unpack the archive again.")
        images = [path for path in files_below(place) if path.suffix.lower() == ".jpeg"]
        entries += [Entry(path.relative_to(root).as_posix(), label, "train") for path in images]
    return entries


def _val(root: Path, wnids: list[str]) -> list[Entry]:
    """Return the entries of val/val_annotations.txt: image, wnid and a box, between tabs."""
    annotations = root / "val" / "val_annotations.txt"
    label = {wnid: number for number, wnid in enumerate(wnids)}
    entries: list[Entry] = []
    for number, line in enumerate(lines(annotations), start=1):
        image, wnid, *_ = [*line.split("\t"), ""]
        if wnid not in label or "/" in image:
            raise DataError(
                f"{annotations}, line {number}: found {line[:80]!r}, expected an image and one of wnids.txt."
            )
        entries.append(Entry(f"val/images/{image}", label[wnid], "test"))
    if len({entry.path for entry in entries}) != len(entries):
        raise DataError(f"{annotations} lists an image more than once; unpack the archive again.")
    return entries


def read(raw: Path, _policy: DataPolicy) -> Reading:
    """List train/<wnid>/images/*.JPEG and val/images/*.JPEG; classes are numbered by wnid, as their folders sort."""
    root = locate(raw, "wnids.txt", "tiny-imagenet-200/{wnids.txt,words.txt,train,val} of tiny-imagenet-200.zip")
    wnids = sorted(set(lines(root / "wnids.txt")))
    return Reading(_names(root / "words.txt", wnids), _train(root, wnids) + _val(root, wnids), root)


SPEC = DatasetSpec(
    id="tiny_imagenet",
    title="Tiny ImageNet, 200 ImageNet classes at 64 px",
    domain="natural",
    classes=200,
    counts={"train": 100000, "test": 10000},
    licence="ImageNet, research",
    citation="Y. Le and X. Yang, Tiny ImageNet Visual Recognition Challenge, CS 231N, 2015",
    homepage="https://www.kaggle.com/c/tiny-imagenet",
    hflip=True,
    images_from="ImageNet",
    read=read,
    sources=(
        Source(
            "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
            "tiny-imagenet-200.zip",
            md5="90528d7ca1a48142e341f4ef8d21d0de",
            size=248100043,
            unverified=True,  # its owners publish no checksum; this one is what other programs expect
        ),
    ),
    note="the labelled official val part is used as test: the official test part has no labels",
)
