"""The state of every cell of a grid, read from this folder's files alone: no server is asked, no torch imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mobilebench.datasets.packing.packed import open_packed
from mobilebench.errors import UserError
from mobilebench.runs.events import Epoch, Fail, Finish
from mobilebench.runs.identity import identity, record_identity
from mobilebench.runs.journal import Journal
from mobilebench.runs.records import read_result, result_path
from mobilebench.system.layout import PACKED, RESULTS, STATE

if TYPE_CHECKING:
    from mobilebench.config.suite import Cell, Suite

Name = Literal[
    "unprepared", "damaged", "waiting", "running", "interrupted", "failed", "undelivered", "finished", "outdated"
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
    "outdated": "dim",
}


@dataclass(frozen=True)
class CellState:
    """The state of one cell: a name, a short label (of a finished one its top-1) and, where a person must act, why."""

    name: Name
    label: str
    detail: str = ""


def grid_states(suite: Suite) -> dict[Cell, CellState]:
    """Return the state of every cell of the suite, in the grid's order."""
    digests = {dataset: _digest(dataset) for dataset in suite.datasets}
    return {cell: _state(suite, cell, digests[cell.dataset]) for cell in suite.cells()}


def _digest(dataset: str) -> str | CellState:
    """Return the digest of a packed dataset after a check of all but its pixels, or the state of all its cells."""
    if not (PACKED / dataset).exists():
        return CellState("unprepared", "no data")
    try:
        return open_packed(PACKED / dataset).meta.digest
    except UserError as error:
        return CellState("damaged", "damaged data", str(error))


def _state(suite: Suite, cell: Cell, digest: str | CellState) -> CellState:
    if isinstance(digest, CellState):
        return digest
    try:
        return _known(suite, cell, identity(cell, suite.protocol.hash, digest))
    except UserError as error:  # of this cell only: its result file or its journal can't be read
        return CellState("damaged", "damaged", str(error))


def _known(suite: Suite, cell: Cell, wanted: str) -> CellState:
    record = read_result(result_path(RESULTS, cell))
    journal = Journal(STATE / f"{cell.name}-{wanted}")
    if record is not None and record_identity(record) == wanted:
        if journal.is_of_other(suite.experiment):
            advice = f"`mobilebench train {cell.dataset}` delivers it to {suite.experiment!r} and trains nothing"
            return CellState("undelivered", "other experiment", f"finished under another experiment's name; {advice}")
        top1 = "?" if record.test_top1 is None else f"{100 * record.test_top1:.1f} %"
        return CellState("finished", top1)
    if not journal.events():
        return CellState("outdated", "outdated") if record is not None else CellState("waiting", "waiting")
    return _unfinished(journal, suite.protocol.epochs, cell.dataset)


def _unfinished(journal: Journal, epochs: int, dataset: str) -> CellState:
    events = journal.events()
    done = max((event.step for event in events if isinstance(event, Epoch)), default=0)
    last = events[-1]
    if journal.is_locked():
        return CellState("running", f"running {done}/{epochs}")
    if isinstance(last, Finish) and journal.is_delivered():
        return CellState(
            "undelivered", "no result file", f"trained and delivered; `mobilebench train {dataset}` writes its file"
        )
    if isinstance(last, Finish):
        return CellState("undelivered", "undelivered", "trained; `mobilebench sync` delivers it to the tracking server")
    if isinstance(last, Fail):
        return CellState("failed", f"failed {done}/{epochs}", last.tags["reason"])
    return CellState("interrupted", f"interrupted {done}/{epochs}")
