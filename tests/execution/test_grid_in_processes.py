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

from mobilebench.config.runtime import Runtime
from mobilebench.config.suite import Cell
from mobilebench.errors import UserError
from mobilebench.execution import grid
from mobilebench.execution.context import open_context
from mobilebench.execution.executors.base import Outcome, WorkerDiedError
from mobilebench.execution.grid import run_cells
from mobilebench.execution.progress import NullListener
from mobilebench.execution.suites import open_suite
from mobilebench.runs.records import read_results, result_path
from mobilebench.system.cpu import cores
from mobilebench.system.layout import RESULTS
from mobilebench.tracking import Tracker
from mobilebench.training.device import devices_of, take_share

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from typing import Any

    from mobilebench.config.suite import Suite
    from mobilebench.execution.context import RunContext
    from mobilebench.execution.executors.base import Job
    from mobilebench.execution.grid import CellJob
    from mobilebench.training import EpochResult


@pytest.fixture
def context(store: Path, project: Path) -> RunContext:
    return _two_at_a_time(grids.write(project))


def _two_at_a_time(suite: Suite) -> RunContext:
    return open_context(replace(suite, runtime=replace(suite.runtime, cells_per_device=2)), "blobs", Tracker())


class Killer(NullListener):
    """Kills the worker of a model as soon as it has told of an epoch."""

    def __init__(self, model: str) -> None:
        self.model = model

    def epoch(self, cell: Cell, result: EpochResult, epochs: int) -> None:
        if cell.model == self.model and result.epoch == 1:
            import multiprocessing

            (victim,) = (p for p in multiprocessing.active_children() if p.name == cell.name)
            victim.kill()
            victim.join()


def test_side_by_side_gives_the_results_of_one_after_the_other(context: RunContext, trained_folder: Path) -> None:
    assert run_cells(context, context.suite.cells()) == []
    together = {record.cell: record for record in read_results(RESULTS)}
    assert set(together) == set(context.suite.cells())
    curves = context.tracker.curves(together[Cell("starnet", "blobs", 0)].run_id, ["test_top1"])["test_top1"]
    assert [epoch for epoch, _ in curves] == [1, 2]

    alone = read_results(trained_folder / RESULTS)
    assert len(alone) == 2
    for record in alone:
        assert record.metrics == together[record.cell].metrics


def test_cells_that_are_taken_over_at_the_end_are_not_waited_for(trained: Path) -> None:
    context = _two_at_a_time(open_suite())
    for record in (before := read_results(RESULTS)):
        result_path(RESULTS, record.cell).unlink()
    assert run_cells(context, context.suite.cells()) == []
    assert read_results(RESULTS) == before


def test_a_dying_worker_fails_its_cell_and_no_other_and_the_next_call_goes_on(context: RunContext) -> None:
    failed = run_cells(replace(context, listener=Killer("starnet")), context.suite.cells())
    assert [cell.model for cell, _ in failed] == ["starnet"]
    assert "SIGKILL" in str(failed[0][1])
    assert {r.model: r.status for r in context.tracker.records("tiny")} == {
        "starnet": "FAILED",
        "shufflenet": "FINISHED",
    }
    assert run_cells(context, context.suite.cells()) == []
    assert len(context.tracker.records("tiny")) == 2


class StillBorn:
    """An executor whose workers die before they have begun a run."""

    remote = False

    def run(self, jobs: Iterable[Job[Any]], on_message: object) -> Iterator[Outcome[Any]]:
        for job in jobs:
            yield Outcome(job, error=WorkerDiedError(f"{job.name} was ended by SIGKILL"))


def test_a_worker_that_dies_before_its_run_began_leaves_a_cell_that_can_begin(context: RunContext) -> None:
    cells = list(context.suite.cells())
    failed = run_cells(context, cells, StillBorn())
    assert {str(error) for _, error in failed} == {f"{c.name} failed: {c.name} was ended by SIGKILL" for c in cells}
    assert not any(context.journal(cell).events() for cell in cells)
    assert run_cells(context, cells) == []
    assert {record.status for record in context.tracker.records("tiny")} == {"FINISHED"}


