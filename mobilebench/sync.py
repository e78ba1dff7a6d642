"""Deliver journals later, or on another machine: what was trained while no tracking server could be reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilebench.journal import CellBusyError, Journal
from mobilebench.records import write_result

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.tracking import Tracker


def sync_journals(state: Path, results: Path, tracker: Tracker) -> tuple[int, int]:
    """Deliver every journal below `state` and write the result files of finished cells.

    Return how many were delivered and how many are still in training (those of living processes are left to them).
    Raises TrackingError at the first that the server refuses; what was delivered stays delivered.
    """
    delivered = waiting = 0
    for path in sorted(state.glob("*/journal.jsonl")):
        journal = Journal(path.parent)
        try:
            with journal.locked():
                delivered += _sync_one(journal, results, tracker)
                waiting += journal.last("finish") is None
        except CellBusyError:
            waiting += 1
    return delivered, waiting


def _sync_one(journal: Journal, results: Path, tracker: Tracker) -> bool:
    start = journal.last("start")
    if start is None or journal.is_delivered():
        return False
    tracker.deliver(journal)
    record = tracker.finished(start["experiment"], start["tags"]["identity"])
    if record is not None:
        write_result(results, record)
    return True
