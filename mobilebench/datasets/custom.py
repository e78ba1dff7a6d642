"""Your own images as a dataset: a folder of class folders, or a CSV, named in params.yaml under `data_sources`."""

from __future__ import annotations

import hashlib
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mobilebench.datasets.acquire.listing import children, files_in, is_there
from mobilebench.datasets.class_names import check_distinct, ordered
from mobilebench.datasets.custom_csv import check_present, list_csv, read_bytes
from mobilebench.datasets.custom_folder import list_folder
from mobilebench.datasets.custom_image import check_listed_once
from mobilebench.datasets.file_digests import content_digests
from mobilebench.datasets.labels import class_numbers
from mobilebench.datasets.readers import ArrayFiles
from mobilebench.datasets.spec import ClassLabel, DataError, DatasetSpec, Entry, Reading
from mobilebench.datasets.splits import holdout
from mobilebench.evaluation.target import ONE_CLASS
from mobilebench.system.layout import DIGESTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mobilebench.config.data import OwnData
    from mobilebench.config.recipe import DataPolicy
    from mobilebench.datasets.custom_image import OwnImage


def spec_of(dataset_id: str, own: OwnData) -> DatasetSpec:
    """Return your own data as a dataset like any other."""
    return DatasetSpec(
        id=dataset_id,
        title=f"own data ({own.folder or own.csv})",
        domain=own.domain or "",
        classes=len(own.class_names),
        counts={},
        licence="yours",
        citation="",
        homepage="",
        hflip=own.hflip,
        megapixels=own.max_megapixels,
        read=partial(_read, own),
        fingerprint=partial(_fingerprint, own, DIGESTS / f"{dataset_id}.json"),
        target=own.target,
        metric=own.metric or "",
        images_from=own.images_from or "",
        channels=own.channels,
        dtype=own.dtype,
        reader=None if (own.channels, own.dtype) == (3, "uint8") else ArrayFiles(),
    )


def _read(own: OwnData, _raw: Path, policy: DataPolicy) -> Reading:
    images, where, root = _listed(own), own.folder or own.csv or "", _root(own)
    if own.csv:
        check_present(Path(own.csv), root, images)
    check_listed_once(where, root, images)
    classes = ordered(where, own, (name for image in images for name in image.labels))
    number = {name: i for i, name in enumerate(classes)}
    absent = sorted(set(classes) - {name for image in images for name in image.labels})
    if absent:
        raise DataError(f"{where}: no image is of {', '.join(absent[:5])}; take it out of classes in data_sources.")
    entries = [
        Entry(image.name, _label(own, [number[name] for name in image.labels]), image.split, image.group)
        for image in images
    ]
    if all(not entry.split for entry in entries):
        entries = _drawn(where, classes, entries, policy.split_seed)
    _check_splits(where, classes, entries)
    return Reading(classes, entries, files=[image.place for image in images])


def _listed(own: OwnData) -> list[OwnImage]:
    check_distinct("data_sources: classes", own.class_names)
    if own.folder is not None:
        return list_folder(Path(own.folder), own)
    path = Path(own.csv or "")
    return list_csv(path, read_bytes(path), _root(own), own)


def _label(own: OwnData, numbers: Sequence[int]) -> ClassLabel:
    return numbers[0] if own.target in ONE_CLASS else tuple(sorted(numbers))


def _drawn(where: str, classes: Sequence[str], entries: Sequence[Entry], seed: int) -> list[Entry]:
    """Return the entries with about a fifth of each class in test, groups whole."""
    units = Counter(n for n, _ in {(n, e.group or e.path) for e in entries for n in class_numbers(e.label)})
    alone = [classes[label] for label in range(len(classes)) if units[label] < 2]
    if len(classes) > 1 and alone:
        raise DataError(
            f"{where}: cannot hold out a fifth of each class, for {len(alone)} have a single image or group:"
            f" {', '.join(alone[:5])}. Add images, leave these classes out, or say yourself what is train and test"
            " (folders train and test, or a split column)."
        )
    groups = [entry.group for entry in entries]
    test = holdout([entry.label for entry in entries], fraction=0.2, seed=seed, groups=groups)
    return [entry._replace(split="test" if i in test else "train") for i, entry in enumerate(entries)]


def _check_splits(where: str, classes: Sequence[str], entries: Sequence[Entry]) -> None:
    if any(not entry.split for entry in entries):
        raise DataError(f"{where}: split is '' in some lines; give it in all, or leave the column out.")
    for split in ("train", "test"):
        if not any(entry.split == split for entry in entries):
            val = any(entry.split == "val" for entry in entries)
            advice = (
                "; to be tested on the val images, write `test: val` beside `csv`" if split == "test" and val else ""
            )
            raise DataError(f"{where} has no {split} images; expected at least train and test{advice}.")
    trained = {n for entry in entries if entry.split == "train" for n in class_numbers(entry.label)}
    untrained = sorted(set(range(len(classes))) - trained)
    if untrained or len(classes) < 2:
        what = (
            f"class {classes[untrained[0]]!r} has no train images" if untrained else f"only one class, {classes[0]!r}"
        )
        raise DataError(f"{where}: {what}; a dataset needs two classes or more, each with train images.")


def _fingerprint(own: OwnData, cache: Path) -> str:
    """Return a digest of the CSV and of settings, a dash, and one of the images' names and contents.

    Where the folder is does not matter. Without CSV and settings it is the second digest alone. Nothing follows the
    dash where the images are not on this machine; "" says that nothing is known.
    """
    if own.csv and not is_there(Path(own.csv)):
        return ""
    content = read_bytes(Path(own.csv)) if own.csv else b""
    said = f"\ttest\t{own.test}" if own.test is not None else ""
    said += "".join(f"\tclass\t{name}" for name in own.class_names)
    settings = f"{hashlib.sha256(content + said.encode()).hexdigest()}-" if own.csv or said else ""
    if own.folder and _is_empty(Path(own.folder)):
        return settings or "-"
    images = _listed(own)
    digests = content_digests([image.place for image in images], cache)
    if own.csv and not any(is_there(image.place) for image in images):
        return settings
    named = "".join(f"{image.name}\t{digest}\n" for image, digest in zip(images, digests, strict=True))
    return settings + hashlib.sha256(named.encode()).hexdigest()


def _is_empty(folder: Path) -> bool:
    """Return whether a folder is absent, or holds nothing: a place to mount one."""
    return not is_there(folder) or (folder.is_dir() and not children(folder) and not files_in(folder))


def _root(own: OwnData) -> Path:
    if own.folder is not None:
        return Path(own.folder)
    return Path(own.root) if own.root is not None else Path(own.csv or "").parent
