"""What training shows: a line for each epoch in a log, one line of a terminal."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from rich.console import Console

from mobilebench.cli import console as module
from mobilebench.cli.console import GridProgress, grid_progress
from mobilebench.config.suite import Cell
from mobilebench.training import EpochResult

if TYPE_CHECKING:
    import pytest

A, B = Cell("starnet", "blobs", 0), Cell("shufflenet", "blobs", 0)


def epoch(number: int) -> EpochResult:
    return EpochResult(number, 0.5, 0.001, 10.0, 1234.0, {}, {"loss": 0.4, "top1": 0.75})


def shown(monkeypatch: pytest.MonkeyPatch, *, terminal: bool, width: int = 80) -> io.StringIO:
    file = io.StringIO()
    monkeypatch.setattr(module, "console", Console(file=file, force_terminal=terminal, width=width, highlight=False))
    return file


def test_a_reader_that_goes_away_ends_no_work_and_makes_no_noise() -> None:
    """As `head` does after its lines."""
    read, write = os.pipe()
    os.close(read)
    code = """
import sys
from mobilebench.cli.console import console, plain_table
for line in range(3):
    console.print(plain_table("model", title="models"))
    console.print(line)
print("written", file=sys.stderr)
"""
    ended = subprocess.run([sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (0, "written\n")


def test_a_log_has_a_line_for_each_epoch_with_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    file = shown(monkeypatch, terminal=False)
    seconds = iter([0.0, 60.0, 180.0, 180.0, 240.0])
    with grid_progress({}) as made:
        progress = GridProgress(made._progress, {A: 2, B: 4}, lambda: next(seconds))
        for cell, number, epochs in ((A, 1, 2), (A, 2, 2), (B, 3, 4), (B, 4, 4)):  # B goes on after its second epoch
            progress.epoch(cell, epoch(number), epochs)
    rest = "test top-1 75.00 %  loss 0.500  1,234 images/s"
    assert file.getvalue().splitlines() == [
        f"starnet.blobs.0  epoch 1/2  {rest}  0:05:00 left",  # five of six epochs, 60 s each
        f"starnet.blobs.0  epoch 2/2  {rest}  0:06:00 left",  # four, 90 s each
        f"shufflenet.blobs.0  epoch 3/4  {rest}  0:01:00 left",  # one: two had been done before
        f"shufflenet.blobs.0  epoch 4/4  {rest}  done",
    ]


def test_a_terminal_of_80_columns_has_one_line_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    file = shown(monkeypatch, terminal=True)
    with grid_progress({A: 100}) as progress:
        progress.epoch(A, epoch(1), 100)
        (task,) = progress._progress.tasks
        assert (task.completed, task.total) == (1, 100)
        lines = progress._progress.console.render_lines(progress._progress.get_renderable())
        (line,) = ("".join(part.text for part in row) for row in lines)
    assert len(line) == 80
    assert "1/100 epochs" in line
    assert "starnet.blobs.0 1/100" in line
    assert "1,234 images/s" not in line  # a wider one has it
    assert "epoch 1/100" not in file.getvalue()


def test_the_trials_of_a_tuned_cell_count_as_so_many_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    file = shown(monkeypatch, terminal=False)
    seconds = iter([0.0, 60.0, 120.0, 180.0, 240.0])
    with grid_progress({}) as made:
        progress = GridProgress(made._progress, {A: 6, B: 1}, lambda: next(seconds))
        progress.trials_planned(A, {2: 1, 3: 2})  # the first of three has ended before, the second has an epoch left
        progress.trial_epoch(A, 3, epoch(1), 2)
        progress.trial_epoch(A, 2, epoch(2), 2)
        progress.trial_ended(A, 2, "lr=0.1: the loss became nan")
        progress.trial_ended(A, 3, "lr=0.2: patience is at its end")
        progress.epoch(B, epoch(1), 1)
    lines = file.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "starnet.blobs.0 trial 3",
        "starnet.blobs.0 trial 2",
        "starnet.blobs.0 trial 2: lr=0.1: the loss became nan",
        "starnet.blobs.0 trial 3: lr=0.2: patience is at its end",
        "shufflenet.blobs.0",
    ]
    assert [lines[place].rsplit("  ")[-1] for place in (0, 1, 4)] == [
        "0:03:00 left",
        "0:02:00 left",
        "done",
    ]
