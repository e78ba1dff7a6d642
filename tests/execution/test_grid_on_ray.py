"""Cells on a Ray cluster: the bits of cells trained here, a killed worker and all, and one run each."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import grids
import psutil
import pytest
from click.testing import CliRunner
from mlflow.tracking import MlflowClient
from ray_nodes import STORE, head

from mobilebench.cli import main
from mobilebench.config.suite import Cell
from mobilebench.execution.context import open_context
from mobilebench.execution.executors.ray_cluster import RayExecutor
from mobilebench.execution.grid import run_cells
from mobilebench.execution.progress import NullListener
from mobilebench.execution.tuned_cell import cell_run
from mobilebench.runs.attempts import Attempt, SupersededError, issue
from mobilebench.runs.events import Epoch, Finish, Resume
from mobilebench.runs.journal import Journal, epochs_done
from mobilebench.system.layout import STATE
from mobilebench.tracking import OfflineTracker, Tracker, uri

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ray.cluster_utils import Cluster

    from mobilebench.training import EpochResult

pytestmark = pytest.mark.ray
pytest.importorskip("ray", reason="the extra `ray` is not installed")
EPOCHS = 12
EVERY = list(range(1, EPOCHS + 1))
# The call ends itself, as SIGKILL would end it, at an epoch it hears of: from outside it might end before.
KILLED = """
import os, signal
from mobilebench.cli import main
from mobilebench.cli.console import GridProgress
GridProgress.epoch = lambda self, cell, result, epochs: result.epoch > 2 and os.kill(os.getpid(), signal.SIGKILL)
main()
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    made = head()
    made.add_node(num_cpus=2, object_store_memory=STORE)
    yield made
    made.shutdown()


class Killer(NullListener):
    """Kills the worker of a model once, when it has told of its first epoch."""

    def __init__(self, model: str) -> None:
        self.model = model
        self.killed: list[int] = []

    def epoch(self, cell: Cell, result: EpochResult, epochs: int) -> None:
        if cell.model == self.model and not self.killed:
            self.killed = _workers(cell.name)
            for pid in self.killed:
                os.kill(pid, signal.SIGKILL)


def _workers(name: str) -> list[int]:
    """Return the processes that do a task of this name: Ray calls them by it."""
    found = psutil.process_iter(["pid", "cmdline"])
    return [p.info["pid"] for p in found if (p.info["cmdline"] or [""])[0] == f"ray::{name}"]


def test_cells_end_with_the_bits_of_cells_trained_here_and_one_run_each(
    cluster: Cluster, store: Path, project: Path
) -> None:
    suite = grids.write(project, epochs=EPOCHS)
    shutil.copytree(project, other := project.with_name("other"))
    with contextlib.chdir(other):
        assert run_cells(open_context(suite, "blobs", OfflineTracker()), suite.cells()) == []
    killer = Killer("starnet")
    context = replace(open_context(suite, "blobs", Tracker()), listener=killer)
    executor = RayExecutor(cluster.address, project, note=lambda _: None)
    executor.open()
    try:
        assert run_cells(context, suite.cells(), executor) == []
        assert run_cells(context, suite.cells(), executor) == []  # nothing is left
    finally:
        executor.close()
    assert len(killer.killed) == 1
    for cell in suite.cells():
        here, there = (Journal(folder / context.journal(cell).folder) for folder in (other, project))
        assert _without_times(here) == _without_times(there)
        assert _predictions(here) == _predictions(there)

    client = MlflowClient(uri())
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = {run.data.params["model"]: run for run in client.search_runs([experiment.experiment_id])}
    assert len(runs) == 2
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    killed = runs["starnet"]
    points = client.get_metric_history(killed.info.run_id, "test_top1")
    assert [point.step for point in points] == EVERY
    assert killed.data.tags["attempts"] == "2"
    assert "; before it: its worker process died" in killed.data.tags["attempt.2"]
    assert killed.data.tags["threads"] == "1"
    assert "attempts" not in runs["shufflenet"].data.tags

    journal = context.journal(Cell("starnet", "blobs", 0))
    assert [event.step for event in journal.events() if isinstance(event, Epoch)] == EVERY
    assert len([event for event in journal.events() if isinstance(event, Resume)]) == 1


def _without_times(journal: Journal) -> list[dict[str, float]]:
    timed = ("second", "joules")
    found = [event.metrics for event in journal.events() if isinstance(event, Epoch | Finish)]
    return [{key: value for key, value in each.items() if not any(t in key for t in timed)} for each in found]


def _predictions(journal: Journal) -> dict[str, str]:
    finish = journal.last(Finish)
    assert finish is not None
    return {key: value for key, value in finish.tags.items() if key.startswith("predictions.")}


def test_a_killed_call_is_carried_on_by_the_same_command(cluster: Cluster, project: Path) -> None:
    suite = grids.write(project, epochs=EPOCHS)
    command = [sys.executable, "-c", KILLED, "run", "--on", f"ray:{cluster.address}", "--offline"]
    first = subprocess.run(command, check=False, capture_output=True, timeout=300, text=True)
    assert first.returncode == -signal.SIGKILL, first.stderr
    journals = {path.parent.name: epochs_done(Journal(path.parent)) for path in STATE.glob("*/journal.jsonl")}
    assert any(0 < done < EPOCHS for done in journals.values())
    again = [sys.executable, "-m", "mobilebench", *command[3:]]
    second = subprocess.run(again, check=False, capture_output=True, timeout=300, text=True)
    assert second.returncode == 0, second.stdout + second.stderr
    for cell in suite.cells():
        (journal,) = (Journal(path.parent) for path in STATE.glob(f"{cell.name}-*/journal.jsonl"))
        assert [event.step for event in journal.events() if isinstance(event, Epoch)] == EVERY
        assert journal.last(Finish) is not None


def test_threads_that_are_not_pinned_are_refused(cluster: Cluster, project: Path) -> None:
    grids.write(project)
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("threads: 1, ", ""))
    result = CliRunner().invoke(main, ["run", "--on", f"ray:{cluster.address}", "--offline"])
    assert result.exit_code == 2
    assert "runtime.threads is null, and on a cluster each node would choose for itself" in result.output


def test_training_here_stops_an_attempt_elsewhere_that_lives_on(project: Path) -> None:
    suite = grids.write(project)
    context = open_context(suite, "blobs", OfflineTracker())
    cell = Cell("shufflenet", "blobs", 0)
    folder = context.journal(cell).folder
    elsewhere = Journal(folder, Attempt(issue(folder)))
    assert run_cells(context, [cell]) == []
    with pytest.raises(SupersededError):
        elsewhere.append(Epoch(step=3, metrics={}))
    assert epochs_done(Journal(folder)) == 2


def test_a_cell_that_was_stopped_before_it_began_has_nothing_to_deliver(store: Path, project: Path) -> None:
    suite = grids.write(project)
    context = open_context(suite, "blobs", Tracker())
    run = cell_run(context, Cell("starnet", "blobs", 0))
    run.deliver()
    assert not run.journal.folder.exists()
