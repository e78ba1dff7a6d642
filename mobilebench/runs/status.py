"""The state of every cell of a grid, read from this folder's files alone: no server is asked.

Torch is imported only where a network must be built, because its code is new or was edited since it was last looked at.
"""

from __future__ import annotations

import glob
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from mobilebench.config.protocol import epochs_of
from mobilebench.datasets.packing.packed import ParentError, open_packed
from mobilebench.datasets.packing.prepare import find, is_of
from mobilebench.errors import UserError
from mobilebench.evaluation.metrics import MetricError, get_metric, metric_of
from mobilebench.models.fingerprint import UNBUILT
from mobilebench.runs.events import Epoch, Fail, Finish
from mobilebench.runs.identity import from_tags, wanted
from mobilebench.runs.journal import Journal
from mobilebench.runs.records import read_result, result_path
from mobilebench.runs.trials import ends_of
from mobilebench.system.layout import PACKED, RESULTS, STATE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from mobilebench.config.recipe import Recipe
    from mobilebench.config.suite import Cell, Suite
    from mobilebench.datasets.packing.packed import Meta
    from mobilebench.runs.identity import Identity
    from mobilebench.runs.records import Record

Name = Literal[
    "unprepared", "damaged", "waiting", "running", "interrupted", "failed", "undelivered", "finished", "superseded",
    "unbuilt",
]  # fmt: skip
COLOURS: dict[Name, str] = {
    "unprepared": "dim",
    "damaged": "red",
    "waiting": "default",
    "running": "cyan",
    "interrupted": "yellow",
    "failed": "red",
    "undelivered": "yellow",
    "finished": "green",
    "superseded": "dim",
    "unbuilt": "yellow",
}


@dataclass(frozen=True)
class CellState:
    """The state of one cell: a name, a short label (of a finished one its result) and, where a person must act, why."""

    name: Name
    label: str
    detail: str = ""
    trials: tuple[int, int] | None = None
    """Of a tuned cell that is not finished: how many of its trials have ended, and how many it has."""
    epochs_left: int | None = None
    """Of one that was begun: the epochs that are left to train, of a tuned cell about; None where it was not begun."""


def grid_states(suite: Suite, cells: Iterable[Cell] | None = None) -> dict[Cell, CellState]:
    """Return the state of every cell of the suite, in the grid's order, or of these cells."""
    asked = list(suite.cells() if cells is None else cells)
    metas = {dataset: meta_of(suite, dataset) for dataset in dict.fromkeys(cell.dataset for cell in asked)}
    return {cell: _state(suite, cell, metas[cell.dataset]) for cell in asked}


def meta_of(suite: Suite, dataset: str) -> Meta | CellState:
    """Return what a packed dataset says of itself after a check of all but its pixels, or the state of its cells."""
    if not (PACKED / dataset).exists():
        return CellState("unprepared", "no data")
    try:
        meta = open_packed(PACKED / dataset).meta
    except ParentError as error:
        return CellState("unprepared", "no data", str(error))
    except UserError as error:
        return CellState("damaged", "damaged data", str(error))
    if not is_of(meta, find(dataset, suite.data_sources), suite.protocol.recipe_for("", dataset).data):
        words = f"its data was packed by other settings than params.yaml has: `mobilebench data prepare {dataset}`"
        return CellState("unprepared", "other data", words)
    return meta


def _state(suite: Suite, cell: Cell, meta: Meta | CellState) -> CellState:
    if isinstance(meta, CellState):
        return meta
    try:
        record = read_result(result_path(RESULTS, cell))
        others = sorted(STATE.glob(f"{glob.escape(cell.name)}-*/journal.jsonl"))
        if record is None and not others:  # nothing to compare with: no network need be built
            return CellState("waiting", "waiting")
        identity = wanted(suite, cell, meta)
        found = _known(suite, identity, record, meta)
        if found is None and not identity.is_known:
            return _unbuilt(identity, record, meta)
        return found or _superseded(identity, record, others)
    except UserError as error:  # of this cell only: its result file or its journal can't be read
        return CellState("damaged", "damaged", str(error))


