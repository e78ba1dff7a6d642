"""What is kept of a finished cell beside its result file: its predictions."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mobilebench.errors import TrackingError
from mobilebench.evaluation.predictions import PredictionsError, load_predictions
from mobilebench.runs.records import PREDICTIONS, predictions_path, read_result, result_path
from mobilebench.system.disk import disk_errors
from mobilebench.system.files import write_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mobilebench.config.suite import Cell
    from mobilebench.execution.context import RunContext
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


def keep_finished(context: RunContext, cells: Iterable[Cell], tracker: CellTracker) -> list[str]:
    """Lay the predictions of finished cells beside their result files where they are not, and return what failed.

    Their folder is made in any case: DVC asks for it, also where no run of a dataset has kept any. Raises StorageError
    where the disk takes nothing.
    """
    folder = context.results / PREDICTIONS / context.dataset
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    problems = []
    for cell in cells:
        record = read_result(result_path(context.results, cell))
        if record is None:
            continue
        try:
            keep_predictions(context.results, record, context.journal(cell), tracker)
        except TrackingError as error:
            problems.append(f"{cell.name}: {error}")
    return problems


def place_name(split: str) -> str:
    """Return the name of a split's predictions among a run's artifacts."""
    return f"{split}.npz"


def _is_kept(path: Path, digest: str) -> bool:
    """Return whether a file holds the predictions of this digest."""
    with suppress(PredictionsError):
        load_predictions(path, digest)
        return True
    return False
