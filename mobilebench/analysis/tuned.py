"""The trials of a tuned cell: from this folder's journals, which have them as they are trained, or from its run."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mobilebench.datasets.packing.packed import read_meta
from mobilebench.errors import UserError
from mobilebench.execution.tuned_cell import TRIALS, choosing_metric
from mobilebench.runs.events import Fail
from mobilebench.runs.identity import wanted
from mobilebench.runs.journal import Journal
from mobilebench.runs.records import read_result, result_path
from mobilebench.runs.trials import best, end_of, ends_of
from mobilebench.search.space import trials_of
from mobilebench.system.layout import PACKED, RESULTS, STATE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mobilebench.config.suite import Cell, Suite
    from mobilebench.evaluation.metrics import Metric
    from mobilebench.search.space import Trial
    from mobilebench.tracking import Tracker


@dataclass(frozen=True)
class TrialRow:
    """One trial of a tuned cell."""

    trial: int
    settings: dict[str, Any]
    """What was tried, by keys of the protocol."""
    state: str
    """ended, no value, running, interrupted, failed or waiting."""
    val: float | None = None
    """The metric that chooses, on val, at the epoch that counts."""
    epoch: int | None = None
    """That epoch."""
    seconds: float | None = None
    """Training time."""
    chosen: bool = False
    """Whether the cell's result is made of it; of a cell that is not finished, whether it is the best so far."""
    detail: str = ""
    """Why there is no value."""


@dataclass(frozen=True)
class CellTrials:
    """The trials of one cell."""

    cell: Cell
    metric: str
    """Id of the metric that chooses, on val."""
    rows: tuple[TrialRow, ...]
    source: str
    """Where they were read, in words."""


def trials_of_cell(suite: Suite, cell: Cell, store: Callable[[], Tracker]) -> CellTrials:
    """Return the trials of a cell, of this folder's journals where these have any, else of its run in the store.

    Raises UserError where the cell is not tuned, or neither place has trials of it with the present settings.
    """
    recipe = suite.protocol.recipe_for(cell.model, cell.dataset)
    if recipe.tuning is None:
        raise UserError(
            f"{cell.name} is not tuned: its recipe has tuning null. Give params.yaml a `protocol.tuning` "
            "(docs/transfer.md), and the cell is trained anew with it"
        )
    meta = read_meta(PACKED / cell.dataset)
    chooser = choosing_metric(recipe, meta)
    trials = trials_of(recipe, cell.seed)
    identity = wanted(suite, cell, meta)
    journal = Journal(STATE / identity.name)
    if journal.trials():
        return CellTrials(cell, chooser.id, tuple(_of_journal(journal, trials, chooser)), str(journal.folder))
    record = read_result(result_path(RESULTS, cell))
    if record is None:
        raise UserError(f"no trial of {cell.name} was trained here; `mobilebench train {cell.dataset}` trains them")
    if record.recipe_hash != identity.recipe:
        raise UserError(
            f"no trial of {cell.name} was trained with the present settings: its result is of run {record.run_id}, "
            f"which had others ({TRIALS} is an artifact of it). `mobilebench train {cell.dataset}` tries these"
        )
    with TemporaryDirectory() as folder:
        path = store().artifact(record.run_id, TRIALS, Path(folder))
        if path is None:
            raise UserError(f"run {record.run_id} of {cell.name} has no {TRIALS}: it was trained before it was tuned")
        rows = tuple(_of_table(path, trials, chooser))
    return CellTrials(cell, chooser.id, rows, f"run {record.run_id}")


def _of_journal(journal: Journal, trials: list[Trial], chooser: Metric) -> Iterator[TrialRow]:
    chosen = best(ends_of(journal), higher_is_better=chooser.higher_is_better)
    for trial in trials:
        own = journal.trial(trial.number)
        end = end_of(own)
        if end is not None:
            yield TrialRow(
                trial.number, trial.values, "ended" if end.value is not None else "no value", end.value,
                end.epoch or None, end.seconds, trial.number == chosen, end.reason,
            )  # fmt: skip
            continue
        events = own.events()
        last = events[-1] if events else None
        why = last.tags["reason"] if isinstance(last, Fail) else ""
        state = "running" if own.is_locked() else "failed" if why else "interrupted" if events else "waiting"
        yield TrialRow(trial.number, trial.values, state, detail=why)


def _of_table(path: Path, trials: list[Trial], chooser: Metric) -> Iterator[TrialRow]:
    with path.open(encoding="utf-8", newline="") as file:
        found = {int(row["trial"]): row for row in csv.DictReader(file)}
    for trial in trials:
        row = found.get(trial.number)
        if row is None:
            raise UserError(f"{TRIALS} of the run has no trial {trial.number}; it is damaged")
        value = row[f"val_{chooser.id}"]
        yield TrialRow(
            trial.number, trial.values, "ended" if value else "no value", float(value) if value else None,
            int(row["epoch"]) if row["epoch"] else None, float(row["seconds"]), row["chosen"] == "yes",
            row["why_no_value"],
        )  # fmt: skip
