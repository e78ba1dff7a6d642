"""Cells side by side: the same results as one after the other, and a dying worker takes only its own cell."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import grids
import pytest
import torch

from mobilebench.config.runtime import cores
from mobilebench.config.suite import Cell
from mobilebench.execution.cell_run import run_cells
from mobilebench.execution.context import Silent, open_bench
from mobilebench.runs.records import read_results
from mobilebench.system.layout import RESULTS
from mobilebench.tracking import Tracker

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.execution.context import Bench
    from mobilebench.training import EpochResult


@pytest.fixture
def bench(store: Path, project: Path) -> Bench:
    suite = grids.write(project)
    suite = replace(suite, runtime=replace(suite.runtime, cells_per_device=2))
    return open_bench(suite, "blobs", Tracker())


class Killer(Silent):
    """Kills the worker of a model as soon as it has told of an epoch."""

    def __init__(self, model: str) -> None:
        self.model = model

    def epoch(self, cell: Cell, result: EpochResult, epochs: int) -> None:
        if cell.model == self.model and result.epoch == 1:
            import multiprocessing

            (victim,) = (p for p in multiprocessing.active_children() if p.name == cell.name)
            victim.kill()
            victim.join()


def test_side_by_side_gives_the_results_of_one_after_the_other(bench: Bench, project: Path) -> None:
    assert run_cells(bench, bench.suite.cells()) == []
    together = {record.cell: record for record in read_results(RESULTS)}
    assert set(together) == set(bench.suite.cells())
    assert bench.tracker is not None
    curves = bench.tracker.curves(together[Cell("starnet", "blobs", 0)].run_id, ["test_top1"])["test_top1"]
    assert [epoch for epoch, _ in curves] == [1, 2]

    alone = open_bench(replace(bench.suite, runtime=replace(bench.suite.runtime, cells_per_device=1)), "blobs", None)
    alone = replace(alone, tracker=Tracker(f"sqlite:///{project}/other.db"), results=project / "r", state=project / "s")
    assert run_cells(alone, alone.suite.cells()) == []
    for record in read_results(project / "r"):
        assert record.test_loss == together[record.cell].test_loss


def test_a_dying_worker_fails_its_cell_and_no_other_and_the_next_call_goes_on(bench: Bench) -> None:
    failed = run_cells(replace(bench, listener=Killer("starnet")), bench.suite.cells())
    assert [cell.model for cell, _ in failed] == ["starnet"]
    assert "SIGKILL" in str(failed[0][1])
    assert bench.tracker is not None
    assert {r.model: r.status for r in bench.tracker.records("tiny")} == {"starnet": "FAILED", "shufflenet": "FINISHED"}
    assert run_cells(bench, bench.suite.cells()) == []
    assert len(bench.tracker.records("tiny")) == 2


def test_a_cell_left_alone_keeps_its_share_of_the_threads(bench: Bench) -> None:
    before = torch.get_num_threads()
    shared = replace(bench.suite.runtime, threads=None, cells_per_device=2)
    assert run_cells(replace(bench, suite=replace(bench.suite, runtime=shared)), list(bench.suite.cells())[:1]) == []
    used = torch.get_num_threads()
    torch.set_num_threads(before)
    assert used == max(1, cores() // 2)
    assert replace(shared, cells_per_device=1).cell_threads() is None
    assert replace(shared, threads=3).cell_threads() == 3


@pytest.mark.usefixtures("heard_ctrl_c")
def test_stopping_stops_the_workers_and_keeps_their_epochs(bench: Bench, project: Path) -> None:
    suite = grids.write(project, epochs=200)
    endless = open_bench(replace(suite, runtime=replace(suite.runtime, cells_per_device=2)), "blobs", bench.tracker)

    pressed: list[threading.Thread] = []

    def press() -> None:
        time.sleep(0.1)
        for process in [*(worker.pid for worker in multiprocessing.active_children()), os.getpid()]:
            os.kill(process or 0, signal.SIGINT)  # a terminal's Ctrl-C goes to all of them

    class Stop(Silent):
        def epoch(self, cell: Cell, result: EpochResult, epochs: int) -> None:
            if result.epoch == 2 and not pressed:
                pressed.append(threading.Thread(target=press))
                pressed[0].start()

    with pytest.raises(KeyboardInterrupt):
        run_cells(replace(endless, listener=Stop()), endless.suite.cells())
    assert bench.tracker is not None
    assert "KILLED" in {record.status for record in bench.tracker.records("tiny")}
    assert any(len(endless.journal(cell).events()) > 2 for cell in endless.suite.cells())
