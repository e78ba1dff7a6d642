"""Deliver journals later, or on another machine: what was trained while no tracking server could be reached."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mobilebench.config.ids import is_id
from mobilebench.config.suite import Cell
from mobilebench.errors import UserError
from mobilebench.execution.kept import keep_predictions, place_name
from mobilebench.runs.events import Finish, Start
from mobilebench.runs.identity import digest_of_tags, from_tags
from mobilebench.runs.journal import CellBusyError, Journal, JournalError
from mobilebench.runs.records import PREDICTIONS, PREDICTIONS_TAG, read_result, result_path, write_result
from mobilebench.system.disk import StorageError, disk_errors
from mobilebench.system.layout import STATE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mobilebench.execution.context import RunContext
    from mobilebench.runs.records import Record
    from mobilebench.tracking import Tracker

_HEX = re.compile(r"[0-9a-f]{8,64}")


@dataclass
class SyncReport:
    """What `sync` did."""

    delivered: int = 0
    """Runs delivered."""
    waiting: int = 0
    """Runs still in training."""
    failed: list[tuple[str, UserError]] = field(default_factory=list)
    """Runs that could not be delivered, and why."""


def journals_below(folder: Path) -> list[Journal]:
    """Return the journals of a project folder, of its `.mobilebench`, of the `cells` in that, or of one cell."""
    for cells in (folder / STATE, folder / STATE.name, folder):
        if found := sorted(cells.glob("*/journal.jsonl")):
            return [Journal(path.parent) for path in found]
    return [Journal(folder)] if (folder / "journal.jsonl").is_file() else []


def sync_journals(folder: Path, results: Path, tracker: Tracker, *, accept_redo: bool = True) -> SyncReport:
    """Deliver every journal below `folder` (see `journals_below`) and write finished cells' result files.

    A folder that nothing can be written to (a stick mounted for reading, a snapshot) is delivered from a copy.

    accept_redo: whether a journal may put its run in the place of a finished one, as `train --redo` asks for; of a
    folder from elsewhere that is not a matter of course. What cannot be delivered is named in the answer and stops no
    other; those of living processes are left to them.
    """
    done = SyncReport()
    for found in journals_below(folder):
        try:
            raise_if_foreign(found)
            with _held(found) as journal:
                if not accept_redo:
                    _raise_if_it_replaces(journal, tracker)
                done.delivered += _sync_one(journal, results, tracker)
                done.waiting += journal.last(Finish) is None
        except CellBusyError:
            done.waiting += 1
        except UserError as error:
            done.failed.append((found.folder.name, error))
    return done


def deliver_lost(context: RunContext, cells: Iterable[Cell], tracker: Tracker) -> SyncReport:
    """Deliver again, as `sync_journals` does, those finished cells whose run the store no longer has.

    Nothing is done for a cell whose journal is not in this folder. Raises TrackingError where the store cannot be
    asked.
    """
    tracker.prepare(context.suite.experiment)
    there = {record.run_id for record in tracker.records(context.suite.experiment)}
    done = SyncReport()
    for cell in cells:
        record, journal = read_result(result_path(context.results, cell)), context.journal(cell)
        if record is None or record.run_id in there:
            continue
        try:
            if journal.last(Finish) is None:
                continue
            with journal.locked():
                done.delivered += _sync_one(journal, context.results, tracker)
        except UserError as error:
            done.failed.append((cell.name, error))
    return done


@contextmanager
def _held(journal: Journal) -> Iterator[Journal]:
    """Hold a journal and yield it, or a copy of it where nothing can be written beside it."""
    with ExitStack() as held:
        writable = os.access(journal.folder, os.W_OK)
        if writable:
            try:
                held.enter_context(journal.locked())
            except StorageError:
                writable = False
        if not writable:
            journal = _copied(journal, Path(held.enter_context(tempfile.TemporaryDirectory())))
            held.enter_context(journal.locked())
        yield journal


def _copied(journal: Journal, place: Path) -> Journal:
    folder = place / journal.folder.name
    with disk_errors(folder):
        shutil.copytree(
            journal.folder, folder, ignore=shutil.ignore_patterns("checkpoint*", "chosen-*", "lock", "holder.txt")
        )
        for path in (folder, *folder.rglob("*")):  # the copies are as read-only as what they are of
            path.chmod(0o700 if path.is_dir() else 0o600)
    return Journal(folder)


def raise_if_foreign(journal: Journal) -> None:
    """Raise JournalError for a journal that may not be trusted with this machine's files or with a store's queries.

    A folder brought from elsewhere may hold links, by which files of this machine would be sent to the server or
    written over, and ids that are more than ids.
    """
    links = [path for path in (journal.folder, *journal.folder.rglob("*")) if path.is_symlink()]
    if links:
        raise JournalError(f"{links[0]} is a link; a journal holds plain files only. Remove it to sync this cell")
    start = journal.start
    if start is not None and not _is_sound(start.tags):
        raise JournalError(f"the start of {journal.path} has no usable identity; it was not written by this program")
    for trial in journal.trials().values():
        begun = trial.start
        if begun is not None and not _is_of(begun, start):
            raise JournalError(
                f"{trial.path} is not the journal of a trial of {journal.folder.name}; remove its folder to sync this "
                "cell"
            )


def _is_of(trial: Start, cell: Start | None) -> bool:
    """Return whether a trial is one of a cell's: of its identity and its experiment, and nothing that a score takes."""
    tags = trial.tags
    return (
        cell is not None
        and (tags.get("kind"), trial.redo, trial.experiment) == ("trial", False, cell.experiment)
        and tags.get("cell_identity") == cell.tags["identity"]
        and _HEX.fullmatch(tags.get("journal", "")) is not None
    )


