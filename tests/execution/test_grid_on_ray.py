"""Cells on a Ray cluster: the bits of cells trained here, a killed worker and all, and one run each."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import grids
import psutil
import pytest
from mlflow.tracking import MlflowClient

from mobilebench.config.suite import Cell
from mobilebench.execution.context import open_context
from mobilebench.execution.executors.ray_cluster import RayExecutor
from mobilebench.execution.grid import run_cells
from mobilebench.execution.progress import NullListener
from mobilebench.runs.events import Epoch, Resume
from mobilebench.runs.records import read_results
from mobilebench.system.layout import RESULTS
from mobilebench.tracking import Tracker, uri

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ray.cluster_utils import Cluster

    from mobilebench.training import EpochResult

pytestmark = pytest.mark.ray
pytest.importorskip("ray", reason="the extra `ray` is not installed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    from ray.cluster_utils import Cluster

    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": 80 << 20},
    )
    made.add_node(num_cpus=2, object_store_memory=80 << 20)
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
    cluster: Cluster, store: Path, project: Path, trained_folder: Path
) -> None:
    suite = grids.write(project)
    killer = Killer("starnet")
    context = replace(open_context(suite, "blobs", Tracker()), listener=killer)
    executor = RayExecutor(cluster.address, project, note=lambda _: None)
    executor.open()
    try:
        assert run_cells(context, context.suite.cells(), executor) == []
        assert run_cells(context, context.suite.cells(), executor) == []  # nothing is left
    finally:
        executor.close()
    assert len(killer.killed) == 1
    there = {record.cell: record for record in read_results(RESULTS)}
    for record in read_results(trained_folder / RESULTS):
        assert record.metrics == there[record.cell].metrics
        assert record.predictions == there[record.cell].predictions

    client = MlflowClient(uri())
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = {run.data.params["model"]: run for run in client.search_runs([experiment.experiment_id])}
    assert len(runs) == 2
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    killed = runs["starnet"]
    points = client.get_metric_history(killed.info.run_id, "test_top1")
    assert [point.step for point in points] == [1, 2]
    assert killed.data.tags["attempts"] == "2"
    assert "after epoch 1; before it: its worker process died" in killed.data.tags["attempt.2"]
    assert killed.data.tags["threads"] == "1"
    assert "attempts" not in runs["shufflenet"].data.tags

    journal = context.journal(Cell("starnet", "blobs", 0))
    assert [event.step for event in journal.events() if isinstance(event, Epoch)] == [1, 2]
    assert len([event for event in journal.events() if isinstance(event, Resume)]) == 1
