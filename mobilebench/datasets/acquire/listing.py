"""Listing folders in an order that no file system changes. Links are followed, and nothing is left out unsaid."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mobilebench.datasets.spec import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mobilebench.datasets.spec import Entry

# What file managers, network storage and file systems leave beside images, in lower case. macOS's ._* and .DS_Store,
# QNAP's .@__thumb, snapshots and other hidden names begin with a dot.
_LITTER = {
    "@eadir", "@tmp", "@sharebin", "@recycle", "@recently-snapshot", "#recycle", "#snapshot",  # Synology, QNAP
    "~snapshot", "lost+found", "network trash folder", "temporary items",  # NetApp, ext4, netatalk
    "$recycle.bin", "system volume information", "thumbs.db", "ehthumbs.db", "desktop.ini",  # Windows
    "__macosx", "icon\r",  # macOS
}  # fmt: skip


class _Content(NamedTuple):
    """What a folder holds, hidden names and litter left out, in the file system's order."""

    folders: list[Path]
    files: list[Path]


def shown(path: Path | str) -> str:
    """Return a path as text that any file and terminal takes; bytes that are no UTF-8 are written as escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def children(folder: Path) -> list[Path]:
    """Return the sub-folders of a folder, sorted by name, without hidden ones and what file managers leave.

    Raises DataError as `files_below` does.
    """
    return sorted(_content(folder).folders)


def files_in(folder: Path) -> list[Path]:
    """Return the files directly in a folder, sorted by name, as `files_below` does."""
    return sorted(_content(folder).files)


def files_below(folder: Path) -> list[Path]:
    """Return every file below a folder, sorted by path, without hidden ones and what file managers leave.

    Linked files and folders are listed like others. Raises DataError naming a link that leads nowhere or back to a
    folder above it, a folder that cannot be read, and what is neither file nor folder.
    """
    found: list[Path] = []
    above = frozenset(_identity(parent) for parent in Path(os.path.realpath(folder)).parents)
    waiting = [(folder, above)]
    while waiting:
        place, above = waiting.pop()
        here = _identity(place)
        if here in above:
            raise DataError(
                f"{shown(place)} leads back to a folder above it, {shown(os.path.realpath(place))}: take that link out."
            )
        content = _content(place)
        found += content.files
        waiting += [(child, above | {here}) for child in content.folders]
    return sorted(found)


def entries_below(raw: Path, entry_of: Callable[[str], Entry | None]) -> dict[Entry, Path]:
    """Return the files below a folder whose names say what they are of, by entry; {} where there is no such folder.

    entry_of: the entry of a file's name, None for a file of something else. Raises DataError for two of one entry.
    """
    places: dict[Entry, Path] = {}
    for path in files_below(raw) if raw.is_dir() else []:
        entry = entry_of(path.name)
        if entry is None:
            continue
        if entry in places:
            raise DataError(f"{raw} holds {entry.path} twice, {places[entry]} and {path}: leave one copy there.")
        places[entry] = path
    return places


def class_folders(root: Path, classes: Sequence[str], *suffixes: str) -> list[tuple[str, int]]:
    """Return path below `root` and class number of every file below `root`/<class> that ends with one of `suffixes`.

    In the order of the classes, then of the paths; suffixes in lower case. Raises DataError for a class without files.
    """
    found: list[tuple[str, int]] = []
    for label, name in enumerate(classes):
        place = root / name
        files = [path for path in files_below(place) if path.name.lower().endswith(suffixes)] if place.is_dir() else []
        if not files:
            kinds = " or ".join(f"*{suffix}" for suffix in suffixes)
            raise DataError(f"{place} holds no {kinds}; expected a folder for each of {len(classes)} classes.")
        found += [(path.relative_to(root).as_posix(), label) for path in files]
    return found


def fault(path: Path) -> str:
    """Return what keeps a path from being read as a file, in words; "" for a file."""
    try:
        if path.is_file():
            return ""
        if path.is_dir():
            return "is a folder"
        if path.is_symlink():
            return f"is a link to {shown(path.readlink())}, which is not there"
        return "is no regular file" if path.exists() else "is not there"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except ValueError as error:  # a NUL in the name
        return f"cannot be read: {error}"


def is_there(path: Path) -> bool:
    """Return whether something is at a path, as far as can be seen."""
    try:
        return path.exists()
    except OSError:
        return False


def locate(raw: Path, marker: str, expected: str) -> Path:
    """Return the folder at or below `raw` (three levels at most) that contains `marker`, nearest first.

    Raises DataError saying what was expected where.
    """
    level: Sequence[Path] = [raw]
    for _ in range(4):
        for folder in level:
            if (folder / marker).exists():
                return folder
        level = [child for folder in level if folder.is_dir() for child in children(folder)[:200]]
    raise DataError(f"{raw} holds no {marker}; expected {expected}.")


def _kept(name: str) -> bool:
    return not name.startswith(".") and name.casefold() not in _LITTER


def _content(folder: Path) -> _Content:
    content = _Content([], [])
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if _kept(entry.name):
                    _sort_in(entry, Path(folder, entry.name), content)
    except OSError as error:
        raise DataError(f"{shown(error.filename or folder)} cannot be read ({error.strerror}).") from error
    return content


def _sort_in(entry: os.DirEntry[str], path: Path, content: _Content) -> None:
    if entry.is_dir():
        content.folders.append(path)
    elif entry.is_file():
        content.files.append(path)
    else:
        raise DataError(f"{shown(path)} {fault(path)}: put an image there, or take it out.")


def _identity(folder: Path) -> tuple[int, int]:
    try:
        stat = folder.stat()
    except OSError as error:
        raise DataError(f"{shown(folder)} cannot be read ({error.strerror}).") from error
    return stat.st_dev, stat.st_ino
