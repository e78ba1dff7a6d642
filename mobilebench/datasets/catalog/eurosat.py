"""EuroSAT, its RGB images: ten kinds of land use seen by Sentinel-2. No official split: drawn 70/30, and 80/20."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from mobilebench.datasets.acquire.listing import class_folders, locate
from mobilebench.datasets.spec import DatasetSpec, Entry, Reading, Source
from mobilebench.datasets.splits import drawn

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.config.recipe import DataPolicy

CLASSES = (
    "AnnualCrop",
    "Forest",
    "HerbaceousVegetation",
    "Highway",
    "Industrial",
    "Pasture",
    "PermanentCrop",
    "Residential",
    "River",
    "SeaLake",
)


def _read(fraction: float, raw: Path, policy: DataPolicy) -> Reading:
    """List 2750/<class>/*.jpg and hold out a fraction of each class, drawn by the policy's split_seed."""
    root = locate(raw, CLASSES[0], "EuroSAT.zip unpacked (2750/<class>/<image>.jpg)")
    entries = [Entry(path, label, "") for path, label in class_folders(root, CLASSES, ".jpg")]
    return Reading(CLASSES, drawn(entries, fraction, policy.split_seed), root)


SPEC = DatasetSpec(
    id="eurosat",
    title="EuroSAT (RGB), land use, 70/30",
    domain="remote sensing",
    classes=10,
    counts={"train": 18900, "test": 8100},
    licence="MIT",
    citation="P. Helber et al., EuroSAT: A Novel Dataset and Deep Learning Benchmark for Land Use, IEEE JSTARS 2019",
    homepage="https://github.com/phelber/EuroSAT",
    hflip=True,
    read=partial(_read, 0.3),
    # Address and MD5 as torchvision publishes them.
    sources=(
        Source(
            "https://huggingface.co/datasets/torchgeo/eurosat/resolve/c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip",
            "EuroSAT.zip",
            md5="c8fa014336c82ac7804f0398fcb19387",
        ),
    ),
    note="no official split: drawn by data.split_seed; eurosat_80 has 80/20",
    split_digest="02f87f619a91ff30582bc2052ffd878df84cd4b6307c1bf459d6b1b03074a29e",
)

EIGHTY = replace(
    SPEC,
    id="eurosat_80",
    title="EuroSAT (RGB), land use, 80/20",
    counts={"train": 21600, "test": 5400},
    read=partial(_read, 0.2),
    raw="eurosat",
    note="no official split: drawn by data.split_seed; eurosat has 70/30",
    split_digest="a365da83baab42fbe3c091f464eca876b49b682cdc9e0e380ba82da660c1510c",
)
