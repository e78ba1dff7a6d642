"""Jobs of one call under way on a Ray cluster: placed, heard, begun again after their worker or node was lost."""

from __future__ import annotations

import math
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic

from mobilebench.errors import UserError
from mobilebench.execution.executors.base import Outcome, Result, StoppedError, WorkerDiedError
from mobilebench.execution.executors.ray_attempt import Begun, RemoteJob, Where, do_attempt
from mobilebench.execution.executors.ray_nodes import Needs, alive
from mobilebench.runs.attempts import Attempt, issue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mobilebench.execution.executors.base import Job
    from mobilebench.runs.mirror import Mirror

_TICK = 0.5  # seconds
_ASK = 2.0  # seconds between questions whether the head is there
_GRACE = 60.0  # seconds that stopped attempts have to end their write
_AGAIN = 5.0  # seconds after which those that train on are replaced
LOOK = 5.0  # seconds between looks at which nodes there are
_NO_NODE = 600.0  # seconds without a node that has room, after which the call ends
_HEAD = 15.0  # seconds that the head may be silent
# Seconds that attempts have once it is gone: a minute after it Ray ends this process, which has to say so before.
_GRACE_WITHOUT_HEAD = 20.0


@dataclass(frozen=True)
class Terms:
    """What a call asks for."""

    needs: Needs
    """What an attempt needs of a node."""
    attempts: int
    """Attempts in a row without an epoch after which a job has failed."""
    fresh: bool
    """Whether each attempt has a process of its own."""
    where: Where
    """Where attempts find and leave things."""
    mirror: Mirror | None
    """The copy of cells' folders, as this machine has it."""
    note: Callable[[str], None]
    """Passes on what a person should know."""
    look: float = LOOK
    """Seconds between looks at which nodes there are, and that Ray has to say how work on a dead one ended."""


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


@dataclass
class Head:
    """The head of the cluster, asked now and then whether it is there: Ray would end this process without a word."""

    address: str
    patience: float = _HEAD
    """Seconds that it may be silent."""
    gone: bool = field(default=False, init=False)
    """Whether it was silent for longer."""
    _heard: float = field(default_factory=time.monotonic)
    _asked: float = 0.0

    def answers(self) -> bool:
        """Return whether it answers now. Raises UserError where it has not for a while."""
        self._asked = time.monotonic()
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=2).close()
        except OSError:
            if self._asked - self._heard < self.patience:
                return False
            self.gone = True
            raise UserError(
                f"the head of the Ray cluster at {self.address} does not answer any more, and its nodes end with it. "
                "Start the cluster and give the same command again: finished cells are kept, the others go on after "
                "their last epoch"
            ) from None
        self._heard = self._asked
        return True

    def raise_if_silent(self) -> None:
        """Ask it now and then, as `answers`."""
        if time.monotonic() - self._asked > _ASK:
            self.answers()


