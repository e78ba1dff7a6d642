"""Many cells: which are to be trained, where, and what becomes of each. Knows no executor in particular.

A tuned cell is as many jobs as it has trials, and then one that makes the best trial the cell's result.
"""

from __future__ import annotations

import logging
from collections import deque
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mobilebench.datasets.packing.near import near
from mobilebench.errors import TrackingError, UserError
from mobilebench.execution.cell_run import CellFailedError, CellRun
from mobilebench.execution.context import RunContext, open_context
from mobilebench.execution.executors import WorkerDiedError, make_executor
from mobilebench.execution.suites import trainings
from mobilebench.execution.tuned_cell import TunedCellRun, cell_run, raise_if_untunable
from mobilebench.runs.events import Fail, Finish, Interrupt, reason_tags
from mobilebench.runs.journal import Journal, epochs_done
from mobilebench.system.layout import PACKED, STATE
from mobilebench.tracking import OfflineTracker
from mobilebench.training.device import check_device, devices_of, take_share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from mobilebench.config.suite import Cell, Suite
    from mobilebench.execution.executors import Executor, Job, Outcome
    from mobilebench.runs.attempts import Attempt
    from mobilebench.runs.identity import Identity
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
    attempt: Attempt | None = None
    """Where several machines may write: which attempt this is."""
    data: Path | None = None
    """A folder of this machine's own disk that the packed data is copied to; None to read the project's."""

    @property
    def name(self) -> str:
        """The cell's name."""
        return self.identity.cell.name

    @property
    def folder(self) -> Path:
        """Its journal's folder."""
        return self.root / STATE / self.identity.name

    def as_attempt(self, attempt: Attempt, data: Path | None) -> CellJob:
        """Return the job as this attempt does it, with a copy of its data in the folder `data` of its node."""
        return replace(self, attempt=attempt, data=data)

    def progress(self) -> int:
        """Return how many epochs its journal has."""
        return epochs_done(Journal(self.folder))

    def run(self, send: Callable[[object], None]) -> None:
        """Train the cell to its end; raises what `CellRun.train_locked` raises."""
        cell_run(_context(self, send), self.identity.cell, self.identity).train_locked()


@dataclass(frozen=True)
class TrialJob:
    """One trial of a tuned cell, as data."""

    suite: Suite
    identity: Identity
    """The cell's."""
    root: Path
    number: int
    attempt: Attempt | None = None
    data: Path | None = None
    """Both as of a `CellJob`."""

    @property
    def name(self) -> str:
        """The cell's name and the trial's number."""
        return f"{self.identity.cell.name} trial {self.number}"

    @property
    def folder(self) -> Path:
        """The trial's journal's folder."""
        return Journal(self.root / STATE / self.identity.name).trial(self.number).folder

    def as_attempt(self, attempt: Attempt, data: Path | None) -> TrialJob:
        """Return the job as this attempt does it, with a copy of its data in the folder `data` of its node."""
        return replace(self, attempt=attempt, data=data)

    def progress(self) -> int:
        """Return how many epochs its journal has."""
        return epochs_done(Journal(self.folder))

    def run(self, send: Callable[[object], None]) -> None:
        """Train the trial to its end; raises what `TunedCellRun.train_trial` raises."""
        TunedCellRun(_context(self, send), self.identity.cell, self.identity).train_trial(self.number)


def _context(job: CellJob | TrialJob, send: Callable[[object], None]) -> RunContext:
    """Return the context of a job's cell, which delivers nothing itself and shows nothing: it sends messages."""
    dataset = job.identity.cell.dataset
    place = near(job.root / PACKED / dataset, job.data) if job.data is not None else None
    context = open_context(job.suite, dataset, _ByMessage(send), job.root, verify=False, place=place)
    if job.attempt is not None:
        take_share(job.suite.runtime)
    return replace(context, listener=_Sender(send), attempt=job.attempt)


