"""Run a probe: the cells' studies, worker processes and the tracking server joined."""

from __future__ import annotations

import queue
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mobilebench.config.parsing import flatten
from mobilebench.runs.journal import CellBusyError, Journal
from mobilebench.search.space import apply, plan
from mobilebench.search.studies import Pruning, StudyError
from mobilebench.sensitivity.cells import experiment_of, parent_run
from mobilebench.sensitivity.pool import workers
from mobilebench.sensitivity.trial import Job, Outcome, Progress, run_trial
from mobilebench.system.layout import PACKED
from mobilebench.system.provenance import environment
from mobilebench.tracking import TrackingError, now_ms

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mobilebench.config.recipe import Recipe
    from mobilebench.config.runtime import Runtime
    from mobilebench.config.sensitivity import SensitivitySettings
    from mobilebench.search.space import Point
    from mobilebench.search.studies import ProbeStudy, Studies, TrialLease
    from mobilebench.sensitivity.cells import ProbedCell
    from mobilebench.tracking import Tracker

TRIALS = Path(".mobilebench/trials")


class ProbeListener(Protocol):
    """What wants to hear of a probe's progress."""

    def planned(self, trials: int) -> None:
        """Hear how many trials are to be run."""

    def epoch(self, progress: Progress) -> None:
        """Hear that an epoch of a trial is done."""

    def ended(self, label: str, words: str) -> None:
        """Hear how a trial ended."""

    def note(self, message: str) -> None:
        """Hear something a person should know."""


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
        identity.
        """
        plans = [plan(probed.recipe, self.settings) for probed in self.probed_cells]
        self._parent = parent_run(self.tracker, self.probed_cells[0].suite)
        self._open = [self._begin(probed, points) for probed, points in zip(self.probed_cells, plans, strict=True)]
        self._taken: dict[str, set[int]] = {probed.study_name: set() for probed in self.probed_cells}
        self._deliver_all()
        keys = [{point.key for point in points} for points in plans]
        self.listener.planned(sum(self._left(study, wanted) for study, wanted in zip(self._open, keys, strict=True)))
        try:
            with workers(self.jobs) as (pool, messages):
                self._work(pool, messages, self._claims(keys))
        except KeyboardInterrupt:
            self._interrupted()
            raise
        for study in self._open:
            for host, count in study.elsewhere().items():
                self.listener.note(
                    f"{study.name}: {count} trials run on {host}; if that machine is gone, add --take-over"
                )
        self.tracker.analyze()

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

    def _claims(self, keys: list[set[str]]) -> Iterator[tuple[ProbedCell, ProbeStudy, TrialLease]]:
        for probed, study, wanted in zip(self.probed_cells, self._open, keys, strict=True):
            taken = self._taken[probed.study_name]

            def is_held(key: str, probed: ProbedCell = probed) -> bool:
                return self._journal(probed, key).is_locked()

            while (claim := study.claim(wanted, is_held, taken)) is not None:
                taken.add(claim.number)
                yield probed, study, claim

    def _work(
        self,
        pool: Executor,
        messages: queue.Queue[Progress],
        claims: Iterator[tuple[ProbedCell, ProbeStudy, TrialLease]],
    ) -> None:
        active: dict[Future[Outcome], tuple[ProbedCell, ProbeStudy, TrialLease]] = {}
        while True:
            while len(active) < self.jobs and (claimed := next(claims, None)) is not None:
                future = pool.submit(run_trial, self._job(*claimed), self._hear if self.jobs == 1 else None)
                active[future] = claimed
            if not active:
                return
            done, _ = wait(active, timeout=0.2, return_when=FIRST_COMPLETED)
            self._drain(messages)
            for future in done:
                self._end(future, *active.pop(future))

    def _job(self, probed: ProbedCell, study: ProbeStudy, claim: TrialLease) -> Job:
        recipe = apply(probed.recipe, claim.values)
        rule = self.settings.prune
        journal = self._journal(probed, claim.key)
        if journal.last("fail") is not None:
            journal.clear()  # asked to try again: a new run, from the first epoch
        return Job(
            label=f"{probed.cell.name} trial {claim.number}",
            cell=probed.cell,
            recipe=recipe,
            runtime=self._runtime(probed),
            packed=probed.packed.path.resolve(),
            cut=probed.cut,
            folder=journal.folder.resolve(),
            start=self._start(probed, study, claim, recipe),
            pruning=Pruning(study.url, study.name, claim.trial_id, rule) if rule else None,
        )

    def _runtime(self, probed: ProbedCell) -> Runtime:
        runtime = replace(probed.suite.runtime, cells_per_device=self.jobs)  # trials share the machine as cells would
        return replace(runtime, eval_every=1) if self.settings.prune else runtime

    def _start(self, probed: ProbedCell, study: ProbeStudy, claim: TrialLease, recipe: Recipe) -> dict[str, object]:
        meta, identity = probed.packed.meta, {key: str(value) for key, value in asdict(probed.identity).items()}
        counts = f'{{"train": {len(probed.cut.train)}, "val": {len(probed.cut.val)}}}'
        tags = environment() | identity | {
            "kind": "trial", "cell": probed.cell.name, "source": claim.source, "optuna.study": study.name,
            "optuna.trial": str(claim.number), "point": claim.key,
        }  # fmt: skip
        return {
            "type": "start",
            "time": now_ms(),
            "experiment": experiment_of(probed.suite),
            "run_name": f"{probed.cell.name} trial {claim.number}",
            "tags": tags | {"mlflow.parentRunId": self._parent},
            "params": {"model": probed.cell.model, "dataset": probed.cell.dataset, "seed": str(probed.cell.seed)}
            | flatten(asdict(recipe)),
            "dataset": {
                "name": probed.cell.dataset, "digest": meta.digest[:36], "source": str(PACKED / probed.cell.dataset),
                "profile": counts,
            },
        }  # fmt: skip

    def _end(self, future: Future[Outcome], probed: ProbedCell, study: ProbeStudy, claim: TrialLease) -> None:
        label = f"{probed.cell.name} trial {claim.number}"
        try:
            outcome = future.result()
        except CellBusyError as error:
            self.listener.note(str(error))
            return
        except BrokenProcessPool:
            raise StudyError(
                f"a worker process ended without a word while it ran {label} (out of memory?). Run the same command "
                "again, with fewer --jobs: finished trials are kept, this one goes on"
            ) from None
        except Exception as error:  # noqa: BLE001 - whatever a setting makes a network raise, the others go on
            study.fail(claim, f"{type(error).__name__}: {error}"[:2000])
            self.listener.ended(label, f"failed: {error}")
        else:
            self._record(study, claim, outcome, label)
        self._deliver(self._journal(probed, claim.key))

    def _record(self, study: ProbeStudy, claim: TrialLease, outcome: Outcome, label: str) -> None:
        if outcome.pruned:
            study.prune(claim)
            self.listener.ended(label, f"given up early, val top-1 {100 * outcome.val_top1:.1f} %")
        else:
            study.complete(claim, outcome.val_top1, {"val_loss": outcome.val_loss, "train_seconds": outcome.seconds})
            self.listener.ended(label, f"val top-1 {100 * outcome.val_top1:.1f} %")

    def _journal(self, probed: ProbedCell, key: str) -> Journal:
        return Journal(self.state / probed.study_name / key)

    def _drain(self, messages: queue.Queue[Progress]) -> None:
        while True:
            try:
                self._hear(messages.get_nowait())
            except queue.Empty:
                return

    def _hear(self, progress: Progress) -> None:
        self._deliver(Journal(progress.folder))
        self.listener.epoch(progress)

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

    def _interrupted(self) -> None:
        """Say in the journals, and to the server, that the trials under way were stopped."""
        for journal in self._journals():
            events = journal.events()
            if events and events[-1]["type"] in {"start", "resume", "epoch"} and not journal.is_locked():
                journal.append({"type": "interrupt", "time": now_ms(), "tags": {"reason": "stopped by Ctrl-C"}})
        self._deliver_all()

    def _journals(self) -> Iterator[Journal]:
        for probed in self.probed_cells:
            for path in sorted((self.state / probed.study_name).glob("*/journal.jsonl")):
                yield Journal(path.parent)
