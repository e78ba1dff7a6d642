"""Jobs on the nodes of a Ray cluster, an attempt at a time each, begun again after its worker or node was lost.

Needs the extra `ray`. Ray places attempts and says which ended; everything else is decided here. An attempt that
gained an epoch is free: being preempted is no failure of a cell's. So many in a row without one end it. What a job
raises is an outcome and never tried again.

Nothing large goes through Ray: a job is a suite and a cell, its data are memory maps on its node, its result is in its
journal. One process is one attempt, on CPUs too: bits, memory and threads are then what they are without Ray.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, cast

from mobilebench.errors import UserError
from mobilebench.execution.executors.base import Outcome, Result, Result_co, StoppedError, WorkerDiedError
from mobilebench.execution.executors.processes import picklable
from mobilebench.execution.executors.ray_nodes import Greeting, alive, check_nodes, raise_if_nothing_fits
from mobilebench.runs.attempts import Attempt, SupersededError, issue
from mobilebench.system.cpu import cores
from mobilebench.system.extras import require
from mobilebench.system.signals import termination_as_interrupt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from mobilebench.execution.executors.base import Job

# Set before Ray is imported, and for its workers: no telemetry, no environment of `uv run` made anew on every node, one
# way of being out of memory, and compilers that an attempt started end with it.
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_task_oom_retries": "0",
    "RAY_kill_child_processes_on_worker_exit": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_log = logging.getLogger(__name__)
_TICK = 0.5  # seconds
_LOOK = 5.0  # seconds between looks at which nodes there are
_GRACE = 60.0  # seconds that stopped attempts have to end their write
_NO_NODE = 600.0  # seconds without a node that has room, after which the call ends
_HEAD = 15.0  # seconds that the head may be silent
_LOCAL_STORE = 80 << 20  # bytes of Ray's object store, of which next to nothing is used


class RemoteJob(Protocol[Result_co]):
    """A job that may be begun again elsewhere: picklable, with nothing open."""

    @property
    def name(self) -> str:
        """What the job is called."""
        ...

    @property
    def folder(self) -> Path:
        """Its journal's folder, in which attempts are numbered."""
        ...

    def as_attempt(self, attempt: Attempt) -> Self:
        """Return the job as this attempt does it."""
        ...

    def progress(self) -> int:
        """Return how many epochs its journal has."""
        ...

    def run(self, send: Callable[[object], None]) -> Result_co:
        """Do the work; see `Job`."""
        ...


@dataclass(frozen=True)
class Needs:
    """What each attempt needs of a node."""

    cpus: float = 1.0
    gpus: float = 0.0
    """Cards, or a part of one: 0.25 lets four cells share a card."""

    @property
    def sharers(self) -> int:
        """How many cells share a card."""
        return max(1, round(1 / self.gpus)) if 0 < self.gpus < 1 else 1


@dataclass
class _Running(Generic[Result]):
    job: RemoteJob[Result]
    attempt: Attempt
    epochs: int
    """That its journal had when the attempt began."""
    fruitless: int
    """Attempts in a row before this one that gained no epoch."""
    node: str | None = None
    """Id of the node it runs on, once it has begun."""


@dataclass(frozen=True)
class _Begun:
    """An attempt's first message."""

    node: str


@dataclass
class _Head:
    """The head of the cluster, asked now and then whether it is there: Ray would end this process without a word."""

    address: str
    _heard: float = field(default_factory=time.monotonic)
    _asked: float = 0.0

    def raise_if_silent(self) -> None:
        """Raise UserError where the head has not answered for a while."""
        now = time.monotonic()
        if now - self._asked < 2:
            return
        self._asked = now
        host, _, port = self.address.rpartition(":")
        try:
            with socket.create_connection((host, int(port)), timeout=2):
                self._heard = now
        except OSError:
            if now - self._heard > _HEAD:
                raise UserError(
                    f"the head of the Ray cluster at {self.address} does not answer any more, and its nodes end with "
                    "it. Start the cluster and give the same command again: finished cells are kept, the others go on "
                    "after their last epoch"
                ) from None