def _is_sound(tags: dict[str, str]) -> bool:
    ids = all(_HEX.fullmatch(tags.get(key, "")) for key in ("identity", "journal"))
    cell = "model" in tags and is_id(tags.get("dataset", "")) and tags.get("seed", "").isdecimal()
    try:
        return ids and cell and tags.get("kind") == "cell" and tags["identity"] == digest_of_tags(tags)
    except (KeyError, ValueError):
        return False


def _raise_if_it_replaces(journal: Journal, tracker: Tracker) -> None:
    start = journal.start
    if start is None or not start.redo or journal.delivery.run_id is not None:
        return
    theirs = tracker.finished(start.experiment, start.tags["identity"])
    if theirs is not None:
        raise JournalError(
            f"it asks to take the place of the finished run {theirs.run_id} in {start.experiment!r} (it was trained "
            "with --redo); if that is meant, add --accept-redo"
        )


def _sync_one(journal: Journal, results: Path, tracker: Tracker) -> bool:
    start = journal.start
    if start is None:
        return False
    delivered = journal.is_delivered(tracker.store)
    if journal.last(Finish) is None:
        if not delivered:
            tracker.deliver(journal)
        return _sync_trials(journal, tracker) or not delivered
    if delivered and _has_result(start, results, tracker) and tracker.has_run(journal):
        tracker.tidy(journal)
        return _restore(journal, tracker) | _sync_trials(journal, tracker)
    if not delivered and not start.redo:
        theirs = tracker.finished(start.experiment, start.tags["identity"])
        if theirs is not None and theirs.run_id != journal.delivery.run_id:
            _keep(results, theirs, journal, tracker)
            tracker.give_way(journal, theirs)
            return False
    _keep(results, tracker.publish(journal), journal, tracker)
    _sync_trials(journal, tracker)
    return True


def _sync_trials(journal: Journal, tracker: Tracker) -> bool:
    """Deliver the trials of a tuned cell whose own run the store has, and return whether any was missing there."""
    run_id, missing = journal.delivery.run_id, False
    for trial in journal.trials().values():
        with trial.locked():
            if trial.delivery.parent != run_id or not trial.is_delivered(tracker.store):
                tracker.deliver_trial(trial, journal)
                missing = True
    return missing


def _restore(journal: Journal, tracker: Tracker) -> bool:
    """Give a run its artifacts again where the store has lost its predictions, and return whether it had.

    Nothing is done where the journal has them no more, or another run counts.
    """
    run_id, finish = journal.delivery.run_id, journal.last(Finish)
    if run_id is None or finish is None:
        return False
    splits = [tag.removeprefix(PREDICTIONS_TAG) for tag in finish.tags if tag.startswith(PREDICTIONS_TAG)]
    names = [f"{PREDICTIONS}/{place_name(split)}" for split in splits]
    lost = [name for name in names if (journal.artifacts / name).is_file() and not tracker.has_artifact(run_id, name)]
    if lost:
        tracker.add_artifacts(run_id, journal.artifacts)
    return bool(lost)


def _keep(results: Path, record: Record, journal: Journal, tracker: Tracker) -> None:
    """Write the cell's result file and its predictions, unless one of another identity is there.

    Which of the two counts is for params.yaml to say; `mobilebench train` takes the right one from the server.
    """
    try:
        present = read_result(result_path(results, record.cell))
    except UserError:  # damaged: it is written again
        present = None
    if present is None or present.identity == record.identity:
        keep_predictions(results, record, journal, tracker)
        write_result(results, record)


def _has_result(start: Start, results: Path, tracker: Tracker) -> bool:
    """Return whether the cell's result file is there and, if it is of this identity, names the run that counts."""
    tags = start.tags
    try:
        record = read_result(result_path(results, Cell(tags["model"], tags["dataset"], int(tags["seed"]))))
    except UserError:  # damaged: it is written again
        return False
    if record is None or record.identity != from_tags(tags):
        return record is not None
    counts = tracker.finished(start.experiment, tags["identity"])
    return counts is not None and counts.run_id == record.run_id
