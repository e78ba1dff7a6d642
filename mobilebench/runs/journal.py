"""The journal: what one run of a cell has to tell the tracking server, on disk first, in order, each thing once.

Training writes here and never waits for a server; `mobilebench.tracking` delivers from here. A line is appended and
synced to disk before anything else happens with it, so that a process killed at any point loses no finished epoch, and
the count of delivered lines is kept beside it, so that nothing is told twice.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from mobilebench.errors import UserError
from mobilebench.system.disk import disk_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Event = dict[str, Any]
_PATIENCE = 1.0  # seconds: `status` holds a cell's lock for an instant to see whether another process does


class CellBusyError(UserError):
    """Another process is working on the cell; the message says which."""


class JournalError(UserError):
    """A journal cannot be read; the message names the file and what to do."""


@dataclass(frozen=True)
class Delivery:
    """How far a store has heard a journal: the run it went to, the number of its events delivered, and which store."""

    run_id: str | None = None
    events: int = 0
    store: str | None = None


class Journal:
    """The events of one run of a cell, in `folder` beside its checkpoint and the files it wants kept as artifacts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "journal.jsonl"
        self._delivery = folder / "delivered.json"
        self.artifacts = folder / "artifacts"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the cell for this process.

        Raises CellBusyError, naming the holder, when another one has it, and StorageError when nothing can be written.
        """
        holder = self.folder / "holder.txt"
        lock = FileLock(self.folder / "lock", timeout=_PATIENCE)
        try:
            with disk_errors(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
                self._take(lock)
                holder.write_text(f"process {os.getpid()} on {os.uname().nodename}")
            yield
        finally:
            lock.release()

    def _take(self, lock: FileLock) -> None:
        try:
            lock.acquire()
        except Timeout:
            holder = self.folder / "holder.txt"
            who = holder.read_text() if holder.exists() else "another process"
            raise CellBusyError(f"{self.folder.name} is being trained by {who}; wait for it or stop it") from None

    def is_locked(self) -> bool:
        """Tell whether some process holds the cell now."""
        if not (self.folder / "lock").exists():
            return False
        try:
            with FileLock(self.folder / "lock", timeout=0):
                return False
        except Timeout:
            return True
        except OSError:  # not ours to write, so nobody here can be training in it
            return False

    def append(self, event: Event) -> None:
        """Write one event durably, stamped with the time. Raises StorageError when the disk does not take it.

        Time never runs backwards in a journal, whatever the machine's clock does: a server orders points by it.
        """
        earlier = self.events()
        moment = max([now_ms(), *(e["time"] for e in earlier[-1:])])
        with disk_errors(self.path):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._drop_torn_line()
            with self.path.open("ab") as file:
                file.write(json.dumps(event | {"time": moment}).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            if not earlier:
                sync_folder(self.folder)

    def events(self) -> list[Event]:
        """Return all events, oldest first; a last line cut short by a kill is left out."""
        if not self.path.exists():
            return []
        lines = self.path.read_bytes().split(b"\n")[:-1]
        try:
            events = [json.loads(line) for line in lines]
            if any(not isinstance(event, dict) or not {"type", "time"} <= set(event) for event in events):
                raise ValueError("a line is no event")  # noqa: TRY301 - one message for every kind of damage
        except ValueError as error:
            raise JournalError(
                f"{self.path} is damaged ({error}); remove {self.folder} to train the cell again"
            ) from None
        return events

    def last(self, kind: str) -> Event | None:
        """Return the newest event of a kind, None when there is none."""
        return next((event for event in reversed(self.events()) if event["type"] == kind), None)

    @property
    def delivery(self) -> Delivery:
        """How far the journal has been delivered."""
        try:
            return Delivery(**json.loads(self._delivery.read_text()))
        except FileNotFoundError:
            return Delivery()
        except (ValueError, TypeError):  # cut short by a full disk: ask the server again, by the journal's id
            return Delivery()

    @delivery.setter
    def delivery(self, value: Delivery) -> None:
        beside = self._delivery.with_suffix(".part")
        with disk_errors(self._delivery):
            beside.write_text(json.dumps(asdict(value)))
            beside.replace(self._delivery)

    def forget_delivery(self) -> None:
        """Have everything told again: the store lost it."""
        self._delivery.unlink(missing_ok=True)

    def is_delivered(self, store: str | None = None) -> bool:
        """Tell whether a store (any, without its name) has heard everything."""
        told = self.delivery
        return told.events >= len(self.events()) and store in {None, told.store}

    def is_of_other(self, experiment: str) -> bool:
        """Tell whether the run belongs to another experiment than the named one; a damaged journal tells nothing."""
        try:
            start = self.last("start")
        except JournalError:  # nothing to lose where the cell is finished; who goes on from it is told
            return False
        return start is not None and start["experiment"] != experiment

    def move(self, experiment: str) -> None:
        """Make this the journal of a new run in another experiment, to be told there whole; the old run stays as told.

        Equal identity, equal result: an experiment's name is no part of it, so nothing is trained again.
        """
        events, told = self.events(), self.delivery.run_id
        for event in events:
            if event["type"] == "start":
                event["experiment"] = experiment
                event["tags"] |= {"journal": uuid.uuid4().hex} | ({"told_before": told} if told else {})
        self.forget_delivery()
        beside = self.path.with_suffix(".partial")
        with disk_errors(self.path):
            with beside.open("wb") as file:
                file.write(b"".join(json.dumps(event).encode() + b"\n" for event in events))
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.path)
            sync_folder(self.folder)

    def clear(self) -> None:
        """Forget everything, to train the cell from the start; the lock stays."""
        for path in (self.path, self._delivery, *self.folder.glob("checkpoint*")):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.artifacts, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what writes cut short by a kill left behind; call it while holding the cell."""
        for path in (*self.folder.glob("*.partial"), *self.artifacts.glob("*.partial")):
            path.unlink(missing_ok=True)

    def _drop_torn_line(self) -> None:
        if not self.path.exists():
            return
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            with self.path.open("r+b") as file:
                file.truncate(whole)


def now_ms() -> int:
    """Return the time as MLflow counts it, in milliseconds since 1970."""
    return int(time.time() * 1000)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the system can."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
