"""Run a probe: its studies, an executor for the trials and the tracking server joined."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mobilebench.errors import TrackingError
from mobilebench.execution.describe import dataset_input, parameters, with_surroundings
from mobilebench.execution.executors import WorkerDiedError, make_executor
from mobilebench.execution.grid import Deliver
from mobilebench.runs.events import Fail, Start
from mobilebench.runs.journal import CellBusyError, Journal
from mobilebench.search.space import apply, plan
from mobilebench.search.studies import Pruning, StudyError
from mobilebench.sensitivity.cells import experiment_of, parent_run
from mobilebench.sensitivity.trial import TrialJob, TrialOutcome, TrialProgress
from mobilebench.training.device import check_device

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mobilebench.config.recipe import Recipe
    from mobilebench.config.runtime import Runtime
    from mobilebench.config.sensitivity import SensitivitySettings
    from mobilebench.execution.executors import Job, Outcome
    from mobilebench.search.space import Point
    from mobilebench.search.studies import ProbeStudy, Studies, TrialLease
    from mobilebench.sensitivity.cells import ProbedCell
    from mobilebench.tracking import Tracker

    Lease = tuple[ProbedCell, ProbeStudy, TrialLease]

TRIALS = Path(".mobilebench/trials")


class ProbeListener(Protocol):
    """What is informed of a probe's progress."""

    def planned(self, trials: int) -> None:
        """Take note of how many trials are to be run."""

    def epoch(self, progress: TrialProgress) -> None:
        """Take note that an epoch of a trial is done."""

    def ended(self, label: str, words: str) -> None:
        """Take note of how a trial ended."""

    def note(self, message: str) -> None:
        """Take note of something a person should know."""


