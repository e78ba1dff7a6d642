"""One job after the other, in this process: no second import of the stack where one worker is enough."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilebench.execution.executors.base import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mobilebench.execution.executors.base import Job, Result


class SerialExecutor:
    """Runs jobs in this process."""

    remote = False

    def run(
        self, jobs: Iterable[Job[Result]], on_message: Callable[[Job[Result], object], None]
    ) -> Iterator[Outcome[Result]]:
        """Yield the outcome of every job; see `Executor.run`."""
        for job in jobs:
            yield self._outcome(job, on_message)

    def _outcome(self, job: Job[Result], on_message: Callable[[Job[Result], object], None]) -> Outcome[Result]:
        def send(message: object) -> None:
            on_message(job, message)

        try:
            return Outcome(job, job.run(send))
        except Exception as error:  # noqa: BLE001 - an outcome too; the caller decides
            return Outcome(job, error=error)