@dataclass(eq=False)
class RayExecutor:
    """Runs jobs on a cluster. `open` connects; closing the iterator of `run` stops what is under way."""

    address: str | None
    """`HOST:PORT` of the head, `auto` for the cluster that this machine is in; None for this machine alone."""
    root: Path
    """The project folder, at the same path on every node."""
    needs: Needs = field(default_factory=Needs)
    attempts: int = 3
    """Attempts in a row without an epoch after which a job has failed."""
    fresh: bool = True
    """Whether each attempt has a process of its own."""
    note: Callable[[str], None] = print
    """Passes on what a person should know."""
    greetings: list[Greeting] = field(default_factory=list, init=False)
    """What each node said of itself."""
    remote: ClassVar[bool] = True
    ray: Any = field(default=None, init=False)
    """The module; None before `open`."""
    head: _Head = field(init=False)

    def open(self) -> None:
        """Connect, and look at every node; raises as `connect` and `check`."""
        self.connect()
        self.check()

    def connect(self) -> bool:
        """Connect, and return whether a node has a GPU. Raises UserError where there is no cluster at the address."""
        require("ray")
        os.environ.update(_SETTINGS | {key: os.environ[key] for key in _SETTINGS if key in os.environ})
        import ray

        self.ray = ray
        _keep_off_stdout()
        _raise_if_nobody_answers(self.address)
        local: dict[str, Any] = {"num_cpus": cores(), "object_store_memory": _LOCAL_STORE, "include_dashboard": False}
        try:
            ray.init(
                address=self.address or "local", namespace=f"mobilebench-{os.getpid()}", log_to_driver=False,
                configure_logging=False, **({} if self.address else local),
            )  # fmt: skip
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise _no_cluster(self.address, str(error).splitlines()[0]) from None
        self.head = _Head(ray.get_runtime_context().gcs_address)
        return any(node.gpus for node in alive(ray))

    def check(self) -> None:
        """Raise UserError where a node is not like this machine, none has room, or all are lost meanwhile."""
        nodes = alive(self.ray)
        raise_if_nothing_fits(nodes, self.needs.cpus, self.needs.gpus)
        working = [node for node in nodes if node.slots(self.needs.cpus, self.needs.gpus)]
        self.greetings = check_nodes(self.ray, working, self.root, shared=True, gpus=self.needs.gpus > 0)
        if not self.greetings:
            raise UserError("every node of the cluster was lost while it was looked at; start nodes and try again")

    def close(self) -> None:
        """Leave the cluster; one of this machine alone ends."""
        with suppress(Exception):  # a head that is gone
            self.ray.shutdown()

    def run(
        self, jobs: Iterable[Job[Result]], on_message: Callable[[Job[Result], object], None]
    ) -> Iterator[Outcome[Result]]:
        """Yield the outcome of every job, each a `RemoteJob`; see `Executor.run`."""
        from ray.util.queue import Queue
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        # On this node, which ends with this process: a mailbox elsewhere could be lost alone.
        node = self.ray.get_runtime_context().get_node_id()
        here = NodeAffinitySchedulingStrategy(node, soft=False)
        mailbox = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
        waiting = cast("Iterator[RemoteJob[Result]]", iter(jobs))
        yield from _Call(self, mailbox, waiting, on_message).outcomes()


