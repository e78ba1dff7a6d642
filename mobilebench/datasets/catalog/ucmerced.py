"""UC Merced Land Use: 21 classes of 100 aerial images, TIFFs of about 256 px. No official split: drawn 80/20."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilebench.datasets.acquire.listing import class_folders, locate
from mobilebench.datasets.spec import DatasetSpec, Entry, Reading, Source
from mobilebench.datasets.splits import drawn

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.config.recipe import DataPolicy

CLASSES = (
    "agricultural",
    "airplane",
    "baseballdiamond",
    "beach",
    "buildings",
    "chaparral",
    "denseresidential",
    "forest",
    "freeway",
    "golfcourse",
    "harbor",
    "intersection",
    "mediumresidential",
    "mobilehomepark",
    "overpass",
    "parkinglot",
    "river",
    "runway",
    "sparseresidential",
    "storagetanks",
    "tenniscourt",
)


def read(raw: Path, policy: DataPolicy) -> Reading:
    """List Images/<class>/*.tif and hold out 20 % of each class, drawn by the policy's split_seed."""
    root = locate(raw, CLASSES[0], "UCMerced_LandUse.zip unpacked (UCMerced_LandUse/Images/<class>/<image>.tif)")
    entries = [Entry(path, label, "") for path, label in class_folders(root, CLASSES, ".tif")]
    return Reading(CLASSES, drawn(entries, 0.2, policy.split_seed), root)


SPEC = DatasetSpec(
    id="ucmerced",
    title="UC Merced Land Use from the air, 80/20",
    domain="remote sensing",
    classes=21,
    counts={"train": 1680, "test": 420},
    licence="USGS, public domain",
    citation="Y. Yang and S. Newsam, Bag-Of-Visual-Words and Spatial Extensions for Land-Use Classification, 2010",
    homepage="http://weegee.vision.ucmerced.edu/datasets/landuse.html",
    hflip=True,
    read=read,
    # Size and SHA-256 as TensorFlow Datasets publishes them; the owners publish none.
    sources=(
        Source(
            "http://weegee.vision.ucmerced.edu/datasets/UCMerced_LandUse.zip",
            "UCMerced_LandUse.zip",
            sha256="06c539ef28703a58fb07bd2837991ac7c48b813b00bb12ac197efd813a18daeb",
            size=332468434,
        ),
    ),
    note="no official split: drawn by data.split_seed",
    split_digest="4366f7fa31728e6f38bb1f3de5d5c4e88f6ed609713da615c0c3190a6ad06e5a",
)
