"""Lock files that nobody waits for without end."""

from __future__ import annotations

import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from mobilebench.errors import UserError
from mobilebench.system.disk import disk_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


LONG = 6 * 3600.0
"""Seconds to wait for one that fetches or packs a dataset."""


class LockedError(UserError):
    """Another process keeps a lock for longer than is reasonable; the message names the lock file."""


@contextmanager
def locked(path: Path, *, patience: float = 60.0) -> Iterator[None]:
    """Hold the lock file `path`, whose folder is made, while the block runs.

    patience: seconds to wait for whoever holds it now. Raises StorageError at once where no file can be made, and
    LockedError when the patience is over. A lock ends with the process that holds it.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # A file of our own first: where a folder takes none (/proc), filelock would try again and again. Not the lock
        # file itself: on a file system without locks its being there is the lock.
        probe = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        probe.unlink()
    lock = FileLock(path)
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        raise LockedError(
            f"another process has held {path} for more than {patience:.0f} s; wait for it or stop it, and give the "
            "same command again"
        ) from None
    try:
        yield
    finally:
        lock.release()
