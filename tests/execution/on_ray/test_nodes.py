"""Nodes of a Ray cluster that are lost, that only seem to be, and that are not like the machine of the call."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import psutil
import pytest
from counting import Count, Heard, steps
from ray_nodes import STORE

from mobilebench.errors import UserError
from mobilebench.execution.executors import WorkerDiedError, ray_cluster
from mobilebench.execution.executors.ray_nodes import Needs, alive, check_nodes
from mobilebench.runs.attempts import newest

if TYPE_CHECKING:
    from pathlib import Path

    from ray.cluster_utils import Cluster

    from mobilebench.execution.executors.ray_cluster import RayExecutor

pytestmark = pytest.mark.ray
pytest.importorskip("ray", reason="the extra `ray` is not installed")


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


def test_a_node_of_another_installation_is_refused_by_name_and_left_out_when_it_is_lost(
    cluster: Cluster,
    executor: RayExecutor,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.INFO)
    other = tmp_path / "site"
    (other / "elsewhere-1.0.dist-info").mkdir(parents=True)
    (other / "elsewhere-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n")
    odd = {"env_vars": {"PYTHONPATH": str(other)}, "node_name": "odd-one"}
    node = cluster.add_node(num_cpus=1, object_store_memory=STORE, **odd)
    try:
        with pytest.raises(UserError, match=r"elsewhere 1.0 \(here none\)"):
            executor.check()
    finally:
        nodes = alive(executor.ray)
        cluster.remove_node(node, allow_graceful=False)
    # Lost between the list and the question.
    assert len(check_nodes(executor.ray, nodes, tmp_path, shared=True, gpus=False)) == len(nodes) - 1
    for _ in range(300):  # Ray's word of it comes when it comes
        if "has been marked dead" in caplog.text:
            break
        time.sleep(0.1)
    assert "has been marked dead" in caplog.text
    assert capsys.readouterr().out == ""  # where --json has its document


def test_a_node_of_another_installation_that_joins_later_trains_nothing(
    executor: RayExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor.attempts = 1
    monkeypatch.setattr(ray_cluster, "installation", lambda: "another")  # of this machine: no node is like it
    (outcome,) = executor.run([Count(tmp_path / "job")], Heard())
    assert isinstance(outcome.error, WorkerDiedError)
    assert "1 attempts in a row gained no epoch; the last: node " in str(outcome.error)
    assert "has other packages, or another commit" in str(outcome.error)
    assert steps(Count(tmp_path / "job")) == []


def test_what_fits_nowhere_is_said_at_once(executor: RayExecutor) -> None:
    executor.needs = Needs(cpus=64)
    with pytest.raises(UserError, match="a cell needs 64 CPUs, and no node of the cluster has that"):
        executor.check()
