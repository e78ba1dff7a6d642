"""Listing folders in an order that does not depend on the file system."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from mobilebench.datasets.spec import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

_LITTER = {"Thumbs.db", "desktop.ini", "__MACOSX"}


def _kept(name: str) -> bool:
    return not name.startswith(".") and name not in _LITTER


def children(folder: Path) -> list[Path]:
    """Return the sub-folders of a folder, sorted by name, without hidden ones and what file managers leave."""
    return sorted(child for child in folder.iterdir() if child.is_dir() and _kept(child.name))


def files_below(folder: Path) -> list[Path]:
    """Return every file below a folder, sorted by path, without hidden ones and what file managers leave."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if _kept(name)]
        found += [Path(place, name) for name in names if _kept(name)]
    return sorted(found)


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
