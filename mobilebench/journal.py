"""The journal: what one run of a cell has to tell the tracking server, on disk first, in order, each thing once.

Training writes here and never waits for a server; `mobilebench.tracking` delivers from here. A line is appended and
synced to disk before anything else happens with it, so that a process killed at any point loses no finished epoch, and
the count of delivered lines is kept beside it, so that nothing is told twice.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from mobilebench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Event = dict[str, Any]


class CellBusyError(UserError):
    """Another process is working on the cell; the message says which."""


class JournalError(UserError):
    """A journal cannot be read; the message names the file and what to do."""


@dataclass(frozen=True)
class Delivery:
    """How far the server has heard a journal: the run it went to and the number of its events delivered."""

    run_id: str | None = None
    events: int = 0


class Journal:
    """The events of one run of a cell, in `folder` beside its checkpoint and the files it wants kept as artifacts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "journal.jsonl"
        self._delivery = folder / "delivered.json"
        self.artifacts = folder / "artifacts"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the cell for this process. Raises CellBusyError, naming the holder, when another one has it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        holder = self.folder / "holder.txt"
        try:
            with FileLock(self.folder / "lock", timeout=0):
                holder.write_text(f"process {os.getpid()} on {os.uname().nodename}")
                yield
        except Timeout:
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

    def append(self, event: Event) -> None:
        """Write one event durably."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._drop_torn_line()
        with self.path.open("ab") as file:
            file.write(json.dumps(event).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def events(self) -> list[Event]:
        """Return all events, oldest first; a last line cut short by a kill is left out."""
        if not self.path.exists():
            return []
        lines = self.path.read_bytes().split(b"\n")[:-1]
        try:
            return [json.loads(line) for line in lines]
        except ValueError as error:
            raise JournalError(
                f"{self.path} is damaged ({error}); remove {self.folder} to train the cell again"
            ) from None

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
        beside.write_text(json.dumps(value.__dict__))
        beside.replace(self._delivery)

    def is_delivered(self) -> bool:
        """Tell whether the server has heard everything."""
        return self.delivery.events >= len(self.events())

    def clear(self) -> None:
        """Forget everything, to train the cell from the start; the lock stays."""
        for path in (self.path, self._delivery, *self.folder.glob("checkpoint*")):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.artifacts, ignore_errors=True)

    def _drop_torn_line(self) -> None:
        if not self.path.exists():
            return
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            with self.path.open("r+b") as file:
                file.truncate(whole)
