"""Many cells: which are to be trained, where, and what becomes of each. Knows no executor in particular."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mobilebench.errors import TrackingError, UserError
from mobilebench.execution.cell_run import CellFailedError, CellRun
from mobilebench.execution.context import open_context
from mobilebench.execution.executors import WorkerDiedError, make_executor
from mobilebench.runs.events import Fail, reason_tags
from mobilebench.tracking import OfflineTracker
from mobilebench.training.device import check_device, devices_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from mobilebench.config.suite import Cell, Suite
    from mobilebench.execution.context import RunContext
    from mobilebench.execution.executors import Job, Outcome
    from mobilebench.runs.identity import Identity
    from mobilebench.runs.journal import Journal
    from mobilebench.training import EpochResult

Failure = tuple["Cell", UserError]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EpochDone:
    """A job's message: an epoch is done."""

    result: EpochResult
    epochs: int


@dataclass(frozen=True)
class Note:
    """A job's message: something a person should know."""

    text: str


@dataclass(frozen=True)
class Deliver:
    """A message of a cell or a trial: its journal has something new for the tracking server."""


@dataclass(frozen=True)
class CellJob:
    """The training of one cell, as data. The journal holds its result; this process alone delivers it."""

    suite: Suite
    identity: Identity
    root: Path

    @property
    def name(self) -> str:
        """The cell's name."""
        return self.identity.cell.name

    def run(self, send: Callable[[object], None]) -> None:
        """Train the cell to its end; raises what `CellRun.train_locked` raises."""
        cell = self.identity.cell
        context = open_context(self.suite, cell.dataset, _ByMessage(send), self.root, verify=False)
        CellRun(replace(context, listener=_Sender(send)), cell, self.identity).train_locked()


class _ByMessage(OfflineTracker):
    """The tracking store as a job has it: one writer, the process that runs the jobs, delivers for all of them."""

    def __init__(self, send: Callable[[object], None]) -> None:
        self._send = send

    def deliver(self, journal: Journal) -> None:  # noqa: ARG002 - the receiver knows the job's journal
        self._send(Deliver())

    def is_backing_off(self) -> bool:
        return False


class _Sender:
    """The listener as a job has it."""

    def __init__(self, send: Callable[[object], None]) -> None:
        self._send = send

    def epoch(self, cell: Cell, result: EpochResult, epochs: int) -> None:  # noqa: ARG002 - the listener's signature
        self._send(EpochDone(result, epochs))

    def note(self, cell: Cell, message: str) -> None:  # noqa: ARG002 - the listener's signature
        self._send(Note(message))


def run_cells(context: RunContext, cells: Iterable[Cell]) -> list[Failure]:
    """Bring every cell to its end, `runtime.cells_per_device` at a time, and return those that failed and why.

    Those that are trained but not delivered are tried once more after the others. Raises TrainingError, before any cell
    is touched, where runtime.device is not there.
    """
    check_device(context.suite.runtime.device)
    failed = _Grid(context, list(cells)).run()
    undelivered = [cell for cell, error in failed if isinstance(error, TrackingError)]
    failed = [failure for failure in failed if failure[0] not in undelivered]
    for cell in undelivered:
        try:
            CellRun(context, cell).finish()
        except UserError as error:
            context.listener.note(cell, str(error))
            failed.append((cell, error))
    if not context.tracker.is_backing_off():
        with suppress(TrackingError):  # only speed is lost
            context.tracker.analyze()
    return failed


def _on_device(suite: Suite, device: str) -> Suite:
    """Return the suite as a cell's process on this device has it; where a cell trains is no part of its identity."""
    return replace(suite, runtime=replace(suite.runtime, device=device))


class _Grid:
    """One call's way through its cells."""

    def __init__(self, context: RunContext, cells: list[Cell]) -> None:
        self._context = context
        self._cells = cells
        self._devices = devices_of(context.suite.runtime.device)
        self._under_way: dict[str, CellRun] = {}
        self._on: dict[str, str] = {}  # the device of each cell under way
        self._failed: list[Failure] = []

    def run(self) -> list[Failure]:
        executor = make_executor(self._context.suite.runtime.workers(len(self._cells), len(self._devices)))
        try:
            for outcome in executor.run(self._jobs(), self._on_message):
                self._conclude(outcome)
        except KeyboardInterrupt:
            for run in self._under_way.values():
                run.deliver()
            raise
        return self._failed

    def _jobs(self) -> Iterator[CellJob]:
        """Yield the cells that are left to train, each looked at only when its turn comes."""
        for cell in self._cells:
            run = CellRun(self._context, cell)
            try:
                if run.is_settled():
                    continue
            except UserError as error:
                self._fail(run, error)
                continue
            self._under_way[cell.name] = run
            self._on[cell.name] = min(self._devices, key=[*self._on.values()].count)
            yield CellJob(_on_device(self._context.suite, self._on[cell.name]), run.identity, self._context.root)

    def _on_message(self, job: Job[None], message: object) -> None:
        run = self._under_way[job.name]
        match message:
            case Deliver():
                run.deliver()
            case EpochDone(result, epochs):
                _log.info("%s: epoch %d of %d, loss %.4f", job.name, result.epoch, epochs, result.train_loss)
                self._context.listener.epoch(run.cell, result, epochs)
            case Note(text):
                _log.info("%s: %s", job.name, text)
                run.note(text)
            case _:
                raise TypeError(f"{job.name} sent {message!r}, which is no message of a cell's")

    def _conclude(self, outcome: Outcome[None]) -> None:
        run = self._under_way.pop(outcome.job.name)
        del self._on[outcome.job.name]
        try:
            if isinstance(outcome.error, WorkerDiedError):
                run.journal.append(Fail(tags=reason_tags(str(outcome.error))))
                run.deliver()
                raise CellFailedError(f"{run.cell.name} failed: {outcome.error}")
            if outcome.error is not None:
                raise outcome.error
            run.finish()
        except UserError as error:
            self._fail(run, error)

    def _fail(self, run: CellRun, error: UserError) -> None:
        _log.info("%s failed: %s", run.cell.name, error)  # the listener shows it to a person
        run.note(str(error))
        self._failed.append((run.cell, error))
