"""CCT-20: photos by camera traps at twenty places, 15 kinds of animals and cars, split by the official lists.

Tested at the places of train (cis), and at new ones (trans). Each image counts once: a study has it once an annotation,
so that a photo of two animals counts twice. Photos of nothing ("empty") are left out, as in that study, and so are the
few of several kinds, whose label would be any of them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from mobilebench.datasets.acquire.listing import files_in, locate
from mobilebench.datasets.spec import DataError, DatasetSpec, Entry, Reading, Source

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mobilebench.config.recipe import DataPolicy

IDS = (1, 3, 5, 6, 7, 8, 9, 10, 11, 16, 21, 33, 34, 51, 99)
"""The categories' numbers in the files, in the order of the classes."""
_EMPTY = 30
_LISTS = "eccv_18_annotation_files"
_IMAGES = "eccv_18_all_images_sm"


def _read(val: str, test: str, raw: Path, _policy: DataPolicy) -> Reading:
    """List the images of <part>_annotations.json that show one of the 15 kinds: train, and what val and test name."""
    lists = locate(raw, _LISTS, f"eccv_18_annotations.tar.gz unpacked ({_LISTS}/train_annotations.json ...)") / _LISTS
    images = locate(raw, _IMAGES, f"eccv_18_all_images_sm.tar.gz unpacked ({_IMAGES}/<id>.jpg)")
    there = {path.name for path in files_in(images / _IMAGES)}
    names: dict[int, str] = {}
    entries: dict[str, Entry] = {}
    for part, split in (("train", "train"), (val, "val"), (test, "test")):
        path = lists / f"{part}_annotations.json"
        for entry in _entries(path, split, names):
            if entry.path.removeprefix(f"{_IMAGES}/") not in there:
                raise DataError(f"{images / _IMAGES} lacks {entry.path}, which {path} lists: unpack the archive again.")
            if entries.setdefault(entry.path, entry) is not entry:
                raise DataError(f"{path} lists {entry.path}, which another list or line has: unpack the archive again.")
    return Reading(tuple(names[number] for number in IDS), sorted(entries.values()), images)


def _entries(path: Path, split: str, names: dict[int, str]) -> list[Entry]:
    """Return the entries of one list; `names` are the categories' so far, and are added to. Raises DataError."""
    try:
        content = json.loads(path.read_bytes())
        categories = {int(category["id"]): str(category["name"]) for category in content["categories"]}
        kinds: defaultdict[str, set[int]] = defaultdict(set)
        for annotation in content["annotations"]:
            kinds[str(annotation["image_id"])].add(int(annotation["category_id"]))
        entries = [entry for image in content["images"] if (entry := _entry(image, kinds, split))]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(
            f"{path} is not the official list ({type(error).__name__}: {error}); fetch it again."
        ) from error
    used = set().union(*kinds.values())
    other = [number for number, name in categories.items() if names.setdefault(number, name) != name]
    odd = sorted((used - {*IDS, _EMPTY}) | (set(IDS) - set(categories)) | set(other))
    if odd:
        raise DataError(
            f"{path}: category {odd[0]} is used without being one of the official ones, has no name, or another than in"
            " another list; fetch it again."
        )
    return entries


def _entry(image: Mapping[str, Any], kinds: Mapping[str, set[int]], split: str) -> Entry | None:
    """Return the entry of an image, None for one of no kind or of several."""
    name = str(image["id"])
    shown = kinds.get(name, set()) - {_EMPTY}
    if len(shown) != 1 or not shown <= set(IDS):
        return None
    return Entry(f"{_IMAGES}/{name}.jpg", IDS.index(shown.pop()), split, str(image["location"]))


_LILA = "https://storage.googleapis.com/public-datasets-lila/caltechcameratraps/"

SPEC = DatasetSpec(
    id="cct20",
    title="CCT-20, camera traps, tested at the places of train",
    domain="camera trap",
    classes=15,
    counts={},
    licence="CDLA-Permissive",
    citation="S. Beery, G. Van Horn, P. Perona, Recognition in Terra Incognita, ECCV 2018",
    homepage="https://lila.science/datasets/caltech-camera-traps",
    hflip=True,
    read=partial(_read, "cis_val", "cis_test"),
    # Addresses as projects that use the set quote those of its owners, checksums as two of them state.
    sources=(
        Source(
            f"{_LILA}eccv_18_annotations.tar.gz",
            "eccv_18_annotations.tar.gz",
            md5="66a1f481b44aa1edadf75c9cfbd27aba",
            size=2997071,
            unverified=True,
        ),
        Source(
            f"{_LILA}eccv_18_all_images_sm.tar.gz",
            "eccv_18_all_images_sm.tar.gz",
            md5="8143c17aa2a12872b66f284ff211531f",
            size=6492615601,
            unverified=True,
        ),
    ),
    by_hand=(
        "Open https://lila.science/datasets/caltech-camera-traps, download the images and metadata of CCT-20"
        " (eccv_18_all_images_sm.tar.gz, eccv_18_annotations.tar.gz) into one folder, and pass it with --from."
    ),
    note=(
        "official lists train, cis_val, cis_test: the same places in all three; each image once; images of nothing and"
        " of several kinds are left out; see cct20_trans"
    ),
)

TRANS = replace(
    SPEC,
    id="cct20_trans",
    title="CCT-20, camera traps, tested at places that train has not",
    read=partial(_read, "trans_val", "trans_test"),
    raw="cct20",
    note=(
        "official lists train, trans_val, trans_test: no place of train in the others; each image once; images of"
        " nothing and of several kinds are left out; see cct20"
    ),
)
