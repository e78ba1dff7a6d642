"""Describable Textures Dataset: 47 textures, the first of its ten official splits into train, val and test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilebench.datasets.acquire.listing import locate
from mobilebench.datasets.acquire.split_lists import class_entries
from mobilebench.datasets.spec import DatasetSpec, Reading, Source

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.config.recipe import DataPolicy

_LISTS = {"train1.txt": "train", "val1.txt": "val", "test1.txt": "test"}


def read(raw: Path, _policy: DataPolicy) -> Reading:
    """List images/<class>/<image> as labels/train1.txt, val1.txt and test1.txt say."""
    root = locate(raw, "labels/train1.txt", "dtd/{images,labels} of dtd-r1.0.1.tar.gz")
    classes, entries = class_entries({root / "labels" / name: split for name, split in _LISTS.items()})
    return Reading(classes, entries, root / "images")


SPEC = DatasetSpec(
    id="dtd",
    title="Describable Textures, split 1",
    domain="texture",
    classes=47,
    counts={"train": 1880, "val": 1880, "test": 1880},
    licence="research",
    citation="M. Cimpoi et al., Describing Textures in the Wild, CVPR 2014",
    homepage="https://www.robots.ox.ac.uk/~vgg/data/dtd/",
    hflip=True,
    read=read,
    # MD5 as torchvision publishes it, size and SHA-256 as TensorFlow Datasets does.
    sources=(
        Source(
            "https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz",
            "dtd-r1.0.1.tar.gz",
            md5="fff73e5086ae6bdbea199a49dfb8a4c1",
            sha256="e42855a52a4950a3b59612834602aa253914755c95b0cff9ead6d07395f8e205",
            size=625239812,
        ),
    ),
    note="the official val part is val: data.val_fraction does not apply",
)
