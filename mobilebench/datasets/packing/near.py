"""A copy of a packed dataset on a node's own disk, made and checked once by whoever comes first."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from mobilebench.datasets.packing.packed import open_packed
from mobilebench.errors import UserError
from mobilebench.system.disk import disk_errors
from mobilebench.system.locks import LONG, locked

if TYPE_CHECKING:
    from pathlib import Path


def near(source: Path, folder: Path) -> Path:
    """Return the copy, in `folder`, of the packed dataset `source`; a derived one's parent is copied beside it.

    It is made where there is none of the same digest, each pixel checked, and appears in one step. Others wait
    meanwhile. Raises DataError for a damaged source or copy, StorageError where the disk takes nothing, and LockedError
    after hours.
    """
    packed = open_packed(source)
    if packed.meta.parent is not None:
        near(source.with_name(packed.meta.parent.id), folder)
    target = folder / source.name
    with locked(folder / f".{source.name}.lock", patience=LONG):
        if not _is_of(target, packed.meta.digest):
            part = folder / f".{source.name}.part"
            with disk_errors(target):
                shutil.rmtree(part, ignore_errors=True)
                shutil.copytree(source, part)
                shutil.rmtree(target, ignore_errors=True)
                part.rename(target)
            try:
                open_packed(target).verify()
            except UserError:
                shutil.rmtree(target, ignore_errors=True)
                raise
    return target


def _is_of(target: Path, digest: str) -> bool:
    try:
        return open_packed(target).meta.digest == digest
    except UserError:
        return False