class _ByMessage(OfflineTracker):
    """The tracking store as a job has it: one writer, the process that runs the jobs, delivers for all of them."""

    def __init__(self, send: Callable[[object], None]) -> None:
        self._send = send

    def deliver(self, journal: Journal) -> None:  # noqa: ARG002 - the receiver knows the job's journal
        self._send(Deliver())

    def deliver_trial(self, trial: Journal, cell: Journal) -> None:  # noqa: ARG002 - likewise
        self._send(Deliver())

    def is_backing_off(self) -> bool:
        return False


class _Sender:
    """The listener as a job has it."""

    def __init__(self, send: Callable[[object], None]) -> None:
        self._send = send

    def epoch(self, cell: Cell, result: EpochResult, epochs: int) -> None:  # noqa: ARG002 - the listener's signature
        self._send(EpochDone(result, epochs))

    def trials_planned(self, cell: Cell, epochs: Mapping[int, int]) -> None:
        """Send nothing: it is the process that runs the jobs which plans them."""

    def trial_epoch(self, cell: Cell, trial: int, result: EpochResult, epochs: int) -> None:  # noqa: ARG002 - likewise
        self._send(EpochDone(result, epochs))

    def trial_ended(self, cell: Cell, trial: int, words: str) -> None:
        """Send nothing: how a job ended is its outcome."""

    def note(self, cell: Cell, message: str) -> None:  # noqa: ARG002 - the listener's signature
        self._send(Note(message))


def run_cells(
    context: RunContext | Mapping[str, RunContext], cells: Iterable[Cell], executor: Executor | None = None
) -> list[Failure]:
    """Bring every cell to its end, `runtime.cells_per_device` at a time, and return those that failed and why.

    context: of the one dataset that the cells are of, or {dataset: its own} with one suite, listener and tracker.
    executor: where they run; None for this machine, in this process or in others.

    Those that are trained but not delivered are tried once more after the others. Raises TrainingError, before any cell
    is touched, where runtime.device is not there, or cells are to be tuned on validation images that are not.
    """
    contexts = {context.dataset: context} if isinstance(context, RunContext) else context
    cells = list(cells)
    if not cells:
        return []
    shared = contexts[cells[0].dataset]
    if executor is None or not executor.remote:
        check_device(shared.suite.runtime.device)
    for dataset, own in contexts.items():
        raise_if_untunable(own, [cell for cell in cells if cell.dataset == dataset])
    failed = _Grid(contexts, cells, executor).run()
    undelivered = [cell for cell, error in failed if isinstance(error, TrackingError)]
    failed = [failure for failure in failed if failure[0] not in undelivered]
    for cell in undelivered:
        try:
            cell_run(contexts[cell.dataset], cell).finish()
        except UserError as error:
            shared.listener.note(cell, str(error))
            failed.append((cell, error))
    if not shared.tracker.is_backing_off():
        with suppress(TrackingError):  # only speed is lost
            shared.tracker.analyze()
    return failed


def _on_device(suite: Suite, device: str) -> Suite:
    """Return the suite as a cell's process on this device has it; where a cell trains is no part of its identity."""
    return replace(suite, runtime=replace(suite.runtime, device=device))


@dataclass(eq=False)
class _Tuned:
    """A tuned cell whose trials are being trained; this process holds it meanwhile."""

    run: TunedCellRun
    held: ExitStack
    under_way: set[int] = field(default_factory=set)
    all_begun: bool = False
    error: UserError | None = None


