"""Food-101: 101 dishes of 1,000 photos each, split by the official lists. Train was left uncleaned by its owners."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilebench.datasets.acquire.listing import locate
from mobilebench.datasets.acquire.split_lists import class_entries
from mobilebench.datasets.spec import DatasetSpec, Reading, Source

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.config.recipe import DataPolicy

_LISTS = {"train.txt": "train", "test.txt": "test"}


def read(raw: Path, _policy: DataPolicy) -> Reading:
    """List images/<class>/<number>.jpg as meta/train.txt and meta/test.txt say."""
    root = locate(raw, "meta/train.txt", "food-101/{images,meta} of food-101.tar.gz")
    classes, entries = class_entries({root / "meta" / name: split for name, split in _LISTS.items()}, suffix=".jpg")
    return Reading(classes, entries, root / "images")


SPEC = DatasetSpec(
    id="food101",
    title="Food-101, dishes",
    domain="fine-grained",
    classes=101,
    counts={"train": 75750, "test": 25250},
    licence="research",
    citation="L. Bossard, M. Guillaumin, L. Van Gool, Food-101, ECCV 2014",
    homepage="https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
    hflip=True,
    read=read,
    # MD5 as torchvision publishes it, size and SHA-256 as TensorFlow Datasets does.
    sources=(
        Source(
            "http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz",
            "food-101.tar.gz",
            md5="85eeb15f3717b99a5da872d97d918f87",
            sha256="d97d15e438b7f4498f96086a4f7e2fa42a32f2712e87d3295441b2b6314053a4",
            size=4996278331,
        ),
    ),
    note="photos of foodspotting.com; train was not cleaned by its owners: some of its labels are wrong; test was",
)
