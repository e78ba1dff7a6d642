"""What a project folder no longer needs, and what may go only when it is asked for."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mobilebench.analysis.identities import identities_here
from mobilebench.errors import TrackingError, UserError
from mobilebench.execution.model_file import weights_in
from mobilebench.runs import trials
from mobilebench.runs.events import Finish
from mobilebench.runs.identity import from_tags
from mobilebench.runs.journal import Journal
from mobilebench.system.disk import disk_errors
from mobilebench.system.layout import FETCHED, STATE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mobilebench.config.suite import Suite
    from mobilebench.runs.identity import Identity
    from mobilebench.tracking import Tracker

Kind = Literal[
    "superseded journal",
    "checkpoint of a finished cell",
    "weights of a finished cell's trial",
    "fetched predictions",
    "superseded weights",
]


@dataclass(frozen=True)
class Leftover:
    """Something that may be removed, and why it may."""

    kind: Kind
    path: Path
    why: str
    journal: Journal | None = None
    """The one that must be held while it is removed; None where there is none."""

    @property
    def bytes(self) -> int:
        """What removing it frees. A file that has another name as well, such as the store's, frees nothing."""
        files = [self.path] if self.path.is_file() else [path for path in self.path.rglob("*") if path.is_file()]
        return sum(stat.st_size for path in files if (stat := path.lstat()).st_nlink == 1)


def leftovers(suite: Suite, tracker: Tracker, *, weights: bool = False) -> list[Leftover]:
    """Return what this folder no longer needs, for the suite of its params.yaml.

    A journal is superseded where its cell is one of the suite's and has another identity now. One that was trained to
    its end is named only where the store has its whole run: a finished result stays in one place at least. Cells that
    are not in the suite, those whose identity cannot be known here (their data is not packed, their network cannot be
    built), and journals that another process holds or that cannot be read are left alone.

    weights: also those of superseded journals' runs in a store of files on this machine, whose numbers stay. Raises
    TrackingError where the store cannot be asked.
    """
    wanted = {cell: identity.digest for cell, identity in identities_here(suite)[0].items()}
    found: list[Leftover] = []
    for path in sorted(STATE.glob("*/journal.jsonl")):
        journal = Journal(path.parent)
        try:
            identity = _identity(journal)
            now = wanted.get(identity.cell) if identity is not None else None
            if identity is None or now is None or journal.is_locked():
                continue
            found += _of_journal(journal, tracker, is_wanted=identity.digest == now)
        except TrackingError:
            raise
        except UserError:  # damaged: `status` says so, and a person decides
            continue
    found += [Leftover("fetched predictions", path, "the store has them") for path in sorted(FETCHED.glob("*.npz"))]
    return found + (_weights(suite, tracker, wanted_digests=set(wanted.values())) if weights else [])


def remove(leftover: Leftover) -> None:
    """Remove a leftover. Raises StorageError, and CellBusyError where another process took the cell up meanwhile."""
    if leftover.journal is None:
        _remove(leftover.path)
        return
    with leftover.journal.locked():
        _remove(leftover.path)


def _remove(path: Path) -> None:
    with disk_errors(path):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _identity(journal: Journal) -> Identity | None:
    start = journal.start
    try:
        return from_tags(start.tags) if start is not None and start.tags.get("kind") == "cell" else None
    except (KeyError, ValueError):  # of an earlier version
        return None


def _of_journal(journal: Journal, tracker: Tracker, *, is_wanted: bool) -> Iterator[Leftover]:
    ended = journal.last(Finish) is not None
    if not is_wanted and not ended:
        yield Leftover("superseded journal", journal.folder, "not trained to its end, of another identity", journal)
    elif not is_wanted and _is_in(tracker, journal):
        run = journal.delivery.run_id
        yield Leftover("superseded journal", journal.folder, f"of another identity; the store has run {run}", journal)
    elif ended:
        for path in sorted({*journal.folder.glob("checkpoint*"), *journal.folder.glob("chosen-*")}):
            yield Leftover("checkpoint of a finished cell", path, "its weights are an artifact", journal)
        for path in trials.leftovers(journal):
            yield Leftover("weights of a finished cell's trial", path, "the chosen ones are an artifact", journal)


def _is_in(tracker: Tracker, journal: Journal) -> bool:
    """Return whether the store has all of a finished journal: its run, ended, and its weights.

    A project folder that was moved has its store under another address: the run's id tells that it is the same.
    """
    run, start = journal.delivery.run_id, journal.start
    if run is None or start is None or not all(own.is_delivered() for own in (journal, *journal.trials().values())):
        return False
    place = tracker.whereabouts(run)
    if place is None or (place.experiment, place.status, place.restore) != (start.experiment, "FINISHED", ""):
        return False
    weights = weights_in(journal.artifacts)
    return weights is None or tracker.has_artifact(run, weights.name)


def _weights(suite: Suite, tracker: Tracker, wanted_digests: set[str]) -> list[Leftover]:
    """Return the weights in the store of finished runs whose cell has a finished run of the identity that counts."""
    if not tracker.has_experiment(suite.experiment):
        return []
    runs = [run for run in tracker.runs(suite.experiment) if run.record.status == "FINISHED"]
    settled = {run.record.cell for run in runs if run.record.identity.digest in wanted_digests}
    found = []
    for run in runs:
        place = tracker.artifact_folder(run.artifact_uri)
        is_superseded = run.record.cell in settled and run.record.identity.digest not in wanted_digests
        weights = weights_in(place) if is_superseded and place is not None else None
        if weights is not None:
            found.append(Leftover("superseded weights", weights, f"of run {run.record.run_id}"))
    return found