def _known(suite: Suite, identity: Identity, record: Record | None, meta: Meta) -> CellState | None:
    """Return the state of the cell's wanted identity, None when there is nothing of it."""
    cell = identity.cell
    journal = Journal(STATE / identity.name)
    if record is not None and record.identity == identity:
        if journal.is_of_other(suite.experiment):
            advice = f"`mobilebench train {cell.dataset}` delivers it to {suite.experiment!r} and trains nothing"
            return CellState("undelivered", "other experiment", f"finished under another experiment's name; {advice}")
        if journal.waits_for(suite.experiment):
            return _undelivered()
        return CellState("finished", *_shown(record, meta))
    recipe = suite.protocol.recipe_for(cell.model, cell.dataset)
    return _unfinished(journal, recipe, cell.dataset) if journal.events() else None


def _shown(record: Record, meta: Meta) -> tuple[str, str]:
    """Return a result by the metric that the packed data is read by now, and what there is to say of it.

    Of a run that did not record it the result is by the run's own metric, whose name is then beside it.
    """
    try:
        own = metric_of(meta.metric, meta.target).id
    except MetricError:  # of a package that is not installed here
        own = meta.metric
    if own in record.metrics:
        return _in_digits(own, record.metrics[own]), ""
    why = f"did not record {own}, by which its dataset is read now; `mobilebench score` computes it from predictions"
    if record.value is None:
        return "?", why
    return f"{_in_digits(record.metric, record.value)} ({record.metric})", why


def _in_digits(name: str, value: float) -> str:
    try:
        percent = get_metric(name).percent
    except MetricError:
        percent = False
    return f"{100 * value:.1f} %" if percent else f"{value:.3f}"


def _undelivered() -> CellState:
    return CellState("undelivered", "undelivered", "trained; `mobilebench sync` delivers it to the tracking server")


def _unbuilt(identity: Identity, record: Record | None, meta: Meta) -> CellState:
    """Return the state of a cell whose network or weights are not here; a result of its recipe and data is shown."""
    why = identity.unknown
    if record is None or replace(record.identity, network=identity.network, weights=identity.weights) != identity:
        return CellState("unbuilt", "no network" if identity.network == UNBUILT else "no weights", why)
    return CellState(
        "unbuilt", f"{_shown(record, meta)[0]} (?)", f"{why}. It has a result, of whatever these were then"
    )


def _superseded(identity: Identity, record: Record | None, journals: list[Path]) -> CellState:
    """Return the state of a cell of which there is a result, or a part of one, of other identities only."""
    if record is not None:
        found, what = record.identity, "its result"
    else:
        start = max((Journal(path.parent) for path in journals), key=lambda j: j.path.stat().st_mtime).start
        if start is None:
            return CellState("waiting", "waiting")
        found, what = from_tags(start.tags), "a part of it"
    why = ", ".join(identity.differences(found))
    advice = (
        f"`mobilebench train {identity.cell.dataset}` trains the cell as things are now, unless the tracking store has "
        "a finished run of just that, which it takes over"
    )
    return CellState("superseded", "superseded", f"{what} is of another identity ({why}); {advice}")


def _unfinished(journal: Journal, recipe: Recipe, dataset: str) -> CellState:
    events = journal.events()
    done = _done(journal)
    progress, trials = f"{done}/{recipe.total_epochs}", None
    left = max(0, recipe.total_epochs - done)
    if recipe.tuning is not None:
        ended = ends_of(journal)
        trials = len(ended), recipe.tuning.count
        progress = f"{trials[0]}/{trials[1]} trials"
        begun = sum(_done(trial) for number, trial in journal.trials().items() if number not in ended)
        left = max(0, round(epochs_of(recipe) * (1 - trials[0] / trials[1])) - begun)
    last = events[-1]
    if journal.is_locked():
        return CellState("running", f"running {progress}", trials=trials, epochs_left=left)
    if isinstance(last, Finish) and journal.is_delivered():
        return CellState(
            "undelivered",
            "to take over",
            "finished and delivered before, and the result file here is absent or of another identity (as after going "
            f"back to earlier settings); `mobilebench train {dataset}` takes the finished run over and trains nothing",
        )
    if isinstance(last, Finish):
        return _undelivered()
    if isinstance(last, Fail):
        return CellState("failed", f"failed {progress}", last.tags["reason"], trials, left)
    return CellState("interrupted", f"interrupted {progress}", trials=trials, epochs_left=left)


def _done(journal: Journal) -> int:
    return max((event.step for event in journal.events() if isinstance(event, Epoch)), default=0)