class Call(Generic[Result]):
    """One call of `run`."""

    def __init__(
        self,
        ray: Any,
        head: Head,
        mailbox: Any,
        terms: Terms,
        waiting: Iterator[RemoteJob[Result]],
        on_message: Callable[[Job[Result], object], None],
    ) -> None:
        """ray: the module, connected. mailbox: a queue of Ray's that jobs send to."""
        self._ray, self._head, self._mailbox, self._terms = ray, head, mailbox, terms
        self._waiting, self._on_message = waiting, on_message
        self._running: dict[Any, _Running[Result]] = {}
        self._task = ray.remote(max_calls=1 if terms.fresh else 0)(do_attempt)
        self._since: float | None = None  # since when no node has room
        self._looked = -math.inf
        self._room = 0
        self._alive: set[str] = set()
        self._dead_since: dict[Any, float] = {}

    def outcomes(self) -> Iterator[Outcome[Result]]:
        """Yield the outcome of every job; closed, it stops what is under way."""
        try:
            while True:
                while len(self._running) < self._window() and (job := next(self._waiting, None)) is not None:
                    self._begin(job, fruitless=0, before="")
                if not self._running:
                    return
                done, _ = self._ray.wait(list(self._running), num_returns=1, timeout=_TICK, fetch_local=False)
                self._head.raise_if_silent()
                self._hear()
                ended = {ref: self._end_of(ref) for ref in done}
                for ref, end in (self._lost() | ended).items():
                    if (outcome := self._conclude(ref, *end)) is not None:
                        yield outcome
        finally:
            self._stop()

    def _look(self) -> None:
        """See which nodes there are, now and then."""
        if time.monotonic() - self._looked < self._terms.look:
            return
        if not self._head.answers():  # Ray would wait, and end this
            return
        self._looked = time.monotonic()
        needs, nodes = self._terms.needs, alive(self._ray)
        self._alive = {node.id for node in nodes}
        slots = sum(node.slots(needs.cpus, needs.gpus) for node in nodes)
        if slots:
            self._since = None
        elif self._since is None:
            self._since = time.monotonic()
            self._terms.note("no node of the cluster has room for a cell any more; waiting for one")
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
            if now - since > self._terms.look  # Ray has had the time to say it
        }

    def _begin(self, job: RemoteJob[Result], *, fruitless: int, before: str) -> None:
        attempt = Attempt(self._issue(job), before=before)
        if self._terms.mirror is not None:
            self._terms.mirror.offer(job.folder)
        needs = self._terms.needs
        ref = self._task.options(
            num_cpus=needs.cpus, num_gpus=needs.gpus, max_retries=0, retry_exceptions=False,
            scheduling_strategy="SPREAD", name=job.name,
        ).remote(job, attempt, self._mailbox, self._terms.where)  # fmt: skip
        self._running[ref] = _Running(job, attempt, job.progress(), fruitless)

    def _issue(self, job: RemoteJob[Result]) -> int:
        number = issue(job.folder)
        return number if self._terms.mirror is None else self._terms.mirror.issue(job.folder, number)

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
                if isinstance(message, Begun):
                    running.node = message.node
                else:
                    if self._terms.mirror is not None:
                        self._terms.mirror.fetch_journal(running.job.folder)
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
        if self._terms.mirror is not None:
            self._terms.mirror.fetch(job.folder)
        if not isinstance(error, WorkerDiedError | StoppedError):
            return Outcome(job, result, error)
        fruitless = 0 if job.progress() > running.epochs else running.fruitless + 1
        if fruitless < self._terms.attempts:
            self._terms.note(f"{job.name}: attempt {running.attempt.number} ended ({error}); begun again")
            self._begin(job, fruitless=fruitless, before=str(error))
            return None
        self._issue(job)  # one that was taken for dead and lives stops
        why = f"{fruitless} attempts in a row gained no epoch; the last: {error}"
        return Outcome(job, error=WorkerDiedError(why))

    def _stop(self) -> None:
        """Stop what is under way as Ctrl-C would, and wait for it to end its writes."""
        with suppress(Exception):
            self._interrupt(_GRACE_WITHOUT_HEAD if self._head.gone else _GRACE)
            self._hear()
        with suppress(Exception):
            self._mailbox.shutdown()

    def _interrupt(self, grace: float) -> None:
        """Interrupt every attempt, and wait until all have ended.

        An interrupt that falls into Ray's own code in a worker is lost, and Ray sends no second one. An attempt that
        trains on is replaced, though nothing is begun: it ends when it comes to keep its next epoch.
        """
        epochs: dict[Any, float] = {ref: running.job.progress() for ref, running in self._running.items()}
        for ref in epochs:
            with suppress(Exception):
                self._ray.cancel(ref, force=False)
        left, end = set(epochs), time.monotonic() + grace
        while left and (remaining := end - time.monotonic()) > 0:
            done, _ = self._ray.wait(list(left), num_returns=len(left), timeout=min(_AGAIN, remaining))
            left -= set(done)
            for ref in [ref for ref in left if self._progress(ref) > epochs[ref] + 1]:
                epochs[ref] = math.inf
                self._issue(self._running[ref].job)

    def _progress(self, ref: Any) -> int:
        job = self._running[ref].job
        if self._terms.mirror is not None:
            self._terms.mirror.fetch_journal(job.folder)
        return job.progress()


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
