"""BreakHis: 7,909 microscopic images of breast tumours, benign or malignant, at four magnifications, a dataset each.

No official split by image exists. It is drawn 70/30 by image, as studies do, where images of one patient come to lie on
both sides; and by patient. Everything is in the file names: SOB_B_A-14-22549AB-40-001.png is of a benign (B) adenosis
(A) of the slide 14-22549AB, at 40x. Slides whose numbers differ in their letters only (22549AB, 22549CD), or that
are of two kinds of tumour, count as one patient: they may be.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from mobilebench.datasets.acquire.listing import entries_below
from mobilebench.datasets.spec import DataError, DatasetSpec, Entry, Reading
from mobilebench.datasets.splits import drawn

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.config.recipe import DataPolicy

_LABEL = {"B": 0, "M": 1}
CLASSES = ("benign", "malignant")
_NAME = re.compile(r"SOB_([BM])_[A-Z]{1,2}-(\d\d-\d+)[A-Z]*-(\d+)-\d+\.png")
TOTALS = {40: 1995, 100: 2081, 200: 2013, 400: 1820}
"""Images by magnification."""


def _read(magnification: int, by_patient: bool, raw: Path, policy: DataPolicy) -> Reading:  # noqa: FBT001 - of partial
    """List SOB_*-<magnification>-*.png in any folders and hold out 30 % of each class, of its images or patients."""

    def entry(name: str) -> Entry | None:
        named = _NAME.fullmatch(name)
        if named is None or int(named[3]) != magnification:
            return None
        return Entry(name, _LABEL[named[1]], "", named[2])

    places = entries_below(raw, entry)
    if not places:
        raise DataError(
            f"{raw} holds no image at {magnification}x; expected BreaKHis_v1.tar.gz unpacked, or any folders with"
            f" images named as SOB_B_A-14-22549AB-{magnification}-001.png."
        )
    entries = sorted(places)
    split = drawn(entries, 0.3, policy.split_seed, by_group=by_patient)
    return Reading(CLASSES, split, files=[places[entry] for entry in entries])


def _spec(magnification: int, *, by_patient: bool) -> DatasetSpec:
    total = TOTALS[magnification]
    test = -(-3 * total // 10)
    plain = f"breakhis_{magnification}"
    return DatasetSpec(
        id=f"{plain}_grouped" if by_patient else plain,
        title=f"BreakHis, breast tumours at {magnification}x, 70/30 by {'patient' if by_patient else 'image'}",
        domain="medical",
        classes=2,
        # how many fall on which side depends on the patients drawn
        counts={"all": total} if by_patient else {"train": total - test, "test": test},
        licence="research, on request",
        citation="F. Spanhol et al., A Dataset for Breast Cancer Histopathological Image Classification, TBME 2016",
        homepage="https://web.inf.ufpr.br/vri/databases/breast-cancer-histopathological-database-breakhis/",
        hflip=True,
        read=partial(_read, magnification, by_patient),
        by_hand=(
            "Ask for it on its homepage, download BreaKHis_v1.tar.gz, and pass that archive, or the folder it unpacks"
            " to, with --from."
        ),
        raw="breakhis",
        note="no patient is on both sides of the split"
        if by_patient
        else f"images of one patient lie on both sides of the split, as in studies by image; see {plain}_grouped",
    )


SPECS = tuple(_spec(magnification, by_patient=by) for magnification in TOTALS for by in (False, True))
