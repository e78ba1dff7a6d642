"""What all cells of one dataset share in one process: the suite, the opened data, the tracking store, the listener."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mobilebench.datasets.packing.packed import open_packed
from mobilebench.errors import UserError
from mobilebench.execution.progress import NullListener
from mobilebench.runs.identity import identity, record_identity
from mobilebench.runs.journal import Journal
from mobilebench.runs.records import read_result, result_path
from mobilebench.system.layout import PACKED, RESULTS, STATE

if TYPE_CHECKING:
    from mobilebench.config.suite import Cell, Suite
    from mobilebench.datasets.packing.packed import Packed
    from mobilebench.execution.progress import ProgressListener
    from mobilebench.tracking import CellTracker


@dataclass(frozen=True)
class RunContext:
    """What all cells of one dataset share, made once per process."""

    suite: Suite
    dataset: str
    packed: Packed
    tracker: CellTracker
    listener: ProgressListener
    root: Path = Path()
    """The project folder."""

    @property
    def results(self) -> Path:
        """Where result files are written."""
        return self.root / RESULTS

    def journal(self, cell: Cell) -> Journal:
        """Return the journal of a cell under this suite's protocol, this data and this code."""
        return Journal(self.root / STATE / f"{cell.name}-{self.identity(cell)}")

    def identity(self, cell: Cell) -> str:
        """Return the hex digest of all that gives the cell's accuracy its meaning: equal identity, equal result."""
        return identity(cell, self.suite.protocol.hash, self.packed.meta.digest)

    def is_finished(self, cell: Cell) -> bool:
        """Return whether the cell's result file is there, readable, of this identity and of this experiment."""
        try:
            record = read_result(result_path(self.results, cell))
        except UserError as error:  # the run has all that the file had: it is written again, other cells go on
            self.listener.note(cell, f"{error}")
            return False
        if record is None or self.identity(cell) != record_identity(record):
            return False
        return not self.journal(cell).is_of_other(self.suite.experiment)


def open_context(
    suite: Suite, dataset: str, tracker: CellTracker, root: Path = Path(), *, verify: bool = True
) -> RunContext:
    """Return the context of one dataset of the suite, its every pixel checked: seconds, before hours are spent on it.

    verify: False leaves the pixels unread, to look which cells there are to train. Raises UserError when the packed
    data is absent or damaged.
    """
    packed = open_packed(root / PACKED / dataset)
    if verify:
        packed.verify()
    return RunContext(suite, dataset, packed, tracker, NullListener(), root)
