"""Jobs on a Ray cluster of several nodes on this machine: lost workers and nodes, false deaths, fractions of a card.

Most jobs here are counters that write a journal as a cell does: what is tested is around the training. Cells are in
tests/execution/test_grid_on_ray.py.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import psutil
import pytest
from ray_nodes import STORE, head

from mobilebench.errors import UserError
from mobilebench.execution.executors import StoppedError, WorkerDiedError, ray_cluster
from mobilebench.execution.executors.ray_cluster import RayExecutor
from mobilebench.execution.executors.ray_nodes import Needs, alive, check_nodes
from mobilebench.runs.attempts import Attempt, newest
from mobilebench.runs.events import Epoch
from mobilebench.runs.journal import Journal, epochs_done
from mobilebench.runs.mirror import Mirror
from mobilebench.system.layout import STATE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ray.cluster_utils import Cluster

pytestmark = pytest.mark.ray
ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers do not have the tests


@dataclass(frozen=True)
class Count:
    """A job that counts epochs into its journal, and does what it is asked at some of them."""

    folder: Path
    epochs: int = 2
    dies: tuple[int, ...] = ()
    """Epochs after which its process is killed, the first time that each is reached."""
    crashes: bool = False
    """Whether its process dies before the first epoch, always."""
    raises: bool = False
    seconds: float = 0.0
    attempt: Attempt | None = None

    @property
    def name(self) -> str:
        return self.folder.name

    def as_attempt(self, attempt: Attempt, data: Path | None) -> Count:
        return replace(self, attempt=attempt)

    def progress(self) -> int:
        return epochs_done(Journal(self.folder))

    def run(self, send: Callable[[object], None]) -> tuple[int, str, str]:
        journal = Journal(self.folder, self.attempt)
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        if self.crashes:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.raises:
            raise UserError("no such thing")
        began = time.time()
        for epoch in range(self.progress() + 1, self.epochs + 1):
            send(("begins", epoch, os.getpid()))
            time.sleep(self.seconds)
            journal.append(Epoch(step=epoch, metrics={}))
            send(("epoch", epoch, os.getpid()))
            if epoch in self.dies:
                os.kill(os.getpid(), signal.SIGKILL)
        return self.progress(), visible, f"{began} {time.time()}"


@dataclass
class Heard:
    """What jobs sent, and what is to be done when they do."""

    messages: list[tuple[str, object]] = field(default_factory=list)
    act: Callable[[str, object], None] | None = None

    def __call__(self, job: object, message: object) -> None:
        self.messages.append((job.name, message))  # type: ignore[attr-defined]
        if self.act:
            self.act(job.name, message)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    made = head()
    for _ in range(2):
        made.add_node(num_cpus=1, num_gpus=1, object_store_memory=STORE)
    yield made
    made.shutdown()


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def executor(cluster: Cluster, tmp_path: Path, notes: list[str]) -> Iterator[RayExecutor]:
    made = RayExecutor(cluster.address, tmp_path, note=notes.append)
    made.open()
    yield made
    made.close()


def steps(job: Count) -> list[int]:
    return [event.step for event in Journal(job.folder).events() if isinstance(event, Epoch)]


def test_a_killed_job_goes_on_and_one_that_never_gets_on_ends_alone(
    executor: RayExecutor, tmp_path: Path, notes: list[str]
) -> None:
    advancing = Count(tmp_path / "advancing", epochs=5, dies=(1, 2, 3, 4))
    crashing = Count(tmp_path / "crashing", crashes=True)
    raising = Count(tmp_path / "raising", raises=True)
    heard = Heard()
    outcomes = {o.job.name: o for o in executor.run([crashing, advancing, raising], heard)}
    assert outcomes["advancing"].error is None
    assert steps(advancing) == [1, 2, 3, 4, 5]
    assert newest(advancing.folder) == 5
    said = [message for name, message in heard.messages if name == "advancing"]
    assert [m[1] for m in said if m[0] == "epoch"] == [1, 2, 3, 4, 5]  # type: ignore[index]
    failed = outcomes["crashing"].error
    assert isinstance(failed, WorkerDiedError)
    assert "3 attempts in a row gained no epoch; the last: its worker process died" in str(failed)
    assert newest(crashing.folder) == 4  # three, and the number under which none may write
    assert str(outcomes["raising"].error) == "no such thing"
    assert newest(raising.folder) == 1
    assert len([note for note in notes if note.startswith("crashing")]) == 2


def test_parts_of_a_card_are_shared_and_no_more_than_fit(cluster: Cluster, tmp_path: Path) -> None:
    executor = RayExecutor(cluster.address, tmp_path, Needs(cpus=0.25, gpus=0.5))
    executor.open()
    try:
        jobs = [Count(tmp_path / f"job{i}", seconds=0.3) for i in range(5)]
        results = [outcome.result for outcome in executor.run(jobs, Heard())]
    finally:
        executor.close()
    spans: dict[str, list[tuple[float, float]]] = {}
    for result in results:
        assert isinstance(result, tuple)
        _, card, times = result
        began, ended = map(float, times.split())
        spans.setdefault(card, []).append((began, ended))
    assert "" not in spans  # each job sees one card
    for of_card in spans.values():
        # Both nodes call their card 0, so that four jobs may have it at once, two of each node.
        assert max(sum(b <= at < e for b, e in of_card) for at, _ in of_card) <= 2 * 2
    assert Needs(gpus=0.25).sharers == 4


def test_a_job_without_a_card_sees_that_it_has_none(executor: RayExecutor, tmp_path: Path) -> None:
    (outcome,) = executor.run([Count(tmp_path / "plain")], Heard())
    assert isinstance(outcome.result, tuple)
    assert outcome.result[0] == 2


def test_a_lost_node_costs_its_jobs_nothing(cluster: Cluster, executor: RayExecutor, tmp_path: Path) -> None:
    """The node of a running job is taken away; another one finishes it."""
    lost = cluster.add_node(num_cpus=1, object_store_memory=STORE)
    jobs = [Count(tmp_path / f"job{i}", epochs=4, seconds=0.5) for i in range(3)]
    removed: list[str] = []

    def act(name: str, message: object) -> None:
        assert isinstance(message, tuple)
        process = psutil.Process(message[2]) if psutil.pid_exists(message[2]) else None
        of_lost = {p.pid for p in psutil.Process(_raylet(lost)).children(recursive=True)} if not removed else set()
        if process is not None and process.pid in of_lost and message[:2] == ("begins", 2):
            removed.append(name)
            cluster.remove_node(lost, allow_graceful=False)

    outcomes = list(executor.run(jobs, Heard(act=act)))
    assert len(removed) == 1
    assert [outcome.error for outcome in outcomes] == [None] * 3
    assert [steps(job) for job in jobs] == [[1, 2, 3, 4]] * 3
    assert newest(tmp_path / removed[0]) >= 2


def _raylet(node: object) -> int:
    (process,) = node.all_processes["raylet"]  # type: ignore[attr-defined]
    return int(process.process.pid)


def test_one_that_was_taken_for_dead_and_lives_writes_nothing_more(
    cluster: Cluster, executor: RayExecutor, tmp_path: Path
) -> None:
    """A node freezes in the middle of an epoch, is declared dead, and wakes up after another attempt has gone on."""
    node = cluster.add_node(num_cpus=1, object_store_memory=STORE)
    raylet = psutil.Process(_raylet(node))
    jobs = [Count(tmp_path / f"job{i}", epochs=4, seconds=0.5) for i in range(3)]
    frozen: dict[str, int] = {}

    def act(name: str, message: object) -> None:
        assert isinstance(message, tuple)
        kind, epoch, pid = message
        if not frozen and (kind, epoch) == ("begins", 2) and pid in {p.pid for p in raylet.children(recursive=True)}:
            frozen[name] = pid
            for process in (pid, raylet.pid):
                os.kill(process, signal.SIGSTOP)
        elif frozen.get(name, pid) != pid and (kind, epoch) == ("epoch", 2):
            for process in (frozen[name], raylet.pid):
                os.kill(process, signal.SIGCONT)

    try:
        outcomes = list(executor.run(jobs, Heard(act=act)))
        assert [outcome.error for outcome in outcomes] == [None] * 3
        ((name, pid),) = frozen.items()
        _gone(pid)
        assert [steps(job) for job in jobs] == [[1, 2, 3, 4]] * 3
        assert newest(tmp_path / name) == 2
    finally:
        if raylet.is_running():
            raylet.resume()
        cluster.remove_node(node, allow_graceful=False)


def _gone(pid: int) -> None:
    for _ in range(300):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.1)
    pytest.fail(f"process {pid} lives on")


def test_stopping_stops_every_attempt_and_keeps_its_epochs(executor: RayExecutor, tmp_path: Path) -> None:
    jobs = [Count(tmp_path / f"job{i}", epochs=1000, seconds=0.05) for i in range(2)]
    pids: dict[str, int] = {}

    def act(name: str, message: object) -> None:
        assert isinstance(message, tuple)
        pids[name] = message[2]
        if len(pids) == 2 and message[1] > 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(executor.run(jobs, Heard(act=act)))
    for pid in pids.values():
        _gone(pid)
    for job in jobs:
        assert steps(job) == list(range(1, job.progress() + 1))
        assert job.progress()


def test_many_jobs_are_asked_for_one_by_one(cluster: Cluster, tmp_path: Path) -> None:
    executor = RayExecutor(cluster.address, tmp_path, fresh=False)
    executor.open()
    asked = ended = most = 0

    def jobs() -> Iterator[Count]:
        nonlocal asked, most
        for i in range(100):
            asked += 1
            most = max(most, asked - ended)
            yield Count(tmp_path / f"job{i}", epochs=0)

    memory = psutil.Process().memory_info().rss
    try:
        for outcome in executor.run(jobs(), Heard()):
            assert outcome.error is None
            ended += 1
    finally:
        executor.close()
    assert ended == 100
    assert most <= 2 + 2 + 1  # two nodes of one CPU, two that wait, and the one asked for
    assert psutil.Process().memory_info().rss - memory < 100 << 20


def test_a_node_of_another_installation_is_refused_by_name(cluster: Cluster, tmp_path: Path) -> None:
    other = tmp_path / "site"
    (other / "elsewhere-1.0.dist-info").mkdir(parents=True)
    (other / "elsewhere-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    node = cluster.add_node(
        num_cpus=1, object_store_memory=STORE, env_vars={"PYTHONPATH": str(other)}, node_name="odd-one"
    )
    executor = RayExecutor(cluster.address, tmp_path)
    try:
        with pytest.raises(UserError, match=r"elsewhere 1.0 \(here none\)"):
            executor.open()
    finally:
        executor.close()
        cluster.remove_node(node)


def test_a_node_that_is_lost_while_it_is_looked_at_is_left_out(
    cluster: Cluster,
    executor: RayExecutor,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.INFO)
    lost = cluster.add_node(num_cpus=1, object_store_memory=STORE)
    nodes = alive(executor.ray)
    cluster.remove_node(lost, allow_graceful=False)
    assert len(check_nodes(executor.ray, nodes, tmp_path, shared=True, gpus=False)) == len(nodes) - 1
    for _ in range(300):  # Ray's word of it comes when it comes
        if "has been marked dead" in caplog.text:
            break
        time.sleep(0.1)
    assert "has been marked dead" in caplog.text
    assert capsys.readouterr().out == ""  # where --json has its document


def test_a_node_of_another_installation_that_joins_later_trains_nothing(
    cluster: Cluster, executor: RayExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "installation", lambda: "another")  # of this machine: no node is like it
    (outcome,) = executor.run([Count(tmp_path / "job")], Heard())
    assert isinstance(outcome.error, WorkerDiedError)
    assert "3 attempts in a row gained no epoch; the last: node " in str(outcome.error)
    assert "has other packages, or another commit" in str(outcome.error)
    assert steps(Count(tmp_path / "job")) == []


def test_what_fits_nowhere_is_said_at_once(cluster: Cluster, tmp_path: Path) -> None:
    executor = RayExecutor(cluster.address, tmp_path, Needs(cpus=64))
    try:
        with pytest.raises(UserError, match="a cell needs 64 CPUs, and no node of the cluster has that"):
            executor.open()
    finally:
        executor.close()


def test_no_cluster_is_said_in_one_line(tmp_path: Path) -> None:
    executor = RayExecutor("127.0.0.1:1", tmp_path)
    with pytest.raises(UserError, match=r"no Ray cluster answers at 127\.0\.0\.1:1"):
        executor.open()


def test_a_head_that_is_gone_is_said_and_another_call_goes_on(cluster: Cluster, tmp_path: Path) -> None:
    job = Count(tmp_path / "job", epochs=3, seconds=0.5)
    alone = head(cpus=1)
    executor = RayExecutor(alone.address, tmp_path)
    executor.open()
    executor.head.patience = 2.0

    def act(_: str, message: object) -> None:
        assert isinstance(message, tuple)
        if message[:2] == ("begins", 2):
            alone.head_node.kill_gcs_server()

    try:
        with pytest.raises(UserError, match=r"the head of the Ray cluster at .* does not answer any more"):
            list(executor.run([replace(job, epochs=1000)], Heard(act=act)))
    finally:
        executor.close()
        alone.shutdown()
    done = job.progress()
    assert done
    executor = RayExecutor(cluster.address, tmp_path)
    executor.open()
    try:
        (outcome,) = executor.run([replace(job, epochs=done + 2)], Heard())
    finally:
        executor.close()
    assert outcome.error is None
    assert steps(job) == list(range(1, done + 3))


def test_without_a_shared_folder_the_next_attempt_takes_what_the_mirror_has(cluster: Cluster, tmp_path: Path) -> None:
    """The folder of the cell is removed with the worker, as it is where the next attempt begins on another machine."""
    job = Count(tmp_path / STATE / "job", epochs=4, dies=(3,), seconds=0.2)
    mirror = Mirror(f"file://{tmp_path}/mirror", tmp_path / STATE)
    executor = RayExecutor(cluster.address, tmp_path, mirror=mirror)
    executor.open()
    removed: list[int] = []

    def note(_: str) -> None:
        removed.append(job.progress())
        shutil.rmtree(job.folder)

    executor.note = note
    try:
        (outcome,) = executor.run([job], Heard())
    finally:
        executor.close()
    assert removed
    assert outcome.error is None
    assert steps(job) == [1, 2, 3, 4]
    assert newest(job.folder) == 2


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
