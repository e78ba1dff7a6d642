"""Jobs on a Ray cluster: killed, stopped and mirrored ones, fractions of a card, and many of them.

Jobs here are counters that write a journal as a cell does: what is tested is around the training. Cells are in
test_cells.py, nodes in test_nodes.py.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections import Counter
from typing import TYPE_CHECKING

import psutil
import pytest
from counting import Count, Heard, steps, wait_until_gone

from mobilebench.execution.executors import StoppedError, WorkerDiedError, ray_call
from mobilebench.execution.executors.ray_nodes import Needs
from mobilebench.runs.attempts import newest
from mobilebench.runs.mirror import Mirror
from mobilebench.system.layout import STATE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mobilebench.execution.executors.ray_cluster import RayExecutor

pytestmark = pytest.mark.ray
pytest.importorskip("ray", reason="the extra `ray` is not installed")


def test_a_killed_job_goes_on_and_one_that_never_gets_on_ends_alone(
    executor: RayExecutor, tmp_path: Path, notes: list[str]
) -> None:
    advancing = Count(tmp_path / "advancing", epochs=3, dies=(1, 2))
    executor.attempts = 2
    crashing = Count(tmp_path / "crashing", crashes=True)
    raising = Count(tmp_path / "raising", raises=True)
    heard = Heard()
    outcomes = {o.job.name: o for o in executor.run([crashing, advancing, raising], heard)}
    assert outcomes["advancing"].error is None
    result = outcomes["advancing"].result
    assert isinstance(result, tuple)
    assert result[:2] == (3, os.environ.get("CUDA_VISIBLE_DEVICES", ""))  # it asked for no card, and none was chosen
    assert steps(advancing) == [1, 2, 3]
    assert newest(advancing.folder) == 3
    said = [message for name, message in heard.messages if name == "advancing"]
    assert [m[1] for m in said if m[0] == "epoch"] == [1, 2, 3]  # type: ignore[index]
    failed = outcomes["crashing"].error
    assert isinstance(failed, WorkerDiedError)
    assert "2 attempts in a row gained no epoch; the last: its worker process died" in str(failed)
    assert newest(crashing.folder) == 3  # two, and the number under which none may write
    assert str(outcomes["raising"].error) == "no such thing"
    assert newest(raising.folder) == 1
    assert len([note for note in notes if note.startswith("crashing")]) == 1


def test_parts_of_a_card_are_shared_and_no_more_than_fit(executor: RayExecutor, tmp_path: Path) -> None:
    executor.needs = Needs(cpus=0.25, gpus=0.5)
    jobs = [Count(tmp_path / f"job{i}", seconds=0.3) for i in range(5)]
    results = [outcome.result for outcome in executor.run(jobs, Heard())]
    spans: dict[str, list[tuple[float, float]]] = {}
    for result in results:
        assert isinstance(result, tuple)
        _, card, times = result
        began, ended = map(float, times.split())
        spans.setdefault(card, []).append((began, ended))
    assert set(spans) <= {"0", "1"}  # each job sees one card
    for of_card in spans.values():
        assert max(sum(b <= at < e for b, e in of_card) for at, _ in of_card) <= 2
    assert Needs(gpus=0.25).sharers == 4


def test_stopping_stops_every_attempt_and_keeps_its_epochs(
    executor: RayExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one whose interrupt was lost."""
    monkeypatch.setattr(ray_call, "_AGAIN", 1.0)
    jobs = [Count(tmp_path / f"job{i}", epochs=1000, seconds=0.05, deaf=bool(i)) for i in range(2)]
    pids: dict[str, int] = {}

    def act(name: str, message: object) -> None:
        assert isinstance(message, tuple)
        pids[name] = message[2]
        if len(pids) == 2 and message[1] > 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(executor.run(jobs, Heard(act=act)))
    for pid in pids.values():
        wait_until_gone(pid)
    for job in jobs:
        assert steps(job) == list(range(1, job.progress() + 1))
        assert job.progress()


def test_a_job_that_was_stopped_by_its_node_is_begun_again(executor: RayExecutor, tmp_path: Path) -> None:
    job = Count(tmp_path / "job", epochs=3, seconds=0.3)
    stopped: list[int] = []

    def act(_: str, message: object) -> None:
        assert isinstance(message, tuple)
        if message[:2] == ("begins", 2) and not stopped:
            stopped.append(message[2])
            os.kill(message[2], signal.SIGTERM)

    (outcome,) = executor.run([job], Heard(act=act))
    assert not isinstance(outcome.error, StoppedError)
    assert outcome.error is None
    assert Counter(steps(job)) == Counter([1, 2, 3])
    assert newest(job.folder) == 2


def test_many_jobs_are_asked_for_one_by_one(executor: RayExecutor, tmp_path: Path) -> None:
    executor.fresh = False
    asked = ended = most = 0

    def jobs() -> Iterator[Count]:
        nonlocal asked, most
        for i in range(40):
            asked += 1
            most = max(most, asked - ended)
            yield Count(tmp_path / f"job{i}", epochs=0)

    memory = psutil.Process().memory_info().rss
    for outcome in executor.run(jobs(), Heard()):
        assert outcome.error is None
        ended += 1
    assert ended == 40
    assert most <= 2 + 2 + 1  # two CPUs, two that wait, and the one asked for
    assert psutil.Process().memory_info().rss - memory < 100 << 20


def test_without_a_shared_folder_the_next_attempt_takes_what_the_mirror_has(
    executor: RayExecutor, tmp_path: Path
) -> None:
    """The folder of the cell is removed with the worker, as it is where the next attempt begins on another machine."""
    job = Count(tmp_path / STATE / "job", epochs=4, dies=(3,), seconds=0.2)
    executor.mirror = Mirror(f"file://{tmp_path}/mirror", tmp_path / STATE)
    removed: list[int] = []

    def note(_: str) -> None:
        removed.append(job.progress())
        shutil.rmtree(job.folder)

    executor.note = note
    (outcome,) = executor.run([job], Heard())
    assert removed
    assert outcome.error is None
    assert steps(job) == [1, 2, 3, 4]
    assert newest(job.folder) == 2