@dataclass(eq=False)
class Runner:
    """Brings every point of every probed cell to its end. jobs: worker processes, sharing the threads."""

    probed_cells: Sequence[ProbedCell]
    settings: SensitivitySettings
    studies: Studies
    tracker: Tracker
    listener: ProbeListener
    jobs: int = 1
    retry_failed: bool = False
    take_over: bool = False
    state: Path = TRIALS

    def run(self) -> None:
        """Plan, run and record. What was finished before is left alone; what a kill cut short goes on.

        Raises SpaceError before anything is trained when a point is not allowed, StudyError for a study of another
        identity, TrainingError where runtime.device is not there.
        """
        check_device(self.probed_cells[0].suite.runtime.device)
        plans = [plan(probed.recipe, self.settings) for probed in self.probed_cells]
        self._parent = parent_run(self.tracker, self.probed_cells[0].suite)
        self._open = [self._begin(probed, points) for probed, points in zip(self.probed_cells, plans, strict=True)]
        self._taken: dict[str, set[int]] = {probed.study_name: set() for probed in self.probed_cells}
        self._deliver_all()
        keys = [{point.key for point in points} for points in plans]
        self.listener.planned(sum(self._left(study, wanted) for study, wanted in zip(self._open, keys, strict=True)))
        try:
            dead = self._run_trials(keys)
        except KeyboardInterrupt:
            self._deliver_all()
            raise
        for study in self._open:
            for host, count in study.elsewhere().items():
                self.listener.note(
                    f"{study.name}: {count} trials run on {host}; if that machine is gone, add --take-over"
                )
        self.tracker.analyze()
        if dead:
            raise StudyError(
                f"a worker process ended without a word while it ran {', '.join(dead)} (out of memory?). Run the same "
                "command again, with fewer --jobs: finished trials are kept, these go on"
            )

    def _begin(self, probed: ProbedCell, points: list[Point]) -> ProbeStudy:
        study = self.studies.open(probed.identity, probed.study_name)
        for name, differences in self.studies.others(probed.identity, probed.study_name).items():
            self.listener.note(f"{probed.cell.name}: study {name} is left alone, it has {'; '.join(differences)}")
        if self.take_over:
            study.take_over()
        study.enqueue(points, retry_failed=self.retry_failed)
        return study

    def _left(self, study: ProbeStudy, keys: set[str]) -> int:
        return sum(row.state in {"waiting", "running"} and row.key in keys for row in study.rows())

    def _run_trials(self, keys: list[set[str]]) -> list[str]:
        """Run the trials that are left and return the names of those whose worker died."""
        self._under_way: dict[str, Lease] = {}
        dead = []
        executor = make_executor(self.jobs)
        for outcome in executor.run(self._trials(keys), self._on_message):
            if isinstance(outcome.error, WorkerDiedError):
                dead.append(outcome.job.name)
            self._conclude(outcome, *self._under_way.pop(outcome.job.name))
        return dead

    def _trials(self, keys: list[set[str]]) -> Iterator[TrialJob]:
        """Yield the trials this process may run, each leased only when there is room for it."""
        for probed, study, wanted in zip(self.probed_cells, self._open, keys, strict=True):
            taken = self._taken[probed.study_name]

            def is_held(key: str, probed: ProbedCell = probed) -> bool:
                return self._journal(probed, key).is_locked()

            while (lease := study.lease(wanted, is_held, taken)) is not None:
                taken.add(lease.number)
                job = self._job(probed, study, lease)
                self._under_way[job.name] = probed, study, lease
                yield job

    def _job(self, probed: ProbedCell, study: ProbeStudy, lease: TrialLease) -> TrialJob:
        recipe = apply(probed.recipe, lease.values)
        rule = self.settings.prune
        journal = self._journal(probed, lease.key)
        if journal.last(Fail) is not None:
            journal.clear()  # asked to try again: a new run, from the first epoch
        return TrialJob(
            name=f"{probed.cell.name} trial {lease.number}",
            cell=probed.cell,
            recipe=recipe,
            runtime=self._runtime(probed),
            packed=probed.packed.path.resolve(),
            cut=probed.cut,
            folder=journal.folder.resolve(),
            start=self._start(probed, study, lease, recipe),
            pruning=Pruning(study.url, study.name, lease.trial_id, rule) if rule else None,
            root=probed.root.resolve(),
        )

    def _runtime(self, probed: ProbedCell) -> Runtime:
        runtime = replace(probed.suite.runtime, cells_per_device=self.jobs)  # trials share the machine as cells would
        return replace(runtime, eval_every=1) if self.settings.prune else runtime

    def _start(self, probed: ProbedCell, study: ProbeStudy, lease: TrialLease, recipe: Recipe) -> Start:
        tags = {key: str(value) for key, value in asdict(probed.identity).items()} | {
            "kind": "trial", "cell": probed.cell.name, "source": lease.source, "optuna.study": study.name,
            "optuna.trial": str(lease.number), "point": lease.key, "mlflow.parentRunId": self._parent,
        }  # fmt: skip
        return Start(
            experiment=experiment_of(probed.suite),
            run_name=f"{probed.cell.name} trial {lease.number}",
            tags=with_surroundings(tags),
            params=parameters(probed.cell, recipe),
            dataset=dataset_input(probed.packed, {"train": len(probed.cut.train), "val": len(probed.cut.val)}),
        )

    def _on_message(self, job: Job[TrialOutcome], message: object) -> None:
        match message:
            case Deliver():
                probed, _, lease = self._under_way[job.name]
                self._deliver(self._journal(probed, lease.key))
            case TrialProgress():
                self.listener.epoch(message)
            case _:
                raise TypeError(f"{job.name} sent {message!r}, which is no message of a trial's")

    def _conclude(
        self, outcome: Outcome[TrialOutcome], probed: ProbedCell, study: ProbeStudy, lease: TrialLease
    ) -> None:
        name = outcome.job.name
        match outcome.error:
            case None:
                assert outcome.result is not None
                self._record(study, lease, outcome.result, name)
            case CellBusyError() | WorkerDiedError():  # the trial goes on, there or in the next call
                self.listener.note(f"{name}: {outcome.error}")
            case error:  # whatever a setting makes a network raise, the others go on
                study.fail(lease, f"{type(error).__name__}: {error}"[:2000])
                self.listener.ended(name, f"failed: {error}")
        self._deliver(self._journal(probed, lease.key))

    def _record(self, study: ProbeStudy, lease: TrialLease, outcome: TrialOutcome, label: str) -> None:
        if outcome.pruned:
            study.prune(lease)
            self.listener.ended(label, f"given up early, val top-1 {100 * outcome.val_top1:.1f} %")
        else:
            study.complete(lease, outcome.val_top1, {"val_loss": outcome.val_loss, "train_seconds": outcome.seconds})
            self.listener.ended(label, f"val top-1 {100 * outcome.val_top1:.1f} %")

    def _journal(self, probed: ProbedCell, key: str) -> Journal:
        return Journal(self.state / probed.study_name / key)

    def _deliver(self, journal: Journal) -> None:
        if not journal.events():
            return
        try:
            self.tracker.deliver(journal)
        except TrackingError as error:
            self.listener.note(f"kept for the next call: {error}")

    def _deliver_all(self) -> None:
        """Deliver what an earlier call could not."""
        for journal in self._journals():
            if not journal.is_delivered() and not journal.is_locked():
                self._deliver(journal)

    def _journals(self) -> Iterator[Journal]:
        for probed in self.probed_cells:
            for path in sorted((self.state / probed.study_name).glob("*/journal.jsonl")):
                yield Journal(path.parent)