class _Call(Generic[Result]):
    """One call of `run`."""

    def __init__(
        self,
        executor: RayExecutor,
        mailbox: Any,
        waiting: Iterator[RemoteJob[Result]],
        on_message: Callable[[Job[Result], object], None],
    ) -> None:
        self._executor, self._mailbox, self._waiting, self._on_message = executor, mailbox, waiting, on_message
        self._ray = executor.ray
        self._running: dict[Any, _Running[Result]] = {}
        self._task = self._ray.remote(max_calls=1 if executor.fresh else 0)(_attempt)
        self._since: float | None = None  # since when no node has room
        self._looked = -math.inf
        self._room = 0
        self._alive: set[str] = set()
        self._dead_since: dict[Any, float] = {}

    def outcomes(self) -> Iterator[Outcome[Result]]:
        try:
            while True:
                while len(self._running) < self._window() and (job := next(self._waiting, None)) is not None:
                    self._begin(job, fruitless=0, before="")
                if not self._running:
                    return
                done, _ = self._ray.wait(list(self._running), num_returns=1, timeout=_TICK, fetch_local=False)
                self._executor.head.raise_if_silent()
                self._hear()
                ended = {ref: self._end_of(ref) for ref in done}
                for ref, end in (ended | self._lost()).items():
                    if (outcome := self._conclude(ref, *end)) is not None:
                        yield outcome
        finally:
            self._stop()

    def _look(self) -> None:
        """See which nodes there are, now and then."""
        if time.monotonic() - self._looked < _LOOK:
            return
        self._looked = time.monotonic()
        needs, nodes = self._executor.needs, alive(self._ray)
        self._alive = {node.id for node in nodes}
        slots = sum(node.slots(needs.cpus, needs.gpus) for node in nodes)
        if slots:
            self._since = None
        elif self._since is None:
            self._since = time.monotonic()
            self._executor.note("no node of the cluster has room for a cell any more; waiting for one")
        elif time.monotonic() - self._since > _NO_NODE:
            raise UserError(
                f"no node of the cluster has had room for a cell for {_NO_NODE / 60:.0f} minutes. Start nodes and give "
                "the same command again; it goes on after the last epoch of each cell"
            )
        self._room = slots + 2

    def _window(self) -> int:
        """Return how many attempts may be under way or wait for a node: two more than there is room for."""
        self._look()
        return self._room

    def _lost(self) -> dict[Any, tuple[None, Exception]]:
        """Return the attempts on nodes that are dead, with how they ended.

        Ray itself waits for an answer of a worker that does not answer and is not known to have died.
        """
        now = time.monotonic()
        gone = {ref for ref, r in self._running.items() if r.node is not None and r.node not in self._alive}
        self._dead_since = {ref: self._dead_since.get(ref, now) for ref in gone}
        return {
            ref: (None, WorkerDiedError("its node does not answer any more"))
            for ref, since in self._dead_since.items()
            if now - since > _LOOK  # Ray has had the time to say it
        }

    def _begin(self, job: RemoteJob[Result], *, fruitless: int, before: str) -> None:
        attempt = Attempt(issue(job.folder), before=before)
        needs = self._executor.needs
        ref = self._task.options(
            num_cpus=needs.cpus, num_gpus=needs.gpus, max_retries=0, retry_exceptions=False,
            scheduling_strategy="SPREAD", name=job.name,
        ).remote(job, attempt, needs, self._mailbox, self._executor.root)  # fmt: skip
        self._running[ref] = _Running(job, attempt, job.progress(), fruitless)

    def _hear(self) -> None:
        """Pass on what jobs have sent until now; what an attempt says that was replaced meanwhile is left out.

        What comes meanwhile is for the next time: where more comes than can be passed on, jobs must begin and end too.
        """
        current = {(r.job.name, r.attempt.number): r for r in self._running.values()}
        left = self._mailbox.qsize()
        while left:
            found = self._mailbox.get_nowait_batch(min(100, left))
            left -= len(found)
            for name, number, message in found:
                if (running := current.get((name, number))) is None:
                    continue
                if isinstance(message, _Begun):
                    running.node = message.node
                else:
                    self._on_message(running.job, message)

    def _end_of(self, ref: Any) -> tuple[Result | None, Exception | None]:
        try:
            found: tuple[Result | None, Exception | None] = self._ray.get(ref)
        except Exception as lost:  # noqa: BLE001 - of Ray: what a job raises it returns
            return None, WorkerDiedError(_cause(lost))
        return found

    def _conclude(self, ref: Any, result: Result | None, error: Exception | None) -> Outcome[Result] | None:
        """Return a job's outcome, None where it was begun again."""
        running = self._running.pop(ref)
        job = running.job
        if not isinstance(error, WorkerDiedError | StoppedError):
            return Outcome(job, result, error)
        fruitless = 0 if job.progress() > running.epochs else running.fruitless + 1
        if fruitless < self._executor.attempts:
            self._executor.note(f"{job.name}: attempt {running.attempt.number} ended ({error}); begun again")
            self._begin(job, fruitless=fruitless, before=str(error))
            return None
        issue(job.folder)  # one that was taken for dead and lives stops
        why = f"{fruitless} attempts in a row gained no epoch; the last: {error}"
        return Outcome(job, error=WorkerDiedError(why))

    def _stop(self) -> None:
        """Stop what is under way as Ctrl-C would, and wait for it to end its writes."""
        if self._running:
            for ref in self._running:
                with suppress(Exception):
                    self._ray.cancel(ref, force=False)
            with suppress(Exception):
                self._ray.wait(list(self._running), num_returns=len(self._running), timeout=_GRACE)
                self._hear()
        with suppress(Exception):
            self._mailbox.shutdown()


