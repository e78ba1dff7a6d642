"""Unpacking an archive that is not trusted: nothing lands outside, nothing links, nothing fills the disk."""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from mobilebench.datasets.spec import DataError
from mobilebench.system.progress import progress

if TYPE_CHECKING:
    from collections.abc import Iterator

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
GROWTH, SLACK = 20, 64 << 20  # pictures hardly compress: an archive that grows twentyfold is no image archive


def is_archive(path: Path) -> bool:
    """Return whether a file is named like an archive."""
    return path.name.lower().endswith(SUFFIXES)


def unpack(archive: Path, into: Path) -> None:
    """Unpack a tar (plain or compressed) or zip into the folder `into`.

    Raises DataError for a broken archive and for members that are links or devices, leave the folder, or together
    exceed 20 times the archive's size or the free space; what was unpacked until then is the caller's to remove.
    """
    try:
        into.mkdir(parents=True, exist_ok=True)
        if zipfile.is_zipfile(archive):
            _unpack_zip(archive, into)
        else:
            _unpack_tar(archive, into)
    except DataError:
        raise
    except Exception as error:  # tar, zip and four decompressors raise nearly anything on broken input
        raise DataError(
            f"{archive} cannot be unpacked ({type(error).__name__}: {error}): it is damaged or no tar or zip archive."
        ) from error


class _Budget:
    """How much an archive may still unpack to."""

    def __init__(self, archive: Path, into: Path) -> None:
        self.archive = archive
        self.left = min(GROWTH * archive.stat().st_size + SLACK, shutil.disk_usage(into).free)

    def spend(self, name: str, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise DataError(
                f"{self.archive} unpacks to more than {GROWTH} times its size, or than the free space (at {name!r});"
                " free some space, or get the archive from its official source."
            )


def _check_name(archive: Path, name: str) -> None:
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    if posix.is_absolute() or windows.drive or windows.root or ".." in posix.parts or ".." in windows.parts:
        raise DataError(f"{archive} holds {name!r}, which would be written outside its folder; refused.")


def _unpack_tar(archive: Path, into: Path) -> None:
    budget = _Budget(archive, into)
    size = archive.stat().st_size
    with (
        archive.open("rb") as file,
        tarfile.open(fileobj=file) as tar,
        progress("unpacking", size, in_bytes=True) as on,
    ):
        before = 0
        for member in tar:
            _check_name(archive, member.name)
            if not (member.isreg() or member.isdir()):
                raise DataError(f"{archive} holds {member.name!r}, a link or device; refused.")
            budget.spend(member.name, member.size)
            tar.extract(member, into, filter="data")
            tar.members = []  # type: ignore[attr-defined]  # else the list of 110,000 members stays in memory
            on(file.tell() - before)
            before = file.tell()


def _zip_members(archive: Path, opened: zipfile.ZipFile, budget: _Budget) -> Iterator[zipfile.ZipInfo]:
    for member in opened.infolist():
        _check_name(archive, member.filename)
        member.filename = member.filename.replace("\\", "/")  # as some programs on Windows part folders
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
            raise DataError(f"{archive} holds {member.filename!r}, a link or device; refused.")
        budget.spend(member.filename, member.file_size)
        yield member


def _unpack_zip(archive: Path, into: Path) -> None:
    budget = _Budget(archive, into)
    with zipfile.ZipFile(archive) as opened:
        members = list(_zip_members(archive, opened, budget))
        with progress("unpacking", len(members)) as advance:
            for member in members:
                opened.extract(member, into)  # reads no more than the size just checked
                advance(1)
