"""Cassava leaf disease: 21,397 photos of leaves, four diseases and none. The labels of its test part are not public."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilebench.datasets.acquire.listing import locate
from mobilebench.datasets.acquire.tables import check_present, rows, whole
from mobilebench.datasets.spec import DatasetSpec, Entry, Reading
from mobilebench.datasets.splits import drawn

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.config.recipe import DataPolicy

CLASSES = (
    "bacterial blight",
    "brown streak disease",
    "green mottle",
    "mosaic disease",
    "healthy",
)


def read(raw: Path, policy: DataPolicy) -> Reading:
    """List train_images as train.csv says, and hold out 20 % of each class, drawn by the policy's split_seed."""
    root = locate(raw, "train.csv", "cassava-leaf-disease-classification.zip unpacked (train.csv, train_images)")
    table = root / "train.csv"
    lines = rows(table, ("image_id", "label"), key="image_id")
    check_present(table, root / "train_images", (line.cells["image_id"] for line in lines))
    entries = sorted(
        Entry(f"train_images/{line.cells['image_id']}", whole(table, line, "label", range(len(CLASSES))), "")
        for line in lines
    )
    return Reading(CLASSES, drawn(entries, 0.2, policy.split_seed), root)


SPEC = DatasetSpec(
    id="cassava",
    title="Cassava leaf disease, 80/20 of its train part",
    domain="plant",
    classes=5,
    counts={"train": 17117, "test": 4280},
    licence="research",
    citation="E. Mwebaze et al., iCassava 2019 Fine-Grained Visual Categorization Challenge, arXiv:1908.02900",
    homepage="https://www.kaggle.com/competitions/cassava-leaf-disease-classification",
    hflip=True,
    read=read,
    by_hand=(
        "Log in to Kaggle, accept the rules of the competition cassava-leaf-disease-classification, download"
        " cassava-leaf-disease-classification.zip from its page (or by `kaggle competitions download -c"
        " cassava-leaf-disease-classification`), and pass that archive, or the folder it unpacks to, with --from."
    ),
    note="the labels of the official test part are not public: 20 % of train are test, drawn by data.split_seed",
)
