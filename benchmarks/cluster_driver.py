"""How busy the one process is that runs a grid on a Ray cluster: the product's own loop over simulated workers.

The grid, the executor's loop, the journals, the attempts' files and MLflow's sqlite are real and take the time that
they take. Workers are simulated: the module `ray` is one that moves a clock. While the driver waits, that clock jumps;
while it works, it runs. What the workers would do, writing their journals, is done here and not counted. The answers of
a real cluster to submissions, waits and the mailbox are measured apart (`cluster.py`) and not in these figures.
"""

from __future__ import annotations

import heapq
import os
import queue
import time
import uuid
from collections import Counter, defaultdict, deque
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mobilebench.execution.context import open_context
from mobilebench.execution.executors.ray_attempt import Where
from mobilebench.execution.executors.ray_call import Call, Terms
from mobilebench.execution.executors.ray_cluster import RayExecutor
from mobilebench.execution.executors.ray_nodes import Needs
from mobilebench.execution.grid import CellJob, Deliver, EpochDone, run_cells
from mobilebench.execution.progress import NullListener
from mobilebench.runs.events import Epoch, Finish, Start
from mobilebench.runs.journal import Journal
from mobilebench.tracking import Tracker
from mobilebench.training import EpochResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from mobilebench.config.suite import Suite
    from mobilebench.execution.executors.base import Job, Outcome
    from mobilebench.runs.attempts import Attempt


@dataclass
class Clock:
    """Seconds: those that the driver works, and those that it waits for workers, which pass at once."""

    waited: float = 0.0
    parts: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Seconds that each part of the driver's work took."""
    _apart: float = 0.0
    _stopped: float | None = None
    _began: float = field(default_factory=time.perf_counter)

    def busy(self) -> float:
        """Return the seconds that the driver has worked."""
        return (self._stopped or time.perf_counter()) - self._began - self._apart

    def now(self) -> float:
        """Return the time of the simulation."""
        return self.busy() + self.waited

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Do what is no work of the driver's."""
        self._stopped = time.perf_counter()
        try:
            yield
        finally:
            self._apart += time.perf_counter() - self._stopped
            self._stopped = None

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what the driver does here as a part of its work."""
        began = self.busy()
        yield
        self.parts[name] += self.busy() - began


@dataclass(eq=False)
class _Task:
    job: CellJob
    attempt: Attempt
    epoch: int = 0
    ended: bool = False


@dataclass
class Workers:
    """The module `ray` and the mailbox in one, with so many slots; epochs and a worker's start take these seconds."""

    clock: Clock
    template: dict[str, list[Any]]
    """{model: the events of a cell that was trained}"""
    slots: int
    epochs: int
    epoch_seconds: float
    start_seconds: float
    trained: float = 0.0
    """Seconds of epochs, all slots together."""
    calls: Counter[str] = field(default_factory=Counter)
    _queue: deque[_Task] = field(default_factory=deque)
    _events: list[tuple[float, int, _Task]] = field(default_factory=list)
    _mail: deque[tuple[str, int, object]] = field(default_factory=deque)
    _number: int = 0

    def nodes(self) -> list[dict[str, Any]]:
        """Return one node with all slots."""
        self.calls["nodes"] += 1
        return [{"NodeID": "a", "NodeManagerHostname": "a", "Alive": True, "Resources": {"CPU": self.slots, "GPU": 0}}]

    def remote(self, *arguments: Any, **_: Any) -> Any:
        """Return what makes a task of a function; of a job, submit it."""
        if not arguments:
            return lambda _: self
        with self.clock.stopped():
            self.calls["remote"] += 1
            job, attempt = arguments[:2]
            self._queue.append(task := _Task(job, attempt))
            self._fill(self.clock.now())
            return task

    def options(self, **_: Any) -> Workers:
        """Return itself."""
        return self

    def wait(self, tasks: list[_Task], *, timeout: float, **_: Any) -> tuple[list[_Task], list[_Task]]:
        """Let time pass until one has ended, or the timeout."""
        with self.clock.stopped():
            self.calls["wait"] += 1
            until = self.clock.now() + timeout
            self._advance()
            while not any(task.ended for task in tasks) and self.clock.now() < until:
                following = self._events[0][0] if self._events else until
                self.clock.waited += max(0.0, min(following, until) - self.clock.now()) + 1e-9
                self._advance()
            return [task for task in tasks if task.ended][:1], []

    def get(self, _: _Task) -> tuple[None, None]:
        """Return what an attempt that ended well returns."""
        self.calls["get"] += 1
        return None, None

    def get_nowait_batch(self, count: int) -> list[tuple[str, int, object]]:
        """Return messages, as the mailbox."""
        with self.clock.stopped():
            self.calls["mailbox"] += 1
            self._advance()
            if len(self._mail) < count:
                raise queue.Empty
            return [self._mail.popleft() for _ in range(count)]

    def qsize(self) -> int:
        """Return how many messages there are."""
        with self.clock.stopped():
            self.calls["mailbox"] += 1
            self._advance()
            return len(self._mail)

    def shutdown(self) -> None:
        """End the mailbox."""

    def raise_if_silent(self) -> None:
        """Answer for the head."""

    def answers(self) -> bool:
        """Answer for the head."""
        return True

    def _fill(self, now: float) -> None:
        """Begin what waits, where a slot is free."""
        while self._queue and len(self._events) < self.slots:
            self._number += 1
            heapq.heappush(self._events, (now + self.start_seconds, self._number, self._queue.popleft()))

    def _advance(self) -> None:
        """Do what the workers have done until now."""
        while self._events and self._events[0][0] <= self.clock.now():
            moment, number, task = heapq.heappop(self._events)
            if self._step(task):
                heapq.heappush(self._events, (moment + self.epoch_seconds, number, task))
                self.trained += self.epoch_seconds
            else:
                task.ended = True
                self._fill(moment)

    def _step(self, task: _Task) -> bool:
        """Write and say what a cell's worker does between two epochs; return whether there is another epoch."""
        journal, cell = Journal(task.job.folder, task.attempt), task.job.identity.cell
        start, epoch, finish = self.template[cell.model]

        def send(message: object) -> None:
            self._mail.append((task.job.name, task.attempt.number, message))

        if not journal.path.exists():
            own = {"cell": cell.name, "seed": str(cell.seed), "identity": task.job.identity.digest}
            tags = start.tags | own | {"journal": uuid.uuid4().hex}
            journal.append(replace(start, tags=tags, run_name=cell.name, params=start.params | {"seed": cell.seed}))
            send(Deliver())
            return True
        task.epoch += 1
        journal.append(replace(epoch, step=task.epoch))
        send(EpochDone(_RESULT, self.epochs))
        send(Deliver())
        if task.epoch < self.epochs:
            return True
        _link(self.template[f"{cell.model} artifacts"][0], journal.artifacts)
        journal.append(replace(finish, step=self.epochs))
        return False


