"""HAM10000: 10,015 dermatoscopic images of 7,470 lesions, split by image as in the paper, by lesion, and as released.

No official split exists. Splits are drawn over the images sorted by id, so that the order of a metadata file is of no
consequence; only the released code's own split follows the file's order, because that code does.
"""

from __future__ import annotations

import csv
from dataclasses import replace
from typing import TYPE_CHECKING

from mobilebench.datasets.acquire.listing import files_below
from mobilebench.datasets.spec import DataError, DatasetSpec, Entry, Reading, Source
from mobilebench.datasets.splits import draw, holdout

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mobilebench.config.recipe import DataPolicy

CLASSES = {
    "akiec": "actinic keratosis",
    "bcc": "basal cell carcinoma",
    "bkl": "benign keratosis",
    "df": "dermatofibroma",
    "mel": "melanoma",
    "nv": "melanocytic nevus",
    "vasc": "vascular lesion",
}
_LABEL = {dx: label for label, dx in enumerate(CLASSES)}
_METADATA = ("HAM10000_metadata.csv", "HAM10000_metadata.tab", "HAM10000_metadata")


def _images(raw: Path) -> tuple[Sequence[Entry], list[Path]]:
    """Return an entry (split still "") and a file per line of the metadata, in its order."""
    below = files_below(raw) if raw.is_dir() else []
    tables = [path for name in _METADATA for path in below if path.name == name]
    if not tables:
        raise DataError(
            f"{raw} holds no HAM10000_metadata.csv (or .tab); expected it beside the two image parts,"
            " HAM10000_images_part_1 and HAM10000_images_part_2."
        )
    # Kaggle's archive holds every image twice, in folders that differ in case: the first of a name is taken.
    places = {path.stem: path for path in reversed(below) if path.suffix.lower() == ".jpg"}
    lines = _lines(tables[0])
    absent = [image for image, _, _ in lines if image not in places]
    if absent:
        raise DataError(
            f"{raw} lacks {len(absent)} of the {len(lines)} images in {tables[0].name}, for example {absent[0]}.jpg;"
            " expected both image parts."
        )
    entries = [Entry(f"{image}.jpg", _LABEL[dx], "", lesion) for image, lesion, dx in lines]
    return entries, [places[image] for image, _, _ in lines]


def _lines(table: Path) -> list[tuple[str, str, str]]:
    """Return (image_id, lesion_id, dx) per line of the metadata, comma- or tab-separated."""
    try:
        text = table.read_text(encoding="utf-8-sig")
        delimiter = "\t" if "\t" in text.partition("\n")[0] else ","
        rows = list(csv.DictReader(text.splitlines(), delimiter=delimiter, strict=True))
        lines = [(row["image_id"], row["lesion_id"], row["dx"]) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise DataError(f"{table} is not the HAM10000 metadata ({type(error).__name__}: {error}).") from error
    odd = sorted({str(dx) for _, _, dx in lines} - set(CLASSES))
    if odd or not lines:
        raise DataError(f"{table} has {len(lines)} lines and unknown diagnoses {odd}; known: {', '.join(CLASSES)}.")
    if len({image for image, _, _ in lines}) != len(lines):
        raise DataError(f"{table} lists an image_id more than once; fetch it again.")
    return lines


def _sorted(raw: Path) -> tuple[list[Entry], list[Path]]:
    pairs = sorted(zip(*_images(raw), strict=True))
    return [entry for entry, _ in pairs], [path for _, path in pairs]


def _reading(entries: Sequence[Entry], files: list[Path], test: set[int], val: frozenset[int] = frozenset()) -> Reading:
    def split(i: int) -> str:
        return "test" if i in test else "val" if i in val else "train"

    return Reading(tuple(CLASSES), [e._replace(split=split(i)) for i, e in enumerate(entries)], files=files)


def read(raw: Path, policy: DataPolicy) -> Reading:
    """Split 70/30 by image, stratified by diagnosis: images of one lesion come to lie on both sides."""
    entries, files = _sorted(raw)
    return _reading(entries, files, holdout([e.label for e in entries], fraction=0.3, seed=policy.split_seed))


def read_grouped(raw: Path, policy: DataPolicy) -> Reading:
    """Split 70/30 by lesion, stratified by diagnosis: no lesion is on both sides."""
    entries, files = _sorted(raw)
    labels, lesions = [e.label for e in entries], [e.group for e in entries]
    return _reading(entries, files, holdout(labels, fraction=0.3, seed=policy.split_seed, groups=lesions))


def read_released(raw: Path, _policy: DataPolicy) -> Reading:
    """Split 70/15/15 by image with seed 42, as the released code does (7,009/1,503/1,503).

    Test is drawn first, from the lines in the metadata's order; val then from the rest, in the order in which that
    draw leaves it. Both are stratified by diagnosis. The released code never used its val part.
    """
    entries, files = _images(raw)
    labels = [e.label for e in entries]
    rest, test = draw(range(len(entries)), labels, fraction=0.15, seed=42)
    _, val = draw(rest, [labels[i] for i in rest], fraction=0.15 / 0.85, seed=42)
    return _reading(entries, files, set(test), frozenset(val))


_DATAVERSE = "https://dataverse.harvard.edu/api/access/datafile/"

SPEC = DatasetSpec(
    id="ham10k",
    title="HAM10000 dermatoscopy, 70/30 by image",
    domain="medical",
    classes=7,
    counts={"train": 7010, "test": 3005},
    licence="CC BY-NC 4.0",
    citation="P. Tschandl, C. Rosendahl, H. Kittler, The HAM10000 dataset, Scientific Data 5:180161, 2018",
    homepage="https://doi.org/10.7910/DVN/DBW86T",
    hflip=True,
    read=read,
    sources=(
        Source(f"{_DATAVERSE}4338392", "HAM10000_metadata.tab", archive=False),
        Source(f"{_DATAVERSE}3172585", "HAM10000_images_part_1.zip"),
        Source(f"{_DATAVERSE}3172584", "HAM10000_images_part_2.zip"),
    ),
    by_hand=(
        "Open https://doi.org/10.7910/DVN/DBW86T, accept the terms of use and download HAM10000_metadata,"
        " HAM10000_images_part_1.zip and HAM10000_images_part_2.zip into one folder (or download the Kaggle archive"
        " kmader/skin-cancer-mnist-ham10000); then pass that folder (or the archive) with --from."
    ),
    note="images of one lesion lie on both sides of the split, as in the paper; see ham10k_grouped",
    split_digest="4f52fca7e690e95075acba089546e104a1081ca8f4e534090c8cba682b6d3175",
)

GROUPED = replace(
    SPEC,
    id="ham10k_grouped",
    title="HAM10000 dermatoscopy, 70/30 by lesion",
    counts={"all": 10015},  # how many fall on which side depends on the lesions drawn
    read=read_grouped,
    raw="ham10k",
    note="no lesion is on both sides of the split",
    split_digest="acb0791135875c241d496523c8b159bd2d4f6fff8df44fd287a10f4989d61e7e",
)

RELEASED = replace(
    SPEC,
    id="ham10k_released",
    title="HAM10000 dermatoscopy, 70/15/15 by image as in the paper's released code",
    counts={"train": 7009, "val": 1503, "test": 1503},
    read=read_released,
    raw="ham10k",
    version=2,
    note="the released code never used its val part; data.val_fraction does not apply",
    split_digest="",  # depends on the order of the metadata file
)