def _keep_off_stdout() -> None:
    """Have Ray log what it says of lost nodes, pages of it. It prints that on stdout even with log_to_driver=False."""
    from ray._private import worker

    def log(data: Any, ignore_prefix: bool) -> None:  # noqa: ARG001, FBT001 - Ray's signature
        _log.info("Ray: %s", "\n".join(data["lines"]))

    worker.print_to_stdstream = log


def _raise_if_nobody_answers(address: str | None) -> None:
    """Raise UserError where nothing listens at a HOST:PORT, for which Ray would wait for minutes."""
    host, _, port = (address or "").rpartition(":")
    if not host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise _no_cluster(address, str(error)) from None


def _no_cluster(address: str | None, why: str) -> UserError:
    return UserError(
        f"no Ray cluster answers at {address or 'this machine'}: {why}. Start one with `ray start --head --num-cpus=0` "
        "here and `ray start --address=HOST:6379` on the nodes"
    )


def _attempt(
    job: RemoteJob[Any], attempt: Attempt, needs: Needs, mailbox: Any, root: Path
) -> tuple[object, Exception | None]:
    """Do one attempt, in a worker: return what the job returned, or the exception that it raised."""

    def send(message: object) -> None:
        with suppress(Exception):  # the call is gone, and Ray ends this process too
            mailbox.put_nowait((job.name, attempt.number, message))

    import ray

    os.chdir(root)  # what a suite names is in the project's folder
    send(_Begun(ray.get_runtime_context().get_node_id()))
    try:
        with termination_as_interrupt():
            if needs.gpus:
                _take_share(needs)
            here = Attempt(attempt.number, socket.gethostname(), attempt.before)
            return job.as_attempt(here).run(send), None
    except KeyboardInterrupt:
        return None, StoppedError("it was stopped from outside, by its node or a scheduler")
    except SupersededError as error:
        return None, error
    except Exception as caught:  # noqa: BLE001 - an outcome too; the call decides
        return None, picklable(caught)


def _take_share(needs: Needs) -> None:
    """Keep to this attempt's part of a card's memory, which Ray only counts."""
    import torch

    if needs.gpus < 1 and torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(needs.gpus)


def _cause(error: Exception) -> str:
    """Say in one line what became of a worker."""
    kind = type(error).__name__
    words = {
        "WorkerCrashedError": "its worker process died; out of memory, or killed",
        "OutOfMemoryError": "its node ran out of memory, and Ray killed it",
        "NodeDiedError": "its node died",
        "TaskCancelledError": "it was cancelled",
        "LocalRayletDiedError": "its node died",
        "ObjectLostError": "its node died",
        "OwnerDiedError": "its node died",
        "TaskUnschedulableError": "no node has room for it any more",
    }
    return words.get(kind, f"{kind}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no reason given'}")