class _Grid:
    """One call's way through its cells."""

    def __init__(self, contexts: Mapping[str, RunContext], cells: list[Cell], executor: Executor | None) -> None:
        shared = contexts[cells[0].dataset]
        self._contexts = contexts
        self._suite, self._listener, self._root = shared.suite, shared.listener, shared.root.resolve()
        self._cells = cells
        device = self._suite.runtime.device
        self._remote = executor is not None and executor.remote
        self._devices = [device] if self._remote else devices_of(device)
        workers = self._suite.runtime.workers(trainings(self._suite, cells), len(self._devices))
        self._executor = executor or make_executor(workers)
        self._held: dict[str, ExitStack] = {}  # the locks of jobs on other machines, which take none themselves
        self._under_way: dict[str, CellRun] = {}
        self._on: dict[str, str] = {}  # the device of each job under way
        self._tuned: dict[Cell, _Tuned] = {}
        self._chosen: deque[CellRun] = deque()  # tuned cells whose trials have all ended
        self._failed: list[Failure] = []

    def run(self) -> list[Failure]:
        new = self._new_jobs()
        try:
            while True:
                for outcome in self._executor.run(self._jobs(new), self._on_message):
                    self._conclude(outcome)
                if not self._chosen:
                    return self._failed
        except KeyboardInterrupt:
            for run in self._under_way.values():
                run.deliver()
            for tuned in self._tuned.values():
                why = "stopped by Ctrl-C; the next call goes on after the last epoch of each trial"
                tuned.run.journal.append(Interrupt(tags=reason_tags(why)))
                for number in tuned.under_way:
                    tuned.run.deliver_trial(number)
                tuned.run.deliver()
            raise
        finally:
            for tuned in self._tuned.values():
                tuned.held.close()
            for held in self._held.values():
                held.close()

    def _jobs(self, new: Iterator[CellJob | TrialJob]) -> Iterator[CellJob | TrialJob]:
        """Yield jobs: before new ones those of tuned cells that are ready to be finished.

        It ends while the last trials are under way; what is ready after them is for another round.
        """
        while True:
            if self._chosen:
                if (chosen := self._cell_job(self._chosen.popleft())) is not None:
                    yield chosen
            elif (job := next(new, None)) is not None:
                yield job
            else:
                return

    def _new_jobs(self) -> Iterator[CellJob | TrialJob]:
        """Yield the cells that are left to train, each looked at only when its turn comes."""
        for cell in self._cells:
            run = cell_run(self._contexts[cell.dataset], cell)
            try:
                if run.is_settled():
                    continue
            except UserError as error:
                self._fail(run, error)
                continue
            if isinstance(run, TunedCellRun):
                yield from self._trial_jobs(run)
            elif (job := self._cell_job(run)) is not None:
                yield job

    def _cell_job(self, run: CellRun) -> CellJob | None:
        """Return the job of a cell; None, and the cell has failed, where another call holds it."""
        try:
            self._hold(run.cell.name, run.journal)
        except UserError as error:
            self._fail(run, error)
            return None
        self._under_way[run.cell.name] = run
        return CellJob(self._suite_on_device(run.cell.name), run.identity, self._root)

    def _hold(self, job: str, journal: Journal) -> None:
        """Hold the journal of a job on another machine until it ends, against other calls."""
        if self._remote:
            with ExitStack() as held:
                held.enter_context(journal.locked())
                self._held[job] = held.pop_all()

    def _let_go(self, job: str) -> None:
        if (held := self._held.pop(job, None)) is not None:
            held.close()

    def _suite_on_device(self, job: str) -> Suite:
        """Return the suite as a job has it, on the device with the fewest jobs."""
        self._on[job] = min(self._devices, key=[*self._on.values()].count)
        return _on_device(self._suite, self._on[job])

    def _trial_jobs(self, run: TunedCellRun) -> Iterator[TrialJob]:
        """Yield the trials of a cell that are left to train, until one fails."""
        with ExitStack() as held:
            try:
                if run.journal.last(Finish) is not None:  # trained, and waits to be delivered
                    self._chosen.append(run)
                    return
                held.enter_context(run.journal.locked())
                run.begin()
                left = run.open_trials()
            except UserError as error:
                self._fail(run, error)
                return
            tuned = self._tuned[run.cell] = _Tuned(run, held.pop_all())
        self._listener.trials_planned(run.cell, left)
        for number in left:
            if tuned.error is not None:
                break
            job = TrialJob(self._suite, run.identity, self._root, number)
            try:
                self._hold(job.name, run.journal.trial(number))
            except UserError as error:
                tuned.error = error
                break
            tuned.under_way.add(number)
            self._under_way[job.name] = run
            yield replace(job, suite=self._suite_on_device(job.name))
        tuned.all_begun = True
        self._settle(tuned)

    def _on_message(self, job: Job[None], message: object) -> None:
        run = self._under_way[job.name]
        match job, message:
            case TrialJob(number=number), Deliver():
                assert isinstance(run, TunedCellRun)
                run.deliver_trial(number)
            case TrialJob(number=number), EpochDone(result, epochs):
                _log.info("%s: epoch %d of %d, loss %.4f", job.name, result.epoch, epochs, result.train_loss)
                self._listener.trial_epoch(run.cell, number, result, epochs)
            case _, Deliver():
                run.deliver()
            case _, EpochDone(result, epochs):
                _log.info("%s: epoch %d of %d, loss %.4f", job.name, result.epoch, epochs, result.train_loss)
                self._listener.epoch(run.cell, result, epochs)
            case _, Note(text):
                _log.info("%s: %s", job.name, text)
                run.note(text)
            case _:
                raise TypeError(f"{job.name} sent {message!r}, which is no message of a cell's")

    def _conclude(self, outcome: Outcome[None]) -> None:
        run = self._under_way.pop(outcome.job.name)
        del self._on[outcome.job.name]
        self._let_go(outcome.job.name)
        if isinstance(outcome.job, TrialJob):
            self._conclude_trial(self._tuned[run.cell], outcome.job.number, outcome.error)
            return
        try:
            if isinstance(outcome.error, WorkerDiedError):
                _note_death(run.journal, outcome.error)
                run.deliver()
                raise CellFailedError(f"{run.cell.name} failed: {outcome.error}")
            if outcome.error is not None:
                raise outcome.error
            run.finish()
        except UserError as error:
            self._fail(run, error)

    def _conclude_trial(self, tuned: _Tuned, number: int, error: Exception | None) -> None:
        run = tuned.run
        tuned.under_way.remove(number)
        if isinstance(error, WorkerDiedError):
            _note_death(run.journal.trial(number), error)
            error = CellFailedError(f"{run.cell.name} trial {number} failed: {error}")
        elif error is not None and not isinstance(error, UserError):
            raise error
        if error is None:
            run.forget_losers()
            words = run.end_in_words(number)
            _log.info("%s trial %d: %s", run.cell.name, number, words)
            self._listener.trial_ended(run.cell, number, words)
        tuned.error = tuned.error or error
        run.deliver_trial(number)
        self._settle(tuned)

    def _settle(self, tuned: _Tuned) -> None:
        """Go on with a tuned cell whose trials have all ended, or of which one failed and no other is under way."""
        if not tuned.all_begun or tuned.under_way:
            return
        del self._tuned[tuned.run.cell]
        with tuned.held:
            if tuned.error is not None:
                tuned.run.journal.append(Fail(tags=reason_tags(str(tuned.error))))
                tuned.run.deliver()
        if tuned.error is not None:
            self._fail(tuned.run, tuned.error)
        else:
            self._chosen.append(tuned.run)

    def _fail(self, run: CellRun, error: UserError) -> None:
        _log.info("%s failed: %s", run.cell.name, error)  # the listener shows it to a person
        run.note(str(error))
        self._failed.append((run.cell, error))


def _note_death(journal: Journal, error: WorkerDiedError) -> None:
    """Have a run end as failed whose worker died; one that had not begun is no run yet."""
    if journal.events():
        journal.append(Fail(tags=reason_tags(str(error))))
