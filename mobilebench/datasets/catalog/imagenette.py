"""Imagenette, short side 160: ten easy classes of ImageNet in folders train and val; val is its test part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilebench.datasets.acquire.listing import files_below, locate
from mobilebench.datasets.spec import DataError, DatasetSpec, Entry, Reading, Source

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.config.recipe import DataPolicy

CLASSES = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}
_SPLITS = {"train": "train", "val": "test"}


def read(raw: Path, _policy: DataPolicy) -> Reading:
    """List imagenette2-160/{train,val}/<wnid>/*; the official val is test."""
    root = locate(raw, "train/n01440764", "imagenette2-160/{train,val}/<wnid>/<image>")
    entries = []
    for folder, split in _SPLITS.items():
        for label, wnid in enumerate(CLASSES):
            place = root / folder / wnid
            if not place.is_dir():
                raise DataError(f"{place} is missing; Imagenette has ten class folders in each of train and val.")
            entries += [Entry(path.relative_to(root).as_posix(), label, split) for path in files_below(place)]
    return Reading(tuple(CLASSES.values()), entries, root)


SPEC = DatasetSpec(
    id="imagenette",
    title="Imagenette, ten ImageNet classes, short side 160",
    domain="natural",
    classes=10,
    counts={"train": 9469, "test": 3925},
    licence="ImageNet, research",
    citation="J. Howard, Imagenette, 2019; images: J. Deng et al., ImageNet, CVPR 2009",
    homepage="https://github.com/fastai/imagenette",
    hflip=True,
    read=read,
    images_from="ImageNet",
    sources=(
        Source(
            "https://s3.amazonaws.com/fast-ai-imageclas/imagenette2-160.tgz",
            "imagenette2-160.tgz",
            md5="e793b78cc4c9e9a4ccc0c1155377a412",
        ),
    ),
)
