"""What every executor does, and what a process adds: it can die, and it ends with its parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil
import pytest

from mobilebench.errors import UserError
from mobilebench.execution.executors import EXECUTORS, StoppedError, WorkerDiedError, processes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mobilebench.execution.executors import Executor


class OddError(Exception):
    """An exception that cannot be pickled and read back."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


@dataclass(frozen=True)
class Work:
    """Sends its number, then does what it is asked."""

    number: int
    act: str = "double"

    @property
    def name(self) -> str:
        return f"work {self.number}"

    def run(self, send: Callable[[object], None]) -> int:
        send(self.number)
        if self.act == "refuse":
            raise UserError(f"{self.name} refuses")
        if self.act == "odd":
            raise OddError(1, 2)
        if self.act == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.act == "stop":
            os.kill(os.getpid(), signal.SIGTERM)
        while self.act == "talk":
            send("x" * 10_000)
        if self.act in {"stop", "wait"}:
            time.sleep(60)
        return 2 * self.number


@pytest.fixture(params=sorted(EXECUTORS))
def executor(request: pytest.FixtureRequest) -> Executor:
    return EXECUTORS[request.param](2)


def test_every_job_has_an_outcome_and_its_messages_arrive_before_it(executor: Executor) -> None:
    seen: list[object] = []
    jobs = [Work(1), Work(2, "refuse"), Work(3)]
    for outcome in executor.run(tuple(jobs), lambda job, message: seen.append((job.name, message))):
        assert (outcome.job.name, outcome.job.number) in seen  # type: ignore[attr-defined]
        if outcome.job == Work(2, "refuse"):
            assert isinstance(outcome.error, UserError)
            assert str(outcome.error) == "work 2 refuses"
        else:
            assert outcome.error is None
            assert outcome.result == 2 * outcome.job.number  # type: ignore[attr-defined]
        jobs.remove(outcome.job)  # type: ignore[arg-type]
    assert jobs == []


def test_no_jobs_end_at_once(executor: Executor) -> None:
    assert list(executor.run([], lambda *_: None)) == []


def test_a_job_is_asked_for_only_when_there_is_room() -> None:
    asked: list[int] = []

    def jobs() -> Iterator[Work]:
        for number in range(5):
            asked.append(number)
            yield Work(number)

    outcomes = EXECUTORS["processes"](2).run(jobs(), lambda *_: None)
    next(outcomes)
    assert len(asked) == 2
    assert len(list(outcomes)) == 4


def test_a_process_that_dies_is_an_outcome_and_the_others_go_on() -> None:
    outcomes = list(EXECUTORS["processes"](2).run([Work(1, "die"), Work(2), Work(3)], lambda *_: None))
    errors = {outcome.job.name: outcome.error for outcome in outcomes}
    assert isinstance(errors["work 1"], WorkerDiedError)
    assert "SIGKILL; out of memory?" in str(errors["work 1"])
    assert errors["work 2"] is errors["work 3"] is None


def test_an_error_that_cannot_travel_is_passed_on_in_words() -> None:
    (outcome,) = EXECUTORS["processes"](2).run([Work(1, "odd")], lambda *_: None)
    assert str(outcome.error) == "OddError: 1 and 2"


def test_a_process_that_is_asked_to_stop_says_so() -> None:
    (outcome,) = EXECUTORS["processes"](2).run([Work(1, "stop")], lambda *_: None)
    assert isinstance(outcome.error, StoppedError)


def test_an_exception_in_the_caller_stops_what_is_under_way() -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        list(EXECUTORS["processes"](2).run([Work(1, "wait"), Work(2, "wait")], stop))
    assert time.monotonic() - began < 50
    assert [p for p in multiprocessing.active_children() if p.name.startswith("work")] == []


ORPHANS = """
import sys
sys.path.insert(0, {folder!r})
from test_executors import Work
from mobilebench.execution.executors import EXECUTORS, processes
processes._PRELOADED = "pickle"  # nothing is trained here: no PyTorch
if __name__ == "__main__":
    from multiprocessing import active_children
    def say(*_):
        print(*(p.pid for p in active_children()), flush=True)
    list(EXECUTORS["processes"](1).run([Work(1, "wait")], say))
"""


def test_a_worker_whose_words_nobody_reads_any_more_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_GRACE", 10.0)
    workers: list[object] = []

    def full(_: object, __: object) -> None:
        workers.extend(multiprocessing.active_children())
        time.sleep(1)  # by now its pipe is full
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(EXECUTORS["processes"](1).run([Work(1, "talk")], full))
    assert [worker.exitcode for worker in workers] == [0]  # type: ignore[attr-defined]


def test_workers_end_with_a_parent_that_is_killed() -> None:
    script = ORPHANS.format(folder=os.path.dirname(__file__))  # noqa: PTH120 - a plain string for the script
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        workers = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert workers
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert alive == []