_RESULT = EpochResult(1, 1.0, 0.1, 1.0, 1.0, {}, {})


def _link(source: Path, target: Path) -> None:
    for path in source.rglob("*"):
        if path.is_file():
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, place)


class Simulated(RayExecutor):
    """The executor with simulated workers, its parts timed."""

    def __init__(self, root: Path, workers: Workers) -> None:
        super().__init__(None, root, Needs())
        self.ray, self._workers = workers, workers
        self.head = workers  # type: ignore[assignment]

    def run(self, jobs: Iterable[Job[Any]], on_message: Callable[[Job[Any], object], None]) -> Iterator[Outcome[Any]]:
        """Yield outcomes as `RayExecutor` does."""
        clock = self._workers.clock

        def timed_jobs() -> Iterator[Any]:
            following = iter(jobs)
            while True:
                with clock.part("looking at the next cell"):
                    job = next(following, None)
                if job is None:
                    return
                yield job

        def heard(job: Job[Any], message: object) -> None:
            with clock.part("deliveries" if isinstance(message, Deliver) else "other messages"):
                on_message(job, message)

        terms = Terms(self.needs, self.attempts, self.fresh, Where(self.root), None, self.note)
        call: Call[Any] = _Timed(self.ray, self.head, self._workers, terms, timed_jobs(), heard)
        for outcome in call.outcomes():
            with clock.part("ends of cells"):
                yield outcome


class _Timed(Call[Any]):
    def _begin(self, job: Any, *, fruitless: int, before: str) -> None:
        with self._ray.clock.part("submissions"):
            super()._begin(job, fruitless=fruitless, before=before)


@dataclass(frozen=True)
class Load:
    """What a simulated grid asked of its driver."""

    cells: int
    epochs: int
    seconds: float
    """Of the simulation, from beginning to end."""
    busy: float
    parts: dict[str, float]
    calls: dict[str, int]
    slots_busy: float
    """Share of the slots' time, while cells were left to begin and end, in which an epoch was trained."""


def simulate(suite: Suite, root: Path, *, slots: int, epochs: int, epoch_seconds: float, start_seconds: float) -> Load:
    """Run the cells of a suite, whose first cell of each model is trained already, on so many simulated slots.

    The call is in the project folder `root`.
    """
    context = replace(open_context(suite, suite.datasets[0], Tracker()), listener=NullListener())
    done = [cell for cell in suite.cells() if context.is_finished(cell)]
    template: dict[str, list[Any]] = {}
    for cell in done:
        journal = context.journal(cell)
        template[cell.model] = [journal.last(kind) for kind in (Start, Epoch, Finish)]
        template[f"{cell.model} artifacts"] = [journal.artifacts]
    cells = [cell for cell in suite.cells() if cell not in done]
    clock = Clock()
    workers = Workers(clock, template, slots, epochs, epoch_seconds, start_seconds)
    failed = run_cells(context, cells, Simulated(root, workers))
    if failed:
        raise SystemExit(f"{len(failed)} simulated cells failed: {failed[0][1]}")
    parts = dict(clock.parts) | {"the loop and the rest": clock.busy() - sum(clock.parts.values())}
    return Load(
        len(cells), epochs, clock.now(), clock.busy(), parts, dict(workers.calls), workers.trained / clock.now() / slots
    )
