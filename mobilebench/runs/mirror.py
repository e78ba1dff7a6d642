"""A copy of cells' folders in a bucket or on another disk, for clusters whose nodes share no folder.

Needs fsspec (of the extra `ray`), and of it what the address says: s3fs for s3://, gcsfs for gs://. Whoever trains a
cell puts its folder there after epochs; whoever goes on with it, on another node, takes it from there first.
"""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mobilebench.errors import UserError
from mobilebench.runs.attempts import LEASE, SupersededError
from mobilebench.system.files import write_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mobilebench.runs.attempts import Attempt

JOURNAL = "journal.jsonl"
_LOCAL = ("lock", "holder.txt", "delivered.json", LEASE)  # of this machine alone


class MirrorError(UserError):
    """The copy cannot be read or written; the message names its address and the reason."""


@dataclass(eq=False)
class Mirror:
    """The copy at an address. `state` is the folder here whose folders, of cells, it is a copy of."""

    url: str
    state: Path
    _put: dict[str, tuple[int, int]] = field(default_factory=dict)  # what lies there, with its time and size here

    def __post_init__(self) -> None:
        """Raise MirrorError for an address of no kind that is installed here."""
        from fsspec.core import url_to_fs

        try:
            self._fs, self._root = url_to_fs(self.url)
        except (ImportError, ValueError, OSError) as error:
            raise MirrorError(f"--mirror {self.url}: {error}; expected an address as s3://BUCKET/FOLDER") from None

    def issue(self, folder: Path, at_least: int) -> int:
        """Write, for those on other nodes, that another attempt at a cell begins, and return its number.

        at_least: the number that it has by what this machine knows. Raises MirrorError.
        """
        with self._errors():
            number = max(at_least, self._newest(folder) + 1)
            self._write(self._there(folder, LEASE), json.dumps({"attempt": number}).encode())
        return number

    def begin(self, folder: Path, attempt: Attempt) -> None:
        """Take what is there of a cell, where that is more than what is here, and let the attempt write here.

        Raises SupersededError where the attempt is not the newest, and MirrorError.
        """
        self.raise_if_superseded(folder, attempt)
        with self._errors():
            there = _lines(self._read(self._there(folder, JOURNAL)) or b"")
        if there > _lines_of(folder):
            self.fetch(folder)
        write_bytes(folder / LEASE, json.dumps({"attempt": attempt.number}).encode(), durable=True)

    def raise_if_superseded(self, folder: Path, attempt: Attempt) -> None:
        """Raise SupersededError where a newer attempt may write there, and MirrorError."""
        with self._errors():
            found = self._newest(folder)
        if found != attempt.number:
            raise SupersededError(
                f"attempt {attempt.number} at {folder.name} stops: attempt {found} was started in its place"
            )

    def offer(self, folder: Path) -> None:
        """Copy a cell's folder there where its journal here has more lines, and remove nothing there.

        Of a tuned cell the call that directs it writes the journal, and the job that ends it needs its trials. Raises
        MirrorError.
        """
        with self._errors():
            if _lines_of(folder) > _lines(self._read(self._there(folder, JOURNAL)) or b""):
                self._put_files(folder)

    def put(self, folder: Path) -> None:
        """Make what lies there of a cell what it is here. Raises MirrorError."""
        with self._errors():
            here = self._put_files(folder)
            for name in set(self._names(folder)) - here - {LEASE}:
                self._put.pop(f"{folder.name}/{name}", None)
                self._fs.rm_file(self._there(folder, name))

    def fetch(self, folder: Path) -> None:
        """Copy a cell's whole folder from there, its journal last. Raises MirrorError."""
        with self._errors():
            for name in sorted(self._names(folder), key=lambda name: name.endswith(JOURNAL)):
                content = None if name == LEASE else self._read(self._there(folder, name))
                if content is not None:
                    write_bytes(folder / name, content)

    def fetch_journal(self, folder: Path) -> None:
        """Copy a cell's journal from there, where it has more lines than the one here. Raises MirrorError."""
        with self._errors():
            content = self._read(self._there(folder, JOURNAL)) or b""
            if _lines(content) > _lines_of(folder):
                write_bytes(folder / JOURNAL, content, durable=True)

    def _newest(self, folder: Path) -> int:
        return int(json.loads(self._read(self._there(folder, LEASE)) or b'{"attempt": 0}')["attempt"])

    def _put_files(self, folder: Path) -> set[str]:
        """Copy what is new, the journals last: what they tell of is then there too. Returns the names of all."""
        here = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if _counts(path, folder)}
        for name in sorted(here, key=lambda name: name.endswith(JOURNAL)):
            self._put_file(folder, name, here[name])
        return set(here)

    def _put_file(self, folder: Path, name: str, path: Path) -> None:
        try:
            stat = path.stat()
            key, state = f"{folder.name}/{name}", (stat.st_mtime_ns, stat.st_size)
            if self._put.get(key) != state:
                self._write(self._there(folder, name), path.read_bytes())
                self._put[key] = state
        except FileNotFoundError:  # replaced or removed meanwhile
            return

    def _there(self, folder: Path, name: str) -> str:
        return f"{self._root.rstrip('/')}/{folder.relative_to(self.state).as_posix()}/{name}"

    def _names(self, folder: Path) -> list[str]:
        top = self._there(folder, "")
        with suppress(FileNotFoundError):
            found = self._fs.find(top)
            cut = top.strip("/")
            return [str(name).strip("/").removeprefix(cut).lstrip("/") for name in found if not name.endswith(".part")]
        return []

    def _read(self, path: str) -> bytes | None:
        try:
            self._fs.invalidate_cache()
            content: bytes = self._fs.cat_file(path)
        except FileNotFoundError:
            return None
        return content

    def _write(self, path: str, content: bytes) -> None:
        """Replace a file in one step: an object of a bucket is, a file is written beside and renamed."""
        local = "file" in (self._fs.protocol if isinstance(self._fs.protocol, tuple) else (self._fs.protocol,))
        self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        part = f"{path}.part" if local else path
        self._fs.pipe_file(part, content)
        if local:
            self._fs.mv(part, path)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            words: Any = str(error).strip().splitlines()
            raise MirrorError(
                f"--mirror {self.url}: {type(error).__name__}: {words[0] if words else 'no reason given'}. See that "
                "every node may read and write there, and give the same command again"
            ) from error


def _counts(path: Path, folder: Path) -> bool:
    return path.is_file() and ".part" not in path.name and str(path.relative_to(folder)) not in _LOCAL


def _lines(content: bytes) -> int:
    return content.count(b"\n")


def _lines_of(folder: Path) -> int:
    try:
        return _lines((folder / JOURNAL).read_bytes())
    except FileNotFoundError:
        return 0
