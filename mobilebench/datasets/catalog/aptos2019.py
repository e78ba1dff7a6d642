"""APTOS 2019: 3,662 photos of retinas, five grades of diabetic retinopathy. Labels of its test part are not public."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilebench.datasets.acquire.listing import locate
from mobilebench.datasets.acquire.tables import check_present, rows, whole
from mobilebench.datasets.spec import DatasetSpec, Entry, Reading
from mobilebench.datasets.splits import drawn

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.config.recipe import DataPolicy

GRADES = ("none", "mild", "moderate", "severe", "proliferative")


def read(raw: Path, policy: DataPolicy) -> Reading:
    """List train_images as train.csv says, and hold out 20 % of each grade, drawn by the policy's split_seed."""
    root = locate(raw, "train.csv", "aptos2019-blindness-detection.zip unpacked (train.csv, train_images)")
    table = root / "train.csv"
    lines = rows(table, ("id_code", "diagnosis"), key="id_code")
    check_present(table, root / "train_images", (f"{line.cells['id_code']}.png" for line in lines))
    entries = sorted(
        Entry(f"train_images/{line.cells['id_code']}.png", whole(table, line, "diagnosis", range(len(GRADES))), "")
        for line in lines
    )
    return Reading(GRADES, drawn(entries, 0.2, policy.split_seed), root)


SPEC = DatasetSpec(
    id="aptos2019",
    title="APTOS 2019 diabetic retinopathy, 80/20 of its train part",
    domain="medical",
    classes=5,
    counts={"train": 2929, "test": 733},
    licence="research",
    citation="Asia Pacific Tele-Ophthalmology Society, APTOS 2019 Blindness Detection, Kaggle, 2019",
    homepage="https://www.kaggle.com/competitions/aptos2019-blindness-detection",
    hflip=True,
    read=read,
    by_hand=(
        "Log in to Kaggle, accept the rules of the competition aptos2019-blindness-detection, download"
        " aptos2019-blindness-detection.zip from its page (or by `kaggle competitions download -c"
        " aptos2019-blindness-detection`), and pass that archive, or the folder it unpacks to, with --from."
    ),
    note="the labels of the official test part are not public: 20 % of train are test, drawn by data.split_seed",
    target="ordinal",
    metric="qwk",
)
