"""Artifacts of a store whose files lie on this machine: large ones share their place on the disk with the journal's."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

if TYPE_CHECKING:
    from collections.abc import Collection

WHOLE = (".safetensors", ".pt", ".npz")  # files that this program never changes in place, but replaces by others


def local_place(artifact_uri: str) -> Path | None:
    """Return the folder that a run's artifacts are in where that is a path of this machine, else None."""
    parts = urlsplit(artifact_uri)
    if parts.scheme == "file" and parts.netloc in {"", "localhost"}:
        return Path(url2pathname(parts.path))
    place = Path(artifact_uri)
    return place if not parts.scheme and place.is_absolute() else None


def lay(folder: Path, place: Path, linked: Collection[str] = WHOLE) -> None:
    """Lay every file below `folder` into the same place below `place`, each replaced in one step.

    Files with one of the endings `linked` become hard links where the file system and the file's owner allow that: one
    file on the disk, which stays until both names are removed. All others are copied. Raises OSError.
    """
    for path in sorted(folder.rglob("*")):
        target = place / path.relative_to(folder)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        if target.exists() and target.samefile(path):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        try:
            if not (path.suffix in linked and _link(path, beside)):
                shutil.copyfile(path, beside)
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)


def _link(path: Path, name: Path) -> bool:
    """Give a file a second name, and return whether it has it: another owner could change what the store holds."""
    try:
        if path.is_symlink() or path.stat().st_uid != os.getuid():
            return False
        os.link(path, name)
    except OSError:  # another disk, or a file system without hard links
        return False
    return True
