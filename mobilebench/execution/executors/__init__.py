"""Where jobs run. `EXECUTORS` names the kinds; `make_executor` picks one for so many jobs at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilebench.execution.executors.base import Executor, Job, Outcome, StoppedError, WorkerDiedError
from mobilebench.execution.executors.processes import ProcessExecutor
from mobilebench.execution.executors.serial import SerialExecutor

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["EXECUTORS", "Executor", "Job", "Outcome", "StoppedError", "WorkerDiedError", "make_executor"]

EXECUTORS: dict[str, Callable[[int], Executor]] = {
    "serial": lambda _: SerialExecutor(),
    "processes": ProcessExecutor,
}


def make_executor(workers: int) -> Executor:
    """Return the executor for `workers` jobs at a time: this process for one, processes for more."""
    return EXECUTORS["serial" if workers == 1 else "processes"](workers)
