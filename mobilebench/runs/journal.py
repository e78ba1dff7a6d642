"""The journal: everything one run reports to the tracking server, on disk first and in order.

Training writes here and never waits for a server; `mobilebench.tracking` delivers from here. A line is appended and
synced to disk before anything else happens with it. A process killed at any point therefore loses no finished epoch.
The number of delivered lines is kept beside the journal, so that each is delivered once.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from filelock import FileLock, Timeout

from mobilebench.errors import UserError
from mobilebench.runs.attempts import raise_if_superseded
from mobilebench.runs.events import Epoch, Finish, Start, from_line, to_line
from mobilebench.system.disk import disk_errors
from mobilebench.system.files import sync_folder, write_bytes, write_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from mobilebench.runs.attempts import Attempt
    from mobilebench.runs.events import Event

Kind = TypeVar("Kind", bound="Event")
_TAIL = 1 << 16  # bytes read at once from the end, to find the last line
_TRIALS = "trials"
_PATIENCE = 1.0  # seconds; `status` holds a cell's lock for an instant to see whether another process has it


class CellBusyError(UserError):
    """Another process is working on the cell; the message says which."""


class JournalError(UserError):
    """A journal cannot be read; the message names the file and what to do."""


@dataclass(frozen=True)
class Delivery:
    """How far a journal has been delivered: to which run, how many of its events, and to which store."""

    run_id: str | None = None
    events: int = 0
    store: str | None = None
    parent: str | None = None
    """Of a trial: the run of its cell there, under which its own stands."""


class Journal:
    """The events of one run of a cell, in `folder` beside its checkpoint and the files it wants kept as artifacts."""

    def __init__(self, folder: Path, attempt: Attempt | None = None) -> None:
        """attempt: the one that writes here where several machines may; its cell is held by whoever started it."""
        self.folder = folder
        self.attempt = attempt
        self.path = folder / "journal.jsonl"
        self._delivery = folder / "delivered.json"
        self.artifacts = folder / "artifacts"

    @property
    def name(self) -> str:
        """What the journal is of, as messages call it."""
        above = self.folder.parent
        return f"trial {self.folder.name} of {above.parent.name}" if above.name == _TRIALS else self.folder.name

    def trial(self, number: int) -> Journal:
        """Return the journal of a trial of a tuned cell, whose journal this is. number: counted from 1."""
        return Journal(self.folder / _TRIALS / str(number), self.attempt)

    def trials(self) -> dict[int, Journal]:
        """Return the journals of the cell's trials that were begun, by number."""
        found = (path.parent for path in self.folder.glob(f"{_TRIALS}/*/journal.jsonl"))
        return {int(folder.name): Journal(folder) for folder in sorted(found, key=_number) if folder.name.isdecimal()}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the cell for this process.

        Raises CellBusyError, naming the holder, when another one has it, and StorageError when nothing can be written.
        An attempt takes no lock, which a dead machine might keep: it raises SupersededError where it is not the newest.
        """
        if self.attempt is not None:
            self.raise_if_superseded()
            yield
            return
        holder = self.folder / "holder.txt"
        lock = FileLock(self.folder / "lock", timeout=_PATIENCE)
        try:
            with disk_errors(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
                self._take(lock)
                holder.write_text(f"process {os.getpid()} on {os.uname().nodename}", encoding="utf-8")
            yield
        finally:
            lock.release()

    def _take(self, lock: FileLock) -> None:
        try:
            lock.acquire()
        except Timeout:
            try:
                who = (self.folder / "holder.txt").read_text(encoding="utf-8", errors="replace")
            except OSError:  # not yet written, or not ours to read
                who = "another process"
            raise CellBusyError(f"{self.name} is being trained by {who}; wait for it or stop it") from None

    def is_locked(self) -> bool:
        """Return whether some process holds the cell now."""
        if not (self.folder / "lock").exists():
            return False
        try:
            with FileLock(self.folder / "lock", timeout=0):
                return False
        except Timeout:
            return True
        except OSError:  # not ours to write, so nobody here can be training in it
            return False

    def raise_if_superseded(self) -> None:
        """Raise SupersededError where a newer attempt may write here; call it before anything else is written."""
        if self.attempt is not None:
            raise_if_superseded(self.folder, self.attempt)

    def append(self, event: Event) -> None:
        """Write one event durably, stamped with the time. Raises StorageError when the disk does not take it.

        Raises SupersededError, and writes nothing, where a newer attempt may write here.

        Time never runs backwards in a journal, whatever the machine's clock does: a server orders points by it. Only
        the end of the file is read, so that an epoch of a long run costs no more than one of a short run.
        """
        self.raise_if_superseded()
        with disk_errors(self.path):
            self.folder.mkdir(parents=True, exist_ok=True)
            last = self._drop_torn_line()
            moment = now_ms() if last is None else max(now_ms(), self._parsed(last).time)
            with self.path.open("ab") as file:
                file.write(to_line(replace(event, time=moment)))
                file.flush()
                os.fsync(file.fileno())
            if last is None:
                sync_folder(self.folder)

    def events(self) -> list[Event]:
        """Return all events, oldest first; a last line cut short by a kill is left out.

        Raises JournalError, naming the file, for a line that is no event and where there is no file to be read.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:  # a folder in its place, or not ours to read
            raise JournalError(
                f"{self.path} cannot be read: {error.strerror}; expected a file of JSON lines that you may read"
            ) from None
        return [self._parsed(line) for line in content.split(b"\n")[:-1]]

    def _parsed(self, line: bytes) -> Event:
        try:
            return from_line(line)
        except ValueError as error:
            raise JournalError(
                f"{self.path} is damaged or of another version ({error}); remove {self.folder} to train the cell again"
            ) from None

    def last(self, kind: type[Kind]) -> Kind | None:
        """Return the newest event of a kind, None when there is none."""
        return next((event for event in reversed(self.events()) if isinstance(event, kind)), None)

    @property
    def start(self) -> Start | None:
        """The event that began the run."""
        return self.last(Start)

    @property
    def delivery(self) -> Delivery:
        """How far the journal has been delivered."""
        try:
            return Delivery(**json.loads(self._delivery.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):  # absent or cut short by a full disk: the server is asked again
            return Delivery()

    @delivery.setter
    def delivery(self, value: Delivery) -> None:
        with disk_errors(self._delivery):
            write_text(self._delivery, json.dumps(asdict(value)))

    def forget_delivery(self) -> None:
        """Have everything delivered again: the store lost it."""
        self._delivery.unlink(missing_ok=True)

    def is_delivered(self, store: str | None = None) -> bool:
        """Return whether a store (any, without its name) has everything."""
        delivery = self.delivery
        return delivery.events >= len(self.events()) and store in {None, delivery.store}

    def is_of_other(self, experiment: str) -> bool:
        """Return whether the run belongs to another experiment than the named one; False for a damaged journal."""
        try:
            start = self.start
        except JournalError:  # nothing to lose where the cell is finished; whoever goes on from it gets the error
            return False
        return start is not None and start.experiment != experiment

    def waits_for(self, experiment: str) -> bool:
        """Return whether a finished run is here that a store has not got in full, or not in the named experiment.

        False for a damaged journal, as in `is_of_other`.
        """
        try:
            ended = self.last(Finish) is not None
        except JournalError:
            return False
        return self.is_of_other(experiment) or (ended and not self.is_delivered())

    def rewrite(self, events: Iterable[Event]) -> None:
        """Replace all events in one durable step; nothing of the new ones counts as delivered."""
        self.forget_delivery()
        with disk_errors(self.path):
            write_bytes(self.path, b"".join(map(to_line, events)), durable=True)

    def clear(self) -> None:
        """Forget everything, to train the cell from the start; the lock stays."""
        weights = (path for name in ("checkpoint*", "chosen-*") for path in self.folder.glob(name))
        for path in (self.path, self._delivery, *weights):
            path.unlink(missing_ok=True)
        for folder in (self.artifacts, self.folder / _TRIALS):
            shutil.rmtree(folder, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what writes cut short by a kill left behind; call it while holding the cell."""
        for path in (*self.folder.glob("*.part*"), *self.artifacts.rglob("*.part*")):
            path.unlink(missing_ok=True)

    def _drop_torn_line(self) -> bytes | None:
        """Cut off a last line that a kill left unfinished, and return the last whole one, None when there is none."""
        if not self.path.exists():
            return None
        with self.path.open("r+b") as file:
            size, tail = file.seek(0, os.SEEK_END), b""
            while len(tail) < size and tail.count(b"\n") < 2:
                start = max(0, size - len(tail) - _TAIL)
                file.seek(start)
                tail = file.read(size - len(tail) - start) + tail
            whole = tail.rfind(b"\n") + 1
            if whole < len(tail):
                file.truncate(size - len(tail) + whole)
        return tail[:whole].rstrip(b"\n").rpartition(b"\n")[2] or None


def _number(folder: Path) -> int:
    return int(folder.name) if folder.name.isdecimal() else 0


def epochs_done(journal: Journal) -> int:
    """Return the last epoch that a journal has, 0 for none."""
    last = journal.last(Epoch)
    return 0 if last is None else last.step


def now_ms() -> int:
    """Return the time as MLflow counts it, in milliseconds since 1970."""
    return int(time.time() * 1000)
