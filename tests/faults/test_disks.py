"""Disks that are full, read-only or limited: the kernel itself refuses here wherever it can be made to."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from mobilebench import cli
from mobilebench.config.suite import Cell
from mobilebench.execution import cell_run
from mobilebench.execution.cell_run import CellRun
from mobilebench.execution.grid import run_cells
from mobilebench.runs.journal import Journal
from mobilebench.runs.records import read_results
from mobilebench.system.disk import StorageError
from mobilebench.system.layout import RESULTS, STATE

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

    from mobilebench.execution.context import RunContext

FULL, REFUSED = Path("/dev/full"), Path("/sys")
SHUFFLENET, STARNET = Cell("shufflenet", "blobs", 0), Cell("starnet", "blobs", 0)


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def states(context: RunContext) -> dict[str, str]:
    return {record.model: record.status for record in context.tracker.records("tiny")}


def test_a_checkpoint_that_cannot_be_written_fails_its_cell_only(
    context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = CellRun._keep

    def limited(run: CellRun, *rest: object) -> object:
        with files_up_to(8 << 20 if run.cell == SHUFFLENET else resource.RLIM_INFINITY):  # a checkpoint takes 26 MB
            return real(run, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(CellRun, "_keep", limited)
        answer = CliRunner().invoke(cli.main, ["train", "blobs"])
    assert answer.exit_code == 1
    assert "1 of 2 cells are not finished: shufflenet.blobs.0" in answer.output
    assert states(context) == {"shufflenet": "FAILED", "starnet": "FINISHED"}
    status = CliRunner().invoke(cli.main, ["status"]).output
    assert "failed 0/2" in status
    assert "File too large" in status
    assert not list(context.journal(SHUFFLENET).folder.glob("*.partial"))
    assert CliRunner().invoke(cli.main, ["train", "blobs"]).exit_code == 0
    assert states(context) == {"shufflenet": "FINISHED", "starnet": "FINISHED"}


def test_a_journal_on_a_full_disk_says_so_and_goes_on_when_there_is_space(
    context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("mobilebench.runs.journal.os.fsync", full)
        failed = run_cells(context, [SHUFFLENET])
    ((_, error),) = failed
    assert isinstance(error, StorageError)
    assert "No space left on device. To go on, free some space" in str(error)
    assert run_cells(context, [SHUFFLENET]) == []
    assert states(context) == {"shufflenet": "FINISHED"}


def test_a_result_file_that_cannot_be_written_is_written_later(
    context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def full(path: Any, *rest: Any, **options: Any) -> int:
        refused = Path(path).name.startswith(".shufflenet.blobs.0.json")
        return real(FULL, os.O_WRONLY) if refused else real(path, *rest, **options)

    with monkeypatch.context() as patched:
        patched.setattr("mobilebench.system.files.os.open", full)
        ((cell, error),) = run_cells(context, context.suite.cells())
    assert cell == SHUFFLENET
    assert "No space left on device" in str(error)
    assert [record.model for record in read_results(RESULTS)] == ["starnet"]
    assert "to take over" in CliRunner().invoke(cli.main, ["status"]).output
    assert CliRunner().invoke(cli.main, ["sync"]).exit_code == 0
    assert len(read_results(RESULTS)) == 2
    assert states(context) == {"shufflenet": "FINISHED", "starnet": "FINISHED"}


@pytest.mark.skipif(not REFUSED.is_dir(), reason="no /sys here")
@pytest.mark.parametrize(("place", "code"), [(RESULTS, 2), (STATE.parent, 1)])  # refused at once; its cell fails
def test_a_place_nobody_may_write_to_is_named(context: RunContext, place: Path, code: int) -> None:
    shutil.rmtree(place, ignore_errors=True)
    place.symlink_to(REFUSED)
    assert CliRunner().invoke(cli.main, ["status"]).exit_code == 0  # what it keeps for speed alone it can do without
    answer = CliRunner().invoke(cli.main, ["train", "blobs", "--model", "starnet"])
    assert answer.exit_code == code
    assert f"cannot write {place}" in answer.output
    place.unlink()
    assert CliRunner().invoke(cli.main, ["train", "blobs", "--model", "starnet"]).exit_code == 0
    assert states(context) == {"starnet": "FINISHED"}


def test_the_end_of_a_run_that_cannot_be_kept_is_no_traceback(
    context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> torch.nn.Module:
        shutil.rmtree(context.journal(SHUFFLENET).artifacts)
        context.journal(SHUFFLENET).artifacts.symlink_to(REFUSED / "nowhere")
        raise RuntimeError("a shape does not fit")

    monkeypatch.setattr(cell_run, "build", broken)
    ((_, error),) = run_cells(context, [SHUFFLENET])
    assert "a shape does not fit" in str(error)


def test_a_clock_that_jumps_back_orders_nothing_anew(context: RunContext, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([2_000_000_000.0, 1_000_000_000.0, 1.0] + [1_500_000_000.0 + n for n in range(1000)])
    monkeypatch.setattr("mobilebench.runs.journal.time.time", lambda: next(times))
    assert run_cells(context, [SHUFFLENET]) == []
    (path,) = STATE.glob("*/journal.jsonl")
    moments = [event.time for event in Journal(path.parent).events()]
    assert moments == sorted(moments)
    (record,) = read_results(RESULTS)
    assert record.train_seconds is not None
    assert 0 < record.train_seconds < 300
    assert [epoch for epoch, _ in context.tracker.curves(record.run_id, ["lr"])["lr"]] == [1, 2]
