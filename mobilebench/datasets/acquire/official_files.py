"""The official files of a dataset, unpacked: from the internet, from a local copy, or put there by hand.

Below `raw_dir`/name: `archives` keeps downloads, `files` what they unpack to, `local` what archives given with --from
unpack to, each with the SHA-256 of what it was unpacked from. `files` and `local` exist only when they are complete;
`files` may also be a folder or link of your own.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from mobilebench.datasets.acquire.archive import SUFFIXES, is_archive, unpack
from mobilebench.datasets.acquire.fetch import SourceError, download
from mobilebench.datasets.acquire.source_lock import note_digests
from mobilebench.datasets.spec import DataError, DatasetSpec
from mobilebench.system.disk import disk_errors
from mobilebench.system.locks import LONG, locked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


def fetch(spec: DatasetSpec, raw_dir: Path, *, pause: float = 1.0) -> Path:
    """Return the folder with the official files, unpacked, downloading what is missing.

    Raises DataError, with the way by hand where there is one.
    """
    home = raw_dir / spec.raw_name
    with locked(home / ".lock", patience=LONG):
        for ready in (home / "files", home / "local"):
            if ready.is_dir():
                return ready
        if spec.by_hand_only:
            raise DataError(f"{spec.id} cannot be fetched by a program. By hand: {spec.by_hand}")
        parts = _downloads(spec, home / "archives", pause)
        _unpack_all(parts, home / "files", on_damage=_remove)
    return home / "files"


def _downloads(spec: DatasetSpec, folder: Path, pause: float) -> list[Path]:
    try:
        return [download(source, folder, pause=pause) for source in spec.sources]
    except SourceError as error:
        if not spec.by_hand:
            raise
        raise DataError(f"{error}\nBy hand: {spec.by_hand}") from error


def local(spec: DatasetSpec, raw_dir: Path, source: Path, readable: Callable[[Path], bool]) -> Path:
    """Return a folder in which a local copy can be read: an unpacked folder as it is, archives unpacked.

    source: an archive, a folder of the official archives and lists, or the folder they unpack to. Raises DataError.
    """
    parts = _parts(source, readable)
    if not parts:
        return source
    home = raw_dir / spec.raw_name
    with locked(home / ".lock", patience=LONG):
        _unpack_all(parts, home / "local", on_damage=None)
    return home / "local"


def _parts(source: Path, readable: Callable[[Path], bool]) -> list[Path]:
    """Return the files to unpack or copy; none when the folder is to be read as it is."""
    if source.is_file():
        if not is_archive(source):
            raise DataError(f"--from {source}: expected a folder or an archive ({', '.join(SUFFIXES)}).")
        return [source]
    if not source.is_dir():
        raise DataError(f"--from {source}: no such file or folder.")
    files = sorted(path for path in source.iterdir() if path.is_file())
    return files if any(is_archive(path) for path in files) and not readable(source) else []


def _unpack_all(parts: Sequence[Path], files: Path, *, on_damage: Callable[[Path], None] | None) -> None:
    """Unpack archives and copy other files into `files`, which appears when all is done."""
    new = files.with_name(f"{files.name}.partial")
    for left_behind in (new, files):
        shutil.rmtree(left_behind, ignore_errors=True)
    with disk_errors(new):
        new.mkdir(parents=True)
        try:
            for part in parts:
                _unpack_one(part, new, on_damage)
            note_digests(parts, new)
            new.rename(files)
        finally:
            shutil.rmtree(new, ignore_errors=True)


def _unpack_one(part: Path, into: Path, on_damage: Callable[[Path], None] | None) -> None:
    if not is_archive(part):
        shutil.copyfile(part, into / part.name)
        return
    try:
        unpack(part, into)
    except DataError:
        if on_damage:
            on_damage(part)
        raise


def _remove(part: Path) -> None:
    """Remove a damaged download, which would otherwise fail again and again."""
    part.unlink(missing_ok=True)
