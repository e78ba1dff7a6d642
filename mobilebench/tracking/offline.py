"""What a cell's run asks of a tracking store, and the store of a machine that has none. No MLflow is imported here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.runs.journal import Journal
    from mobilebench.runs.records import Record


class CellTracker(Protocol):
    """The part of a tracking store that training needs: `Tracker`, or `OfflineTracker` where there is none."""

    @property
    def store(self) -> str:
        """The store's address, without passwords."""
        ...

    def deliver(self, journal: Journal) -> object:
        """Write what the store does not have yet. Raises TrackingError."""

    def deliver_trial(self, trial: Journal, cell: Journal) -> object:
        """Write what the store lacks of a trial, under the run of its cell, which goes first. Raises TrackingError."""

    def is_backing_off(self) -> bool:
        """Return whether a delivery now would only hold up the training."""
        ...

    def finished(self, experiment: str, identity: str) -> Record | None:
        """Return the finished record of an identity, None when the store has none. Raises TrackingError."""
        ...

    def publish(self, journal: Journal) -> Record | None:
        """Deliver a finished journal; return its cell's record, None where the journal waits. Raises TrackingError."""
        ...

    def artifact(self, run_id: str, name: str, folder: Path) -> Path | None:
        """Fetch one artifact of a run into a folder; None where the run has none of that name. Raises TrackingError."""
        ...

    def give_way(self, journal: Journal, record: Record) -> None:
        """Let a journal's unfinished run give way to a finished one of its identity. Raises TrackingError."""

    def analyze(self) -> None:
        """Update the store's statistics after many writes. Raises TrackingError."""


class OfflineTracker:
    """Takes nothing and knows nothing: everything waits in the journals for `mobilebench sync`."""

    store = "offline"

    def deliver(self, journal: Journal) -> None:
        """Leave the journal as it is."""

    def deliver_trial(self, trial: Journal, cell: Journal) -> None:
        """Leave the journals as they are."""

    def is_backing_off(self) -> bool:
        """Return True: there is nothing to deliver to."""
        return True

    def finished(self, experiment: str, identity: str) -> None:
        """Return None: no run is known."""

    def publish(self, journal: Journal) -> None:
        """Return None: the journal waits."""

    def artifact(self, run_id: str, name: str, folder: Path) -> None:
        """Return None: no run is known."""

    def give_way(self, journal: Journal, record: Record) -> None:
        """Do nothing: no record was ever found here."""

    def analyze(self) -> None:
        """Do nothing."""
