"""What a grid has left to train, before it is trained: which cell is first, how long all take, what must be there.

Nothing is written, and no server is asked.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mobilebench.config.protocol import epochs_of
from mobilebench.datasets.packing.packed import Meta
from mobilebench.datasets.packing.prepare import find
from mobilebench.datasets.spec import DatasetSpec
from mobilebench.datasets.status import state_of
from mobilebench.execution.estimate import Estimate, Estimator
from mobilebench.runs.status import meta_of
from mobilebench.system.layout import PACKED, RAW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mobilebench.config.recipe import Recipe
    from mobilebench.config.suite import Cell, Suite
    from mobilebench.execution.estimate import Basis
    from mobilebench.runs.status import CellState


@dataclass(frozen=True)
class CellPlan:
    """One cell that is left."""

    cell: Cell
    state: str
    """As `mobilebench status` calls it."""
    epochs: int
    """Of the whole cell; those of all trials of a tuned one."""
    epochs_left: int
    """That are still to be trained."""
    seconds: float | None
    """Estimated seconds of training that are left; None where nothing is known to go by."""
    basis: Basis
    """What the estimate rests on."""
    device_known: bool
    """Whether that was trained on a device like the one here; False where it is unknown which that was."""
    macs: float | None
    """Multiply-adds (forward) of all train images in the epochs that are left; None where they are not known."""
    memory_bytes: int | None
    """Estimated memory of its training, fp32 with Adam; None where its model was not profiled at this input size."""
    trainings: int
    """How many trainings it can be shared out into: the trials of a tuned cell, else one."""


@dataclass(frozen=True)
class DataPlan:
    """One dataset that was asked for, or that the images of such a one come from."""

    dataset: str
    is_prepared: bool
    """Whether its packed form is here, whole, as the protocol has it."""
    packed_bytes: int
    """What a machine that trains its cells must have of it; 0 where it is not packed."""
    to_train: int = 0
    """Cells with epochs left."""
    to_deliver: int = 0
    """Cells that are trained and wait to be delivered."""
    finished: int = 0
    """Cells with nothing left to do."""
    is_parent: bool = False
    """Whether no cells of its own were asked for, and those of a derived dataset are left that has its images."""


@dataclass(frozen=True)
class Plan:
    """What is left of a grid."""

    cells: tuple[CellPlan, ...]
    """Those that are left, longest first; before them those whose length is unknown, for they may be longer."""
    data: tuple[DataPlan, ...]
    """The datasets that were asked for, then those that the images of a derived one come from."""
    device: str
    """The device here."""
    elsewhere: tuple[str, ...]
    """Other devices, which runs were finished on that nothing is estimated by."""

    @property
    def known(self) -> list[CellPlan]:
        """Those that are to be trained and have an estimate."""
        return [cell for cell in self.cells if cell.seconds is not None and cell.epochs_left]

    @property
    def unknown(self) -> list[CellPlan]:
        """Those without one."""
        return [cell for cell in self.cells if cell.seconds is None]

    @property
    def seconds(self) -> float:
        """Estimated seconds of those that have an estimate, one after another."""
        return sum(cell.seconds or 0.0 for cell in self.known)

    def seconds_at(self, workers: int) -> float:
        """Return the same with so many trainings at a time, each begun in this order as soon as one has ended."""
        busy = [0.0] * workers
        for cell in self.known:
            for _ in range(cell.trainings):
                heapq.heapreplace(busy, busy[0] + (cell.seconds or 0.0) / cell.trainings)
        return max(busy)


def plan(
    suite: Suite,
    states: Mapping[Cell, CellState],
    device: str,
    count: Callable[[str, Recipe], int | None] | None = None,
) -> Plan:
    """Return what is left of the cells that have these states (`runs.status.grid_states`).

    device, count: as in `Estimator`.
    """
    estimator = Estimator(suite, device, count)
    cells = [_cell_plan(estimator, cell, state) for cell, state in states.items() if state.name != "finished"]
    data = _data_plans(suite, estimator, states)
    return Plan(tuple(sorted(cells, key=_longest_first)), tuple(data), device, estimator.elsewhere)


def _cell_plan(estimator: Estimator, cell: Cell, state: CellState) -> CellPlan:
    recipe = estimator.recipe(cell.model, cell.dataset)
    epochs = epochs_of(recipe)
    left = epochs if state.epochs_left is None else state.epochs_left
    estimate = estimator.estimate(cell.model, cell.dataset)
    if state.name == "undelivered":
        left, estimate = 0, Estimate(0.0, "trained", device_known=True)
    share, macs = left / epochs, estimator.macs(cell.model, cell.dataset)
    return CellPlan(
        cell,
        state.name,
        epochs,
        left,
        seconds=None if estimate.seconds is None else estimate.seconds * share,
        basis=estimate.basis,
        device_known=estimate.device_known,
        macs=None if macs is None else macs * share,
        memory_bytes=estimator.memory_bytes(cell.model, cell.dataset),
        trainings=1 if recipe.tuning is None else recipe.tuning.count,
    )


def _longest_first(planned: CellPlan) -> tuple[bool, float]:
    length = planned.macs if planned.seconds is None else planned.seconds
    return planned.seconds is not None, -math.inf if length is None else -length


def _data_plans(suite: Suite, estimator: Estimator, states: Mapping[Cell, CellState]) -> Iterable[DataPlan]:
    names, parents = list(dict.fromkeys(cell.dataset for cell in states)), dict[str, DatasetSpec]()
    for name in names:
        own = [state.name for cell, state in states.items() if cell.dataset == name]
        finished, trained = own.count("finished"), own.count("undelivered")
        left = len(own) - finished - trained
        is_prepared = isinstance(meta_of(suite, name), Meta)
        size = estimator.data(name).packed_bytes
        yield DataPlan(name, is_prepared, size, left, trained, finished)
        derived = find(name, suite.data_sources).derived
        if left and derived is not None:  # it has no pixels of its own
            parents[derived.parent.id] = derived.parent
    for name, spec in parents.items():
        if name not in names:
            state = state_of(spec, RAW, PACKED)
            yield DataPlan(name, bool(state.packed_bytes), state.packed_bytes, is_parent=True)
