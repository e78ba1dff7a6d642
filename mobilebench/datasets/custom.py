"""Your own images as a dataset: a folder of class folders, or a CSV, named in params.yaml under `data_sources`."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mobilebench.datasets.acquire.listing import children, files_below
from mobilebench.datasets.file_digests import content_digests
from mobilebench.datasets.spec import SPLITS, DataError, DatasetSpec, Entry, Reading
from mobilebench.datasets.splits import holdout
from mobilebench.system.layout import DIGESTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mobilebench.config.data import OwnData
    from mobilebench.config.recipe import DataPolicy

COLUMNS = ("path", "label", "split", "group")


def spec_of(dataset_id: str, own: OwnData) -> DatasetSpec:
    """Return your own data as a dataset like any other."""
    return DatasetSpec(
        id=dataset_id,
        title=f"own data ({own.folder or own.csv})",
        domain="own data",
        classes=0,
        counts={},
        licence="yours",
        citation="",
        homepage="",
        hflip=own.hflip,
        read=partial(_read, own),
        fingerprint=partial(_fingerprint, own, DIGESTS / f"{dataset_id}.json"),
    )


def _read(own: OwnData, _raw: Path, policy: DataPolicy) -> Reading:
    reading = _read_folder(Path(own.folder)) if own.folder else _read_csv(own)
    entries = reading.entries
    if all(not entry.split for entry in entries):
        labels = [entry.label for entry in entries]
        groups = [entry.group for entry in entries]
        test = holdout(labels, fraction=0.2, seed=policy.split_seed, groups=groups)
        entries = [entry._replace(split="test" if i in test else "train") for i, entry in enumerate(entries)]
    _check_splits(own.folder or own.csv or "", reading.classes, entries)
    return replace(reading, entries=entries)


def _read_folder(folder: Path) -> Reading:
    if not folder.is_dir():
        raise DataError(f"data_sources: {folder} is not a folder; expected FOLDER/<class>/<image>.")
    top = [child.name for child in children(folder)]
    splits = SPLITS if {"train", "test"} <= set(top) <= set(SPLITS) else ("",)
    found = [
        (split, part.name, path)
        for split in splits
        if (folder / split).is_dir()
        for part in children(folder / split)
        for path in files_below(part)
    ]
    if not found:
        raise DataError(f"{folder} holds no images; expected FOLDER/<class>/<image> or FOLDER/train/<class>/<image>.")
    classes = tuple(sorted({name for _, name, _ in found}))
    entries = [Entry(path.relative_to(folder).as_posix(), classes.index(c), split) for split, c, path in found]
    return Reading(classes, entries, root=folder)


def _read_csv(own: OwnData) -> Reading:
    path = Path(own.csv or "")
    root = _root(own)
    lines = _lines(path)
    classes = _classes({line["label"] for line in lines})
    number = {name: i for i, name in enumerate(classes)}
    entries = [
        Entry(line["path"], number[line["label"]], line.get("split", ""), line.get("group", "")) for line in lines
    ]
    _check_paths(path, root, entries)
    return Reading(classes, entries, root=root)


def _lines(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.DictReader(file, restval="", strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"data_sources: {path} cannot be read as a CSV ({error}).") from error
    names = list(lines[0]) if lines else []
    if not lines or not {"path", "label"} <= set(names) <= set(COLUMNS):
        raise DataError(
            f"{path} has {len(lines)} lines and columns {', '.join(map(str, names)) or 'none'}; expected columns"
            " path,label and optionally split,group, and at least one line."
        )
    for number, line in enumerate(lines, start=2):
        if not line["path"] or not line["label"]:
            raise DataError(f"{path}, line {number}: path and label must not be empty (found {line}).")
    return lines


def _classes(names: set[str]) -> tuple[str, ...]:
    """Return class names in order: whole numbers by value, so that 10 follows 9; anything else by name."""
    if all(name.isdecimal() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _check_paths(path: Path, root: Path, entries: Sequence[Entry]) -> None:
    twice = [name for name, n in Counter(entry.path for entry in entries).items() if n > 1]
    if twice:
        raise DataError(f"{path} lists {len(twice)} paths more than once: {', '.join(twice[:5])}.")
    absent = [entry.path for entry in entries if not (root / entry.path).is_file()]
    if absent:
        raise DataError(
            f"{path} lists {len(absent)} files that are not below {root}: {', '.join(absent[:5])}; set root to the"
            " folder that the paths start from."
        )


def _check_splits(name: str, classes: Sequence[str], entries: Sequence[Entry]) -> None:
    odd = sorted({entry.split for entry in entries} - set(SPLITS))
    if odd:
        raise DataError(f"{name}: split is {odd[0]!r}; allowed: train, val, test, or no split column at all.")
    for split in ("train", "test"):
        if not any(entry.split == split for entry in entries):
            raise DataError(f"{name} has no {split} images; expected at least train and test.")
    untrained = sorted(set(range(len(classes))) - {entry.label for entry in entries if entry.split == "train"})
    if untrained or len(classes) < 2:
        what = (
            f"class {classes[untrained[0]]!r} has no train images" if untrained else f"only one class, {classes[0]!r}"
        )
        raise DataError(f"{name}: {what}; a dataset needs two classes or more, each with train images.")


def _fingerprint(own: OwnData, cache: Path) -> str:
    """Return the sha256 (hex) of the images' names below their folder and contents, and of a CSV; "" if absent.

    Where the folder is does not matter.
    """
    content = hashlib.sha256()
    if own.csv:
        path = Path(own.csv)
        if not path.is_file():
            return ""
        content.update(path.read_bytes())
        root = _root(own)
        names = [line["path"] for line in _lines(path)]
        files = [root / name for name in names]
    else:
        root = Path(own.folder or "")
        if not root.is_dir():
            return ""
        files = files_below(root)
        names = [path.relative_to(root).as_posix() for path in files]
    for name, digest in zip(names, content_digests(files, cache), strict=True):
        content.update(f"{name}\t{digest}\n".encode())
    return content.hexdigest()


def _root(own: OwnData) -> Path:
    return Path(own.root) if own.root is not None else Path(own.csv or "").parent
