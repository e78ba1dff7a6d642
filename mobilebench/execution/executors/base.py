"""What an executor is: something that runs jobs and yields how each ended, in the order of completion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from mobilebench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)


class WorkerDiedError(UserError):
    """A worker ended without a word: killed, most often for want of memory."""


class StoppedError(UserError):
    """A worker was asked to stop from outside; what it had done is kept."""


class Job(Protocol[Result_co]):
    """A piece of work as data: picklable, with nothing open."""

    @property
    def name(self) -> str:
        """What the job is called in messages and in lists of processes."""
        ...

    def run(self, send: Callable[[object], None]) -> Result_co:
        """Do the work and return its result; `send` passes picklable messages to whoever runs the jobs."""
        ...


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """How a job ended: with a result, or with an error, a dead worker's among them."""

    job: Job[Result]
    result: Result | None = None
    error: Exception | None = None


class Executor(Protocol):
    """Runs jobs. Closing the iterator, or an exception in the caller, stops what is under way."""

    @property
    def remote(self) -> bool:
        """Whether jobs run on other machines: this one's devices and locks are then not theirs."""
        ...

    def run(
        self, jobs: Iterable[Job[Result]], on_message: Callable[[Job[Result], object], None]
    ) -> Iterator[Outcome[Result]]:
        """Yield the outcome of every job in order of completion.

        A job is taken from `jobs` when there is room for it and not before, so that whoever yields jobs may still
        decide. `on_message` gets what a job sends, in this process. KeyboardInterrupt is passed on once every job has
        stopped.
        """
        ...
