"""Attempts: a cell on a cluster is begun again after its worker or its node was lost, and only the newest may write.

A scheduler can take a worker for dead that lives: its node did not answer for a while. Two attempts at one cell are
then alive. A lock of the file system would keep the new one out, or on a network file system neither. So whoever starts
attempts numbers them in a file beside the journal, and each reads it before it writes: an older one stops.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mobilebench.errors import UserError
from mobilebench.system.disk import disk_errors
from mobilebench.system.files import write_text

if TYPE_CHECKING:
    from pathlib import Path

LEASE = "lease.json"


class SupersededError(UserError):
    """A newer attempt at the same cell was started, perhaps on another machine; this one stops and writes nothing."""


@dataclass(frozen=True)
class Attempt:
    """One attempt at a cell."""

    number: int
    """Counted from 1 over all calls."""
    node: str = ""
    """Where it runs."""
    before: str = ""
    """How the attempt before it ended; "" for a first one."""

    def tags(self, epoch: int) -> dict[str, str]:
        """Return what its run says of it. epoch: the last epoch that was there when it began."""
        words = f"on {self.node} after epoch {epoch}" + (f"; before it: {self.before}" if self.before else "")
        return {"attempts": str(self.number), f"attempt.{self.number}": words[:5000]}


def newest(folder: Path) -> int:
    """Return the number of the newest attempt in a journal's folder, 0 where there was none or its file is damaged.

    Raises StorageError where the folder cannot be read now.
    """
    path = folder / LEASE
    with disk_errors(path):
        try:
            return int(json.loads(path.read_text(encoding="utf-8"))["attempt"])
        except FileNotFoundError:
            return 0
        except (ValueError, TypeError, KeyError):
            return 0


def issue(folder: Path) -> int:
    """Write that another attempt begins, durably, and return its number; every earlier one stops at its next epoch."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        number = newest(folder) + 1
        write_text(folder / LEASE, json.dumps({"attempt": number}) + "\n", durable=True)
    return number


def supersede(folder: Path) -> None:
    """Stop attempts of a cluster that may still be alive at a cell, before another process trains it here."""
    if newest(folder):
        issue(folder)


def raise_if_superseded(folder: Path, attempt: Attempt) -> None:
    """Raise SupersededError where this is no longer the newest attempt."""
    found = newest(folder)
    if found != attempt.number:
        raise SupersededError(
            f"attempt {attempt.number} at {folder.name} stops: attempt {found} was started in its place"
        )
