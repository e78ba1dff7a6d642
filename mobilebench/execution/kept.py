"""What is kept of a finished cell beside its result file: its predictions."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mobilebench.evaluation.predictions import PredictionsError, load_predictions
from mobilebench.runs.records import PREDICTIONS, predictions_path
from mobilebench.system.disk import disk_errors
from mobilebench.system.files import write_bytes

if TYPE_CHECKING:
    from mobilebench.runs.journal import Journal
    from mobilebench.runs.records import Record
    from mobilebench.tracking import CellTracker


def keep_predictions(results: Path, record: Record, journal: Journal, tracker: CellTracker) -> None:
    """Lay the predictions of a record's run beside its result file: the journal's, or else the tracking store's.

    Those that are there already are left alone. A run of before predictions were kept has none: what lies there then is
    of another run, and is removed. Raises TrackingError where the store cannot be read, StorageError where the disk
    takes nothing.
    """
    for split in ("val", "test"):
        place = predictions_path(results, record.cell, split)
        digest = record.predictions.get(split)
        if digest is None:
            place.unlink(missing_ok=True)
        elif not _is_kept(place, digest):
            own = journal.artifacts / PREDICTIONS / place_name(split)
            with tempfile.TemporaryDirectory() as folder, disk_errors(place):
                fetched = (
                    None
                    if _is_kept(own, digest)
                    else tracker.artifact(record.run_id, f"{PREDICTIONS}/{place_name(split)}", Path(folder))
                )
                source = fetched or own
                if _is_kept(source, digest):
                    write_bytes(place, source.read_bytes(), durable=True)


def place_name(split: str) -> str:
    """Return the name of a split's predictions among a run's artifacts."""
    return f"{split}.npz"


def _is_kept(path: Path, digest: str) -> bool:
    """Return whether a file holds the predictions of this digest."""
    with suppress(PredictionsError):
        load_predictions(path, digest)
        return True
    return False
