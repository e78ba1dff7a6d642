"""What one call on a Ray cluster decides by itself, with stand-ins for Ray and its queue.

Ray waits for an answer of a worker that is frozen with its node: that the node is dead and its job begun again is
decided here. benchmarks/chaos_ray.py freezes nodes of a real cluster.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from counting import Count, Heard, steps

from mobilebench.execution.executors.ray_attempt import Begun, Where
from mobilebench.execution.executors.ray_call import Call, Terms
from mobilebench.execution.executors.ray_nodes import Needs
from mobilebench.runs.attempts import Attempt, SupersededError, newest
from mobilebench.runs.events import Epoch
from mobilebench.runs.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mobilebench.execution.executors import Outcome


@dataclass
class Cluster:
    """A cluster whose first node freezes after an epoch of the job there."""

    dead_after: float
    """Looks at the nodes after which Ray has the frozen one for dead."""
    wakes_after: float
    """Looks at the nodes after which the job there goes on to its end."""
    mail: list[tuple[str, int, object]] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    """The node of each attempt, in the order of their beginning."""
    ended: dict[int, object] = field(default_factory=dict)
    asleep: Callable[[], None] | None = None
    looks: int = 0

    def remote(self, **_: object) -> Callable[[object], Any]:
        return lambda _: SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self._begin))

    def _begin(self, job: Count, attempt: Attempt, _mailbox: object, _where: Where) -> int:
        number = len(self.begun) + 1
        self.begun.append("other" if self.begun else "frozen")
        self.mail.append((job.name, attempt.number, Begun(self.begun[-1])))
        self._count(job, attempt, until=1 if number == 1 else job.epochs)
        if number == 1:
            self.asleep = lambda: self._count(job, attempt, until=job.epochs)
        return number

    def _count(self, job: Count, attempt: Attempt, *, until: int) -> None:
        for epoch in range(job.progress() + 1, until + 1):
            Journal(job.folder, attempt).append(Epoch(step=epoch, metrics={}))
            self.mail.append((job.name, attempt.number, ("epoch", epoch, 0)))
        if until == job.epochs:
            self.ended[attempt.number] = (until, None)

    def wait(self, refs: list[int], **_: object) -> tuple[list[int], list[int]]:
        if self.asleep and self.looks > self.wakes_after:
            self.asleep()
            self.asleep = None
        return [ref for ref in refs if ref in self.ended], [ref for ref in refs if ref not in self.ended]

    def get(self, ref: int) -> object:
        return self.ended[ref]

    def nodes(self) -> list[dict[str, object]]:
        self.looks += 1
        assert self.looks < 100, "the call waits for ever"
        alive = {"frozen": self.looks <= self.dead_after, "other": True}
        return [
            {"NodeID": name, "NodeManagerHostname": name, "Resources": {"CPU": 1.0}, "Alive": is_alive}
            for name, is_alive in alive.items()
        ]

    # the queue that jobs send to
    def qsize(self) -> int:
        return len(self.mail)

    def get_nowait_batch(self, number: int) -> list[tuple[str, int, object]]:
        found, self.mail = self.mail[:number], self.mail[number:]
        return found

    def shutdown(self) -> None:
        self.mail.clear()


@pytest.fixture
def job(tmp_path: Path) -> Count:
    return Count(tmp_path / "job", epochs=4)


def outcomes(cluster: Cluster, job: Count, heard: Heard, notes: list[str]) -> list[Outcome[object]]:
    head: Any = SimpleNamespace(answers=lambda: True, raise_if_silent=lambda: None)
    where = Where(job.folder.parent)
    terms = Terms(Needs(), 3, fresh=True, where=where, mirror=None, note=notes.append, look=0.0)
    return list(Call(cluster, head, cluster, terms, iter([job]), heard).outcomes())


def test_what_runs_on_a_node_that_is_dead_and_does_not_answer_is_begun_again_elsewhere(job: Count) -> None:
    cluster, heard, notes = Cluster(dead_after=3, wakes_after=math.inf), Heard(), list[str]()
    (outcome,) = outcomes(cluster, job, heard, notes)
    assert outcome.error is None
    assert outcome.result == 4
    assert cluster.begun == ["frozen", "other"]
    assert notes == ["job: attempt 1 ended (its node does not answer any more); begun again"]
    assert [message[1] for _, message in heard.messages] == [1, 2, 3, 4]  # type: ignore[index]

    assert newest(job.folder) == 2
    with pytest.raises(SupersededError):  # it wakes up
        Journal(job.folder, Attempt(1)).append(Epoch(step=2, metrics={}))
    assert steps(job) == [1, 2, 3, 4]


def test_what_is_silent_on_a_node_that_is_not_known_to_be_dead_is_waited_for(job: Count) -> None:
    cluster, heard, notes = Cluster(dead_after=math.inf, wakes_after=50), Heard(), list[str]()
    (outcome,) = outcomes(cluster, job, heard, notes)
    assert (outcome.error, outcome.result) == (None, 4)
    assert (cluster.begun, notes) == (["frozen"], [])
