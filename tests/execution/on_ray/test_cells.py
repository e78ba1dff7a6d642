"""Cells on a Ray cluster: the bits of cells trained here, a killed worker and all, and one run each."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from threading import Thread
from typing import TYPE_CHECKING

import grids
import psutil
import pytest
from mlflow.tracking import MlflowClient

from mobilebench.config.suite import Cell
from mobilebench.execution.context import open_context
from mobilebench.execution.executors.ray_cluster import RayExecutor
from mobilebench.execution.grid import run_cells
from mobilebench.execution.tuned_cell import cell_run
from mobilebench.runs.attempts import Attempt, SupersededError, issue
from mobilebench.runs.events import Epoch, Finish, Resume
from mobilebench.runs.journal import Journal, epochs_done
from mobilebench.tracking import OfflineTracker, Tracker, uri

if TYPE_CHECKING:
    from pathlib import Path

    from ray.cluster_utils import Cluster


pytestmark = pytest.mark.ray
pytest.importorskip("ray", reason="the extra `ray` is not installed")
EPOCHS = 7
EVERY = list(range(1, EPOCHS + 1))


def _kill_once(name: str, journal: Journal, killed: list[int]) -> None:
    """Kill the worker of a cell as soon as its journal has an epoch, far from its end."""
    while not (workers := _workers(name)):
        time.sleep(0.1)
    while not epochs_done(journal):
        time.sleep(0.005)
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    killed.extend(workers)


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
    context = open_context(suite, "blobs", Tracker())
    cell, killed = Cell("starnet", "blobs", 0), list[int]()
    killer = Thread(target=_kill_once, args=(cell.name, context.journal(cell), killed), daemon=True)
    executor = RayExecutor(cluster.address, project, note=lambda _: None)
    executor.open()
    try:
        killer.start()
        assert run_cells(context, suite.cells(), executor) == []
        assert run_cells(context, suite.cells(), executor) == []  # nothing is left
    finally:
        executor.close()
    assert len(killed) == 1
    for each in suite.cells():
        here, there = (Journal(folder / context.journal(each).folder) for folder in (other, project))
        assert _without_times(here) == _without_times(there)
        assert _predictions(here) == _predictions(there)

    client = MlflowClient(uri())
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = {run.data.params["model"]: run for run in client.search_runs([experiment.experiment_id])}
    assert len(runs) == 2
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    carried_on = runs["starnet"]
    points = client.get_metric_history(carried_on.info.run_id, "test_top1")
    assert [point.step for point in points] == EVERY
    assert carried_on.data.tags["attempts"] == "2"
    assert "; before it: its worker process died" in carried_on.data.tags["attempt.2"]
    assert carried_on.data.tags["threads"] == "1"
    assert "attempts" not in runs["shufflenet"].data.tags

    journal = context.journal(cell)
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
