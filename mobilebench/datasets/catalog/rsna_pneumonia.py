"""RSNA pneumonia: chest X-rays of 26,684 patients, one each, in DICOM. A table has a line for each box that marks one.

The labels of its test part are not public, so train is split 80/20: by line of that table (30,227), as a study did,
where an image with several boxes counts as often and comes to lie on both sides; and by patient, each image once.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from mobilebench.datasets.acquire.listing import locate
from mobilebench.datasets.acquire.tables import check_present, rows, whole
from mobilebench.datasets.spec import DataError, DatasetSpec, Entry, Reading
from mobilebench.datasets.splits import drawn

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.config.recipe import DataPolicy

CLASSES = ("no pneumonia", "pneumonia")
_TABLE = "stage_2_train_labels.csv"
_FOLDER = "stage_2_train_images"


def _read(by_patient: bool, raw: Path, policy: DataPolicy) -> Reading:  # noqa: FBT001 - of partial
    """List an entry a line of the table, or one a patient, and hold out 20 % of each class, drawn by split_seed.

    An entry is named after the patient: ID.dcm, ID-2.dcm ... by line; all of them are the image ID.dcm.
    """
    root = locate(raw, _TABLE, f"rsna-pneumonia-detection-challenge.zip unpacked ({_TABLE}, {_FOLDER})")
    table = root / _TABLE
    lines = rows(table, ("patientId", "Target"))
    check_present(table, root / _FOLDER, (f"{line.cells['patientId']}.dcm" for line in lines))
    label: dict[str, int] = {}
    entries = []
    count = Counter[str]()
    for line in lines:
        patient, target = line.cells["patientId"], whole(table, line, "Target", range(len(CLASSES)))
        if label.setdefault(patient, target) != target:
            raise DataError(
                f"{table}, line {line.number}: Target of {patient} is {target}, an earlier line has another."
            )
        count[patient] += 1
        again = f"-{count[patient]}" if count[patient] > 1 else ""
        if not (again and by_patient):
            entries.append(Entry(f"{patient}{again}.dcm", target, "", patient))
    entries.sort(key=lambda entry: (entry.group, len(entry.path), entry.path))
    split = drawn(entries, 0.2, policy.split_seed, by_group=by_patient)
    return Reading(CLASSES, split, files=[root / _FOLDER / f"{entry.group}.dcm" for entry in entries])


def _spec(*, by_patient: bool) -> DatasetSpec:
    return DatasetSpec(
        id="rsna_pneumonia_grouped" if by_patient else "rsna_pneumonia",
        title=f"RSNA pneumonia, 80/20 by {'patient' if by_patient else 'line of its table'}",
        domain="medical",
        classes=2,
        counts={"train": 21347, "test": 5337} if by_patient else {"train": 24181, "test": 6046},
        licence="research",
        citation="G. Shih et al., Augmenting the NIH Chest Radiograph Dataset, Radiology: AI 1(1), 2019",
        homepage="https://www.kaggle.com/competitions/rsna-pneumonia-detection-challenge",
        hflip=True,
        read=partial(_read, by_patient),
        needs="pydicom",
        by_hand=(
            "Log in to Kaggle, accept the rules of the competition rsna-pneumonia-detection-challenge, download"
            " rsna-pneumonia-detection-challenge.zip from its page (or by `kaggle competitions download -c"
            " rsna-pneumonia-detection-challenge`), and pass that archive, or the folder it unpacks to, with --from."
        ),
        raw="rsna_pneumonia",
        note="no patient is on both sides of the split, and each has one image"
        if by_patient
        else (
            "one entry a box, as in a study: images with several boxes count as often, and lie on both sides of the"
            " split; see rsna_pneumonia_grouped"
        ),
    )


SPECS = tuple(_spec(by_patient=by) for by in (False, True))
