"""NEU surface defects: six kinds of 300 grey images of hot-rolled steel, 200 px. No official split: drawn 80/20.

Copies differ in their folders, and some come already split, each otherwise. So images are known by their names alone,
in whatever folder they lie, and the split is drawn over those: it is the same for every copy.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mobilebench.datasets.acquire.listing import entries_below
from mobilebench.datasets.spec import DataError, DatasetSpec, Entry, Reading
from mobilebench.datasets.splits import drawn

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.config.recipe import DataPolicy

_CODES = {
    "cr": "crazing",
    "in": "inclusion",
    "pa": "patches",
    "ps": "pitted_surface",
    "rs": "rolled-in_scale",
    "sc": "scratches",
}
CLASSES = tuple(_CODES.values())
_LABEL = {name: label for names in (_CODES, CLASSES) for label, name in enumerate(names)}
_NAME = re.compile(rf"({'|'.join(_LABEL)})_(\d+)\.(?:bmp|jpe?g|png|webp)", re.IGNORECASE)


def read(raw: Path, policy: DataPolicy) -> Reading:
    """List <kind>_<number>.bmp (or .jpg, .png, .webp) in any folders, the kind by its code (Cr_1.bmp) or its name."""

    def entry(name: str) -> Entry | None:
        named = _NAME.fullmatch(name)
        if named is None:
            return None
        label = _LABEL[named[1].lower()]
        return Entry(f"{CLASSES[label]}_{int(named[2])}", label, "")

    places = entries_below(raw, entry)
    if not places:
        raise DataError(
            f"{raw} holds no image of NEU; expected NEU-CLS's Cr_1.bmp ... Sc_300.bmp, or NEU-DET's crazing_1.jpg ..."
            " scratches_300.jpg, in any folders."
        )
    entries = sorted(places, key=lambda entry: (entry.label, int(entry.path.rpartition("_")[2])))
    return Reading(CLASSES, drawn(entries, 0.2, policy.split_seed), files=[places[entry] for entry in entries])


SPEC = DatasetSpec(
    id="neu",
    title="NEU surface defects of steel, 80/20",
    domain="surface defect",
    classes=6,
    counts={"train": 1440, "test": 360},
    licence="none stated",
    citation="K. Song and Y. Yan, A noise robust method for hot-rolled steel strip defects, Appl. Surf. Sci. 285, 2013",
    homepage="http://faculty.neu.edu.cn/songkechen/zh_CN/zdylm/263270/list/",
    hflip=True,
    read=read,
    by_hand=(
        "Get NEU-CLS (Cr_1.bmp ... Sc_300.bmp) from its homepage, or a copy of it with train and test folders, and pass"
        " the folder or the archive with --from."
    ),
    note="no official split: drawn by data.split_seed over all images, whatever folders a copy has them in",
    split_digest="da86b1b65bcb58ccdbf29eadd6beefcbe5d85305d20041679f63becc3de7766c",
)
