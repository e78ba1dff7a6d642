"""Files that were cut, changed or made by someone else: named, worked around or refused, and no code of theirs runs."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from click.testing import CliRunner

from mobilebench import cli
from mobilebench.config.suite import Cell
from mobilebench.datasets.spec import DataError
from mobilebench.execution.cell_run import CellRun
from mobilebench.execution.context import open_context
from mobilebench.execution.exported import read_safetensors
from mobilebench.execution.grid import run_cells
from mobilebench.execution.progress import NullListener
from mobilebench.execution.suites import open_suite
from mobilebench.runs.journal import CellBusyError
from mobilebench.runs.records import read_results, result_path
from mobilebench.system.layout import PACKED, RESULTS
from mobilebench.system.signals import deferred_signals, termination_as_interrupt
from mobilebench.tracking import OfflineTracker, Tracker, TrackingError
from mobilebench.training import checkpoint

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.execution.context import RunContext
    from mobilebench.training import EpochResult

SHUFFLENET, STARNET = Cell("shufflenet", "blobs", 0), Cell("starnet", "blobs", 0)


def newest(context: RunContext) -> Path:
    """Return the newest checkpoint of the stopped cell."""
    return context.journal(SHUFFLENET).folder / "checkpoint.pt"


def weights(context: RunContext) -> dict[str, torch.Tensor]:
    state = read_safetensors(context.journal(SHUFFLENET).artifacts / "model.safetensors")
    assert state is not None
    return state


def test_a_damaged_checkpoint_falls_back_to_the_one_before(stopped: RunContext) -> None:
    path = newest(stopped)
    path.write_bytes(path.read_bytes()[:1000])
    assert run_cells(stopped, [SHUFFLENET]) == []
    resumed = weights(stopped)
    (record,) = read_results(RESULTS)
    assert [epoch for epoch, _ in stopped.tracker.curves(record.run_id, ["lr"])["lr"]] == [1, 2]
    CellRun(stopped, SHUFFLENET).reset()
    assert run_cells(stopped, [SHUFFLENET]) == []
    whole = weights(stopped)
    assert all(torch.equal(resumed[key], whole[key]) for key in whole)


def test_two_damaged_checkpoints_fail_the_cell_and_status_says_which_files(stopped: RunContext) -> None:
    for path in (newest(stopped), checkpoint.previous(newest(stopped))):
        path.write_bytes(b"no checkpoint")
    answer = CliRunner().invoke(cli.main, ["train", "blobs"])
    assert answer.exit_code == 1
    assert [record.model for record in read_results(RESULTS)] == ["starnet"]
    status = CliRunner().invoke(cli.main, ["status"]).output
    assert "no checkpoint can be read" in status
    assert "checkpoint.pt.previous" in status
    assert CliRunner().invoke(cli.main, ["train", "blobs", "--model", "shufflenet", "--redo"]).exit_code == 0


def test_a_checkpoint_cannot_run_code(stopped: RunContext, project: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(project / "trapped"),)

    for path in (newest(stopped), checkpoint.previous(newest(stopped))):
        torch.save({"model": Trap()}, path)
    ((_, error),) = run_cells(stopped, [SHUFFLENET])
    assert "no checkpoint can be read" in str(error)
    assert not (project / "trapped").exists()


def test_one_changed_pixel_stops_training_before_it_begins(context: RunContext) -> None:
    images = PACKED / "blobs/images.npy"
    content = bytearray(images.read_bytes())
    content[-1] ^= 1
    images.write_bytes(content)
    with pytest.raises(DataError, match="1 of 64 images do not match"):
        open_context(context.suite, "blobs", OfflineTracker())
    answer = CliRunner().invoke(cli.main, ["train", "blobs", "--offline"])
    assert answer.exit_code == 2
    assert "images.npy is damaged" in answer.output


def test_changed_labels_are_refused_and_shown_by_status(context: RunContext) -> None:
    labels = PACKED / "blobs/labels.npy"
    content = bytearray(labels.read_bytes())
    content[-8] ^= 1
    labels.write_bytes(content)
    assert CliRunner().invoke(cli.main, ["train", "blobs", "--offline"]).exit_code == 2
    status = CliRunner().invoke(cli.main, ["status"])
    assert status.exit_code == 0
    assert "do not match the digest" in status.output


def test_a_damaged_result_file_is_written_again_without_training(trained: Path) -> None:
    context = open_context(open_suite(), "blobs", Tracker())
    path = result_path(RESULTS, SHUFFLENET)
    whole = path.read_text()
    path.write_text(whole[:40])
    assert "is damaged" in CliRunner().invoke(cli.main, ["status"]).output
    assert run_cells(context, context.suite.cells()) == []
    assert path.read_text() == whole


def test_a_damaged_journal_is_its_own_cells_trouble(stopped: RunContext) -> None:
    stopped.journal(SHUFFLENET).path.write_bytes(b"\0\0\0\n")
    ((cell, error),) = run_cells(stopped, stopped.suite.cells())
    assert cell == SHUFFLENET
    assert "journal.jsonl is damaged" in str(error)
    status = CliRunner().invoke(cli.main, ["status"]).output
    assert "journal.jsonl is damaged" in status
    assert "1 of 2 cells are finished" in status
    sync = CliRunner().invoke(cli.main, ["sync"])
    assert sync.exit_code == 1
    assert "journal.jsonl is damaged" in sync.output


HOLD = """
import pathlib, sys
from mobilebench.runs.journal import Journal
with Journal(pathlib.Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_cell_another_worker_has_is_left_to_it_and_others_go_on(context: RunContext) -> None:
    command = [sys.executable, "-c", HOLD, str(context.journal(SHUFFLENET).folder.absolute())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "held\n"
        ((cell, error),) = run_cells(context, context.suite.cells())
        worker.communicate("")
    assert cell == SHUFFLENET
    assert isinstance(error, CellBusyError)
    assert f"process {worker.pid} on " in str(error)
    assert [record.model for record in read_results(RESULTS)] == ["starnet"]


def test_a_store_that_breaks_in_the_middle_is_told_everything_once_it_is_mended(
    context: RunContext, small: Path, empty_store: Path
) -> None:
    class Break(NullListener):
        def epoch(self, cell: Cell, result: EpochResult, epochs: int) -> None:
            if result.epoch == 1:
                with sqlite3.connect(small / "mlflow.db") as connection:
                    connection.execute("DROP TABLE metrics")

    ((_, error),) = run_cells(replace(context, listener=Break()), [SHUFFLENET])
    assert isinstance(error, TrackingError)
    assert "undelivered" in CliRunner().invoke(cli.main, ["status"]).output
    shutil.copy(empty_store, small / "mlflow.db")
    mended = Tracker(f"sqlite:////{small}/mlflow.db")  # another spelling: MLflow keeps the broken store's connections
    assert run_cells(replace(context, tracker=mended), [SHUFFLENET]) == []
    (record,) = read_results(RESULTS)
    assert [epoch for epoch, _ in mended.curves(record.run_id, ["lr"])["lr"]] == [1, 2]


def test_a_store_that_cannot_be_made_is_named(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////sys/mlflow.db")
    answer = CliRunner().invoke(cli.main, ["train", "blobs"])
    assert answer.exit_code == 2
    assert "cannot open the tracking store sqlite:////sys/mlflow.db" in answer.output


@pytest.mark.usefixtures("ctrl_c_raises")
def test_ctrl_c_lets_a_write_end() -> None:
    done = []

    def write() -> None:
        with deferred_signals():
            signal.raise_signal(signal.SIGINT)
            done.append("the write")

    with pytest.raises(KeyboardInterrupt):
        write()
    assert done == ["the write"]


def test_a_termination_is_kept_where_an_ignored_ctrl_c_came_before_it() -> None:
    """As in a worker: a terminal sends Ctrl-C to all processes, and the parent passes it on as a termination."""

    def write() -> None:
        with termination_as_interrupt(), deferred_signals():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt):
            write()
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_termination_ends_like_ctrl_c(context: RunContext, monkeypatch: pytest.MonkeyPatch) -> None:
    def terminated(*_: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("mobilebench.cli.console.GridProgress.epoch", terminated)
    answer = CliRunner().invoke(cli.main, ["train", "blobs"])
    assert answer.exit_code == 130
    assert "goes on after the last finished epoch" in answer.output
    assert "interrupted 1/2" in CliRunner().invoke(cli.main, ["status"]).output
    with pytest.raises(KeyboardInterrupt), termination_as_interrupt():
        signal.raise_signal(signal.SIGTERM)
