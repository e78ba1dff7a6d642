"""Disks that are full, read-only or gone: what the system says of them, as an error a person can act on."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mobilebench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_WHAT_TO_DO = {
    errno.ENOSPC: "free some space on that disk",
    errno.EDQUOT: "free some space within your quota",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f)",
    errno.EROFS: "the file system is read-only; mount it for writing",
    errno.EACCES: "make the folder writable for you",
    errno.EPERM: "make the folder writable for you",
}


class StorageError(UserError):
    """A file cannot be written; the message names it, says what the system said and what to do."""


@contextmanager
def disk_errors(what: Path) -> Iterator[None]:
    """Turn the system's refusal to write `what` into a StorageError."""
    try:
        yield
    except OSError as error:
        do = _WHAT_TO_DO.get(error.errno or 0, "see to that disk or folder")
        raise StorageError(
            f"cannot write {what}: {error.strerror or error}. To go on, {do} and give the same command again; what was "
            "written before is kept"
        ) from error


def shown_bytes(count: int) -> str:
    """Return a number of bytes for a person, in powers of 1000."""
    size, units = float(count), ("B", "kB", "MB", "GB", "TB")
    for unit in units[:-1]:
        if size < 999.5:
            return f"{size:.0f} {unit}" if size >= 9.95 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} {units[-1]}"
