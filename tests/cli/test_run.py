"""`mobilebench run`: several datasets in one call, as several calls of `train`; a look ahead; an end at a set time."""

from __future__ import annotations

import json
import re
import shutil
import threading
import time
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grids
import pytest
from click.testing import CliRunner, Result

from mobilebench.cli import main
from mobilebench.cli.console import GridProgress
from mobilebench.config.suite import load_suite
from mobilebench.execution import grid
from mobilebench.runs.events import Epoch, Interrupt
from mobilebench.runs.journal import Journal
from mobilebench.runs.records import Record, read_results
from mobilebench.system import until
from mobilebench.system.layout import RESULTS, STATE

if TYPE_CHECKING:
    from collections.abc import Callable

    from mobilebench.config.suite import Cell
    from mobilebench.training import EpochResult


def call(*words: str, code: int = 0) -> str:
    result: Result = CliRunner().invoke(main, list(words))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def tree(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Return every file below a folder with its time and content, and every folder with its time."""
    return {path: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"") for path in folder.rglob("*")}


@pytest.fixture(scope="session")
def two_datasets(made_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """The grid of tests/grids.py with a second dataset, untrained."""

    def make(folder: Path) -> None:
        grids.write(folder, per_class=4)
        grids.add_dataset(folder, "spots")

    return made_once("two-datasets", make)


@pytest.fixture
def two(two_datasets: Path, project: Path) -> Path:
    shutil.copytree(two_datasets, project, dirs_exist_ok=True)
    return project


def timeless(record: Record) -> Record:
    return replace(record, run_id="", train_seconds=None, end_time=None)


def test_two_datasets_in_one_call_end_as_with_two_calls(two: Path, empty_store: Path) -> None:
    shutil.copy(empty_store, two / "mlflow.db")
    said = call("run")
    assert "blobs: 2 of 2 cells to train, 0 finished" in said
    assert "spots: 2 of 2 cells to train, 0 finished" in said
    begun = [line.split()[0] for line in said.splitlines() if "epoch 1/2" in line]
    assert [name.split(".")[0] for name in begun] == ["starnet", "starnet", "shufflenet", "shufflenet"]  # most MACs
    together = {record.cell: timeless(record) for record in read_results(RESULTS)}
    assert len(together) == 4
    found = json.loads(call("run", "--json"))
    assert (found["finished_before"], found["cells"], found["stopped"]) == (4, [], False)

    for path in (STATE, RESULTS, Path("mlartifacts")):
        shutil.rmtree(path)
    shutil.copy(empty_store, two / "mlflow.db")
    for dataset in ("blobs", "spots"):
        call("train", dataset)
    assert {record.cell: timeless(record) for record in read_results(RESULTS)} == together


def test_a_dry_run_leaves_the_folder_as_it_was(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://nobody.invalid")  # no server is asked

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(GridProgress, "epoch", stop)
        said = call("run", "blobs", "--offline", "--on", "serial", "--seed", "0", code=130)
    assert (
        "Stopped. `mobilebench run blobs --seed 0 --on serial --offline` goes on after the last finished epoch." in said
    )
    shutil.rmtree(two / ".mobilebench/networks")  # what a command that looks would write again
    before = tree(two)
    said = call("run", "--dry-run")
    found = json.loads(call("run", "--dry-run", "--json"))
    assert tree(two) == before
    assert found["at_once"] == 1
    assert [(row["dataset"], row["to_train"], row["finished"]) for row in found["datasets"]] == [
        ("blobs", 2, 0),
        ("spots", 2, 0),
    ]
    packed = sum(path.stat().st_size for name in ("blobs", "spots") for path in (two / "data/packed" / name).iterdir())
    assert found["bytes_to_move"] == packed
    left = {(row["model"], row["dataset"]): row["epochs_left"] for row in found["cells"]}
    assert left == {
        ("starnet", "blobs"): 1, ("starnet", "spots"): 2, ("shufflenet", "blobs"): 2, ("shufflenet", "spots"): 2,
    }  # fmt: skip
    assert found["cells_without_estimate"] == 4
    assert "How long 4 cells will take is not known yet." in said
    assert "starnet.spots.0" in said.split("The first 4 of 4:")[1].splitlines()[3]


def test_the_hours_of_a_dry_run_are_those_of_status(trained: Path) -> None:
    params = trained / "params.yaml"
    params.write_text(params.read_text().replace("seeds: [0]", "seeds: [0, 1]"))
    seconds = {record.model: record.train_seconds for record in read_results(RESULTS)}
    found: dict[str, Any] = json.loads(call("run", "--dry-run", "--json"))
    assert {row["model"]: row["seconds"] for row in found["cells"]} == pytest.approx(seconds)
    assert json.loads(call("status", "--json"))["seconds_left"] == pytest.approx(found["seconds_left"])
    said = call("run", "--dry-run", "--model", "starnet")
    assert "1 cell to train: about 0:00:0" in said
    assert "1 cell by finished runs of the same model on the same dataset" in " ".join(said.split())
    assert re.search(r"^blobs +1 +1 +\d+ kB$", said, re.MULTILINE)


def test_datasets_that_are_not_prepared_are_all_named_before_anything_is_trained(two: Path) -> None:
    shutil.rmtree(two / "data/packed/spots")
    params = two / "params.yaml"
    params.write_text(params.read_text().replace("spots]", "spots, digits]"))
    refused = call("run", "--offline", code=2)
    assert "not prepared yet: blobs" not in refused
    assert "not prepared yet: spots, digits. Run `mobilebench data prepare DATASET` for each, or name" in refused
    assert "Run `mobilebench data prepare digits`, or name" in call("run", "digits", "--offline", code=2)
    assert not (two / STATE).exists()
    shutil.copy(two / "source/test/dark/00.png", two / "source/train/dark/00.png")
    refused = call("run", "--offline", code=2)
    assert "not prepared yet: spots, digits" in refused
    assert "data/packed/blobs is not what packing blobs would give now" in refused
    looked = call("run", "--dry-run")
    assert "not prepared yet: spots, digits" in looked


def test_the_work_stops_at_a_set_time_and_goes_on_with_the_next_call(
    two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock stands until the first epoch is done; then its time has come, and the epoch's end waits for that."""
    began = datetime.now().astimezone()
    come, epoch = threading.Event(), GridProgress.epoch

    def done(progress: GridProgress, cell: Cell, result: EpochResult, epochs: int) -> None:
        epoch(progress, cell, result, epochs)
        come.set()
        for _ in range(600):  # a wait that a signal finds already begun may not hear of it until its end
            time.sleep(0.1)

    def now() -> datetime:
        return began + timedelta(hours=3 if come.is_set() else 0)

    with monkeypatch.context() as patched:
        patched.setattr(GridProgress, "epoch", done)
        patched.setattr(until, "stopped_at", partial(until.stopped_at, now=now, wait=come.wait))
        said = call("run", "blobs", "--model", "starnet", "--offline", "--until", "+2h")
    assert "as --until says. `mobilebench run blobs --model starnet --offline` goes on" in said
    (journal,) = [Journal(path.parent) for path in STATE.glob("*/journal.jsonl")]
    assert [type(event) for event in journal.events()[-2:]] == [Epoch, Interrupt]
    found = json.loads(call("run", "blobs", "--model", "starnet", "--offline", "--until", "+2h", "--json"))
    assert (found["stopped"], [cell["name"] for cell in found["cells"]]) == (False, ["undelivered"])


def test_a_time_that_is_none_is_refused(two: Path) -> None:
    refused = call("run", "--until", "soon", code=2)
    assert "--until 'soon' is no time; expected a time of day (18:30" in refused


def test_on_says_where_and_not_with_how_many_threads(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = two / "params.yaml"
    params.write_text(params.read_text().replace("threads: 1", "cells_per_device: 2"))
    monkeypatch.setattr(grid, "make_executor", lambda _: pytest.fail("the executor was chosen"))
    threads = []
    real = grid.CellJob.run
    monkeypatch.setattr(
        grid.CellJob, "run",
        lambda job, send: (threads.append(job.suite.runtime.cell_threads()), real(job, send))[1],
    )  # fmt: skip
    call("run", "spots", "--model", "starnet", "--offline", "--on", "serial")
    assert threads == [load_suite().runtime.cell_threads()]
    found = json.loads(call("run", "--dry-run", "--json", "--on", "processes"))
    assert found["at_once"] == 2


def test_a_failed_cell_is_in_the_document_and_the_exit_code(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mobilebench.execution import cell_run

    def broken(*_: object) -> None:
        raise RuntimeError("a shape does not fit")

    monkeypatch.setattr(cell_run, "build", broken)
    done = CliRunner().invoke(main, ["run", "blobs", "--offline", "--json"])
    assert done.exit_code == 1
    assert "2 of 2 cells are not finished: starnet.blobs.0, shufflenet.blobs.0" in done.stderr
    assert {cell["detail"] for cell in json.loads(done.stdout)["cells"]} == {"RuntimeError: a shape does not fit"}