def test_a_cell_left_alone_keeps_its_share_of_the_threads(context: RunContext) -> None:
    before = torch.get_num_threads()
    shared = replace(context.suite.runtime, threads=None, cells_per_device=2)
    assert (
        run_cells(replace(context, suite=replace(context.suite, runtime=shared)), list(context.suite.cells())[:1]) == []
    )
    used = torch.get_num_threads()
    torch.set_num_threads(before)
    assert used == max(1, cores() // 2)
    assert replace(shared, cells_per_device=1).cell_threads() is None
    assert replace(shared, threads=3).cell_threads() == 3


@pytest.mark.usefixtures("ctrl_c_raises")
def test_stopping_stops_the_workers_and_keeps_their_epochs(context: RunContext, project: Path) -> None:
    suite = grids.write(project, epochs=200)
    endless = open_context(replace(suite, runtime=replace(suite.runtime, cells_per_device=2)), "blobs", context.tracker)

    pressed: list[threading.Thread] = []

    def press() -> None:
        time.sleep(0.1)
        for process in [*(worker.pid for worker in multiprocessing.active_children()), os.getpid()]:
            os.kill(process or 0, signal.SIGINT)  # a terminal's Ctrl-C goes to all of them

    class Stop(NullListener):
        def epoch(self, cell: Cell, result: EpochResult, epochs: int) -> None:
            if result.epoch == 2 and not pressed:
                pressed.append(threading.Thread(target=press))
                pressed[0].start()

    with pytest.raises(KeyboardInterrupt):
        run_cells(replace(endless, listener=Stop()), endless.suite.cells())
    assert "KILLED" in {record.status for record in context.tracker.records("tiny")}
    assert any(len(endless.journal(cell).events()) > 2 for cell in endless.suite.cells())


class Shared:
    """Stands in for processes: two at a time, the second of the first two ends first; no job is carried out."""

    def __init__(self) -> None:
        self.devices: list[str] = []
        self.workers = 0

    def __call__(self, workers: int) -> Shared:
        self.workers = workers
        return self

    def run(self, jobs: Iterator[CellJob], _: object) -> Iterator[Outcome[None]]:
        first, second = next(jobs), next(jobs)
        self.devices += [job.suite.runtime.device for job in (first, second)]
        yield Outcome(second, error=UserError("ended"))
        third = next(jobs)
        self.devices.append(third.suite.runtime.device)
        assert third.suite.protocol == first.suite.protocol
        for job in (first, third):
            yield Outcome(job, error=UserError("ended"))
        assert next(jobs, None) is None


def test_cells_are_shared_out_to_all_cards(context: RunContext, monkeypatch: pytest.MonkeyPatch) -> None:
    cards = Shared()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(grid, "make_executor", cards)
    suite = replace(
        context.suite, seeds=(0, 1), models=("shufflenet", "starnet"),
        runtime=replace(context.suite.runtime, device="auto", cells_per_device=None),
    )  # fmt: skip
    cells = list(suite.cells())[:3]
    failed = run_cells(replace(context, suite=suite), cells)
    assert len(failed) == 3
    assert cards.workers == 2
    assert cards.devices == ["cuda:0", "cuda:1", "cuda:1"]  # the third goes where a card is free
    assert devices_of("cuda:1") == ["cuda:1"]
    assert devices_of("cpu") == ["cpu"]
    assert suite.runtime.workers(9, 2) == 2
    assert replace(suite.runtime, cells_per_device=3).workers(9, 2) == 6


def test_a_process_that_shares_a_card_keeps_to_its_part(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[tuple[float, int | None]] = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *said: taken.append(said))
    for device, sharers in (("cuda", 4), ("cuda", None), ("cuda:1", 1), ("cuda:1", 2), ("cpu", 4)):
        take_share(Runtime(device=device, cells_per_device=sharers))
    assert taken == [(0.25, None), (0.5, 1)]
