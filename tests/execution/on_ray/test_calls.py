"""Calls that find no cluster, lose it, or are lost themselves, and what the next one makes of it."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import grids
import pytest
from click.testing import CliRunner
from counting import Count, Heard, steps
from ray_nodes import head

from mobilebench.cli import main
from mobilebench.errors import UserError
from mobilebench.execution.executors import ray_call
from mobilebench.execution.executors.ray_cluster import RayExecutor
from mobilebench.runs.events import Epoch, Finish, Resume
from mobilebench.runs.journal import Journal, epochs_done
from mobilebench.system.layout import STATE

if TYPE_CHECKING:
    from pathlib import Path

    from ray.cluster_utils import Cluster

pytestmark = pytest.mark.ray
pytest.importorskip("ray", reason="the extra `ray` is not installed")
EPOCHS = 12  # the worker has trained on before it ends with the killed call
# The call ends itself, as SIGKILL would end it, at an epoch it hears of: from outside it might end before.
KILLED = """
import os, signal
from mobilebench.cli import main
from mobilebench.cli.console import GridProgress
GridProgress.epoch = lambda self, cell, result, epochs: result.epoch > 2 and os.kill(os.getpid(), signal.SIGKILL)
main()
"""


def test_no_cluster_is_said_in_one_line(tmp_path: Path) -> None:
    executor = RayExecutor("127.0.0.1:1", tmp_path)
    with pytest.raises(UserError, match=r"no Ray cluster answers at 127\.0\.0\.1:1"):
        executor.open()


def test_a_head_that_is_gone_is_said_and_another_call_goes_on(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_call, "_GRACE_WITHOUT_HEAD", 3.0)
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


def test_a_killed_call_is_carried_on_by_the_same_command(cluster: Cluster, project: Path) -> None:
    grids.write(project, epochs=EPOCHS)
    command = ["run", "--model", "starnet", "--on", f"ray:{cluster.address}", "--offline"]
    first = subprocess.run(
        [sys.executable, "-c", KILLED, *command], check=False, capture_output=True, timeout=300, text=True
    )
    assert first.returncode == -signal.SIGKILL, first.stderr
    (journal,) = (Journal(path.parent) for path in STATE.glob("starnet.*/journal.jsonl"))
    assert 0 < epochs_done(journal) < EPOCHS
    second = CliRunner().invoke(main, command)
    assert second.exit_code == 0, second.output
    assert [event.step for event in journal.events() if isinstance(event, Epoch)] == list(range(1, EPOCHS + 1))
    assert len([event for event in journal.events() if isinstance(event, Resume)]) == 1
    assert journal.last(Finish) is not None


def test_threads_that_are_not_pinned_are_refused(cluster: Cluster, project: Path) -> None:
    grids.write(project)
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("threads: 1, ", ""))
    result = CliRunner().invoke(main, ["run", "--on", f"ray:{cluster.address}", "--offline"])
    assert result.exit_code == 2
    assert "runtime.threads is null, and on a cluster each node would choose for itself" in result.output
