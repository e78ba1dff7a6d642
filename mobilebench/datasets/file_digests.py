"""Digests of the content of many files, read again only where a file was touched.

A file's size, its times and its inode say whether it may have changed; what it is is said by its content alone.
"""

from __future__ import annotations

import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from stat import S_ISREG
from typing import TYPE_CHECKING

from mobilebench.system.files import write_cache
from mobilebench.system.progress import progress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_MANY = 500  # files: fewer are read before a bar could be looked at
_SETTLED = 2.0  # seconds; a file touched this lately might be changed again without a new time


def content_digests(paths: Sequence[Path], cache: Path) -> list[str]:
    """Return the sha256 (hex) of each file's content, "" for what cannot be read as a file.

    cache: a file that keeps what was found, with the state of each file; it may be removed at any time.
    """
    kept = _read(cache)
    began = time.time()
    states = [_state(path) for path in paths]
    names = [str(path) for path in paths]
    unknown = [i for i, name in enumerate(names) if states[i] and kept.get(name, [None])[:-1] != states[i]]
    found = {names[i]: digest for i, digest in zip(unknown, _digests([paths[i] for i in unknown]), strict=True)}
    digests = [
        found.get(name) or (str(kept[name][-1]) if state else "") for name, state in zip(names, states, strict=True)
    ]
    if unknown or set(kept) != set(names):
        settled = {
            name: [*state, digest]
            for name, state, digest in zip(names, states, digests, strict=True)
            if digest and max(state[1], state[2]) < (began - _SETTLED) * 1e9
        }
        write_cache(cache, json.dumps(settled))
    return digests


def _read(cache: Path) -> dict[str, list[int | str]]:
    try:
        found = json.loads(cache.read_text())
    except (OSError, ValueError):  # absent, or cut short: everything is read again
        return {}
    return found if isinstance(found, dict) else {}


def _state(path: Path) -> list[int]:
    """Return what a change of the file would change: size, times of content and of metadata, inode; [] without one."""
    try:
        stat = path.stat()
    except (OSError, ValueError):  # absent, or no name of a file at all
        return []
    if not S_ISREG(stat.st_mode):  # a pipe would be waited for
        return []
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def _digests(paths: Sequence[Path]) -> list[str]:
    with ThreadPoolExecutor() as pool:  # hashing and reading release the interpreter's lock
        results = pool.map(_digest, paths)
        if len(paths) < _MANY:
            return list(results)
        found = []
        with progress("looking for changes", len(paths)) as advance:
            for digest in results:
                found.append(digest)
                advance(1)
        return found


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
