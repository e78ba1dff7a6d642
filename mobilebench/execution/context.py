"""The context of one dataset: what all its cells share in one process, and who hears of their progress."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mobilebench.datasets.packing.packed import open_packed
from mobilebench.errors import UserError
from mobilebench.runs.identity import identity, record_identity
from mobilebench.runs.journal import Journal
from mobilebench.runs.records import read_result, result_path
from mobilebench.system.layout import PACKED, RESULTS, STATE

if TYPE_CHECKING:
    from mobilebench.config.suite import Cell, Suite
    from mobilebench.datasets.packing.packed import Packed
    from mobilebench.tracking import Tracker
    from mobilebench.training import EpochResult


class ProgressListener(Protocol):
    """What wants to hear of progress: the command line's bars, a test, nobody."""

    def epoch(self, cell: Cell, result: EpochResult, epochs: int) -> None:
        """Hear that an epoch of a cell is done."""

    def note(self, cell: Cell, message: str) -> None:
        """Hear something a person should know about a cell."""


@dataclass(frozen=True)
class RunContext:
    """What all cells of one dataset share, made once per process: the suite, the opened data and the tracker.

    tracker is None when working offline: everything then waits in the journals for `mobilebench sync`.
    """

    suite: Suite
    dataset: str
    packed: Packed
    tracker: Tracker | None
    listener: ProgressListener
    results: Path = RESULTS
    state: Path = STATE

    def journal(self, cell: Cell) -> Journal:
        """Return the journal of a cell under this suite's protocol, this data and this code."""
        return Journal(self.state / f"{cell.name}-{self.identity(cell)}")

    def identity(self, cell: Cell) -> str:
        """Return the hex digest of all that gives the cell's accuracy its meaning: equal identity, equal result."""
        return identity(cell, self.suite.protocol.hash, self.packed.meta.digest)

    def is_finished(self, cell: Cell) -> bool:
        """Tell whether the cell's result file is there, readable and of this identity, and not another experiment's."""
        try:
            record = read_result(result_path(self.results, cell))
        except UserError as error:  # the run has all that the file had: it is written again, other cells go on
            self.listener.note(cell, f"{error}")
            return False
        if record is None or self.identity(cell) != record_identity(record):
            return False
        return not self.journal(cell).is_of_other(self.suite.experiment)


class NullListener:
    """A listener that shows nothing."""

    def epoch(self, cell: Cell, result: EpochResult, epochs: int) -> None:
        """Show nothing."""

    def note(self, cell: Cell, message: str) -> None:
        """Show nothing."""


def open_context(
    suite: Suite, dataset: str, tracker: Tracker | None, root: Path = Path(), *, verify: bool = True
) -> RunContext:
    """Return the context of one dataset of the suite, its every pixel checked: seconds, before hours are spent on it.

    verify: False leaves the pixels unread, to look which cells there are to train. Raises UserError when the packed
    data is absent or damaged.
    """
    packed = open_packed(root / PACKED / dataset)
    if verify:
        packed.verify()
    return RunContext(suite, dataset, packed, tracker, NullListener(), root / RESULTS, root / STATE)
