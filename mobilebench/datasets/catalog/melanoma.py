"""Melanoma, benign or malignant: 33,126 images of SIIM-ISIC 2020 and 25,331 of ISIC 2019, as JPEGs of 512 px.

They are two sets that C. Deotte put on Kaggle, whose column tfrecord deals the images out in folds, -1 being for
duplicates, which are left out. `melanoma` is split as a study did it: of each year four fifths of the folds are train,
drawn with seed 23. Only 2020 says which patient an image is of, and by folds the images of one come to lie on both
sides. `melanoma_grouped` is split 80/20 by patient, where an image of 2019 counts as one of its own.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mobilebench.datasets.acquire.listing import locate
from mobilebench.datasets.acquire.tables import check_present, rows, whole
from mobilebench.datasets.spec import DataError, DatasetSpec, Entry, Reading
from mobilebench.datasets.splits import drawn

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mobilebench.config.recipe import DataPolicy

CLASSES = ("benign", "malignant")
YEARS = {2020: ("melanoma-2020", "jpeg-melanoma-512x512"), 2019: ("melanoma-2019", "jpeg-isic2019-512x512")}
"""Names that the folder of a year may have, in the order in which folds are drawn."""
_NO_PATIENT = frozenset({"", "-1"})
_FOLDS = range(-1, 1000)


class _Image(NamedTuple):
    """One image: its entry, split still "", the fold it is in and its file."""

    entry: Entry
    fold: int
    file: Path


def _images(raw: Path, year: int) -> list[_Image]:
    """Return the images of a year in the order of their names, duplicates left out."""
    table = _folder(raw, year) / "train.csv"
    folder = table.parent / "train"
    lines = rows(table, ("image_name", "target", "tfrecord"), key="image_name", optional=("patient_id",))
    check_present(table, folder, (f"{line.cells['image_name']}.jpg" for line in lines))
    found = []
    for line in lines:
        name, patient = line.cells["image_name"], line.cells["patient_id"]
        if year == 2020 and patient in _NO_PATIENT:
            raise DataError(f"{table}, line {line.number}: patient_id is {patient!r}, expected an id; fetch it again.")
        group = "" if patient in _NO_PATIENT else patient
        label, fold = whole(table, line, "target", range(len(CLASSES))), whole(table, line, "tfrecord", _FOLDS)
        if fold >= 0:
            found.append(_Image(Entry(f"{year}/{name}.jpg", label, "", group), fold, folder / f"{name}.jpg"))
    return sorted(found)


def _folder(raw: Path, year: int) -> Path:
    for name in YEARS[year]:
        with suppress(DataError):
            return locate(raw, f"{name}/train.csv", "") / name
    raise DataError(
        f"{raw} holds no {YEARS[year][0]}/train.csv; expected folders melanoma-2020 and melanoma-2019, each with"
        " train.csv and train/<image>.jpg."
    )


def _read_folds(raw: Path, _policy: DataPolicy) -> Reading:
    """Hold out a fifth of each year's folds, drawn with the study's seed, whatever data.split_seed is."""
    rng = np.random.RandomState(23)  # the generator that the study drew with
    images = []
    for year in YEARS:
        some = _images(raw, year)
        folds = sorted({image.fold for image in some})
        train = set(rng.choice(folds, len(folds) * 4 // 5, replace=False).tolist())
        images += [
            image._replace(entry=image.entry._replace(split="train" if image.fold in train else "test"))
            for image in some
        ]
    return _reading([image.entry for image in images], images)


def _read_grouped(raw: Path, policy: DataPolicy) -> Reading:
    """Hold out 20 % of the patients and of the images without one, of each class, drawn by the policy's split_seed."""
    images = [image for year in YEARS for image in _images(raw, year)]
    return _reading(drawn([image.entry for image in images], 0.2, policy.split_seed), images)


def _reading(entries: Sequence[Entry], images: Sequence[_Image]) -> Reading:
    return Reading(CLASSES, entries, files=[image.file for image in images])


def _spec(*, by_patient: bool) -> DatasetSpec:
    return DatasetSpec(
        id="melanoma_grouped" if by_patient else "melanoma",
        title=f"SIIM-ISIC melanoma of 2020 and 2019, 80/20 by {'patient' if by_patient else 'fold'}",
        domain="medical",
        classes=2,
        counts={},
        licence="CC BY-NC 4.0",
        citation=(
            "V. Rotemberg et al., A patient-centric dataset of images and metadata for identifying melanomas, Sci. Data"
            " 8:34, 2021; ISIC 2019: HAM10000, BCN_20000 and MSK"
        ),
        homepage="https://www.kaggle.com/competitions/siim-isic-melanoma-classification",
        hflip=True,
        read=_read_grouped if by_patient else _read_folds,
        by_hand=(
            "Log in to Kaggle and download the data sets cdeotte/jpeg-melanoma-512x512 and"
            " cdeotte/jpeg-isic2019-512x512. Unpack the first into a folder melanoma-2020, the second into a folder"
            " melanoma-2019 beside it (each then holds train.csv and train/), and pass the folder that holds both with"
            " --from."
        ),
        raw="melanoma",
        note="no patient of 2020 is on both sides of the split; 2019 does not say whose its images are"
        if by_patient
        else (
            "the split of a study, whatever data.split_seed is: images of one patient lie on both sides; see"
            " melanoma_grouped"
        ),
        metric="roc_auc",
    )


SPECS = tuple(_spec(by_patient=by) for by in (False, True))
