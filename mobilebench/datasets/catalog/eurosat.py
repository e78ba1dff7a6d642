"""EuroSAT: ten kinds of land use seen by Sentinel-2, in RGB and in all 13 bands of 16 bits.

No official split: drawn 70/30, and 80/20. The split of the bands is that of the RGB images, which are of the same
places under the same names.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from mobilebench.datasets.acquire.listing import class_folders, locate
from mobilebench.datasets.readers import ArrayFiles
from mobilebench.datasets.spec import DataError, DatasetSpec, Entry, Reading, Source
from mobilebench.datasets.splits import drawn

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.config.recipe import DataPolicy

_TIF = "ds/images/remote_sensing/otherDatasets/sentinel_2/tif"  # where the archive has its class folders
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


BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B10", "B11", "B12", "B8A")
"""Sentinel-2's bands in the order of the TIFFs' channels."""


def _read(fraction: float, raw: Path, policy: DataPolicy) -> Reading:
    """List 2750/<class>/*.jpg and hold out a fraction of each class, drawn by the policy's split_seed."""
    root = locate(raw, CLASSES[0], "EuroSAT.zip unpacked (2750/<class>/<image>.jpg)")
    return _drawn(root, ".jpg", fraction, policy)


def _read_bands(raw: Path, policy: DataPolicy) -> Reading:
    """List tif/<class>/*.tif, and draw as for the RGB images."""
    return _drawn(_bands_root(raw), ".tif", 0.3, policy)


def _bands_root(raw: Path) -> Path:
    with suppress(DataError):
        return locate(raw, f"{_TIF}/{CLASSES[0]}", "") / _TIF
    return locate(raw, CLASSES[0], f"EuroSATallBands.zip unpacked ({_TIF}/<class>/<image>.tif)")


def _drawn(root: Path, suffix: str, fraction: float, policy: DataPolicy) -> Reading:
    entries = [Entry(path, label, "") for path, label in class_folders(root, CLASSES, suffix)]
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

ALL_BANDS = replace(
    SPEC,
    id="eurosat_ms",
    title="EuroSAT, all 13 bands, 70/30",
    read=_read_bands,
    raw="eurosat_ms",
    # Address and MD5 as TorchGeo publishes them.
    sources=(
        Source(
            "https://huggingface.co/datasets/torchgeo/eurosat/resolve/1ce6f1bfb56db63fd91b6ecc466ea67f2509774c/EuroSATallBands.zip",
            "EuroSATallBands.zip",
            md5="5ac12b3b2557aa56e1826e981e8e200e",
        ),
    ),
    needs="tifffile",
    channels=len(BANDS),
    dtype="uint16",
    reader=ArrayFiles(),
    rgb=(BANDS.index("B04"), BANDS.index("B03"), BANDS.index("B02")),
    split_digest="7b4e2c22087b2ca2c3978ee89b31afedfad7a05c0725d443334ba74656bc6572",
    note="the split of eurosat, drawn by data.split_seed; reflectances are stored as they are, 10,000 is 1",
)
