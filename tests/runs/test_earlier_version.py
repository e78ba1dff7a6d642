"""Journals, result files and an MLflow store of an earlier version are read, shown as superseded and never carried on.

`earlier_version/` was made by commit 7526e31, when a cell's identity knew nothing of the network's code: a grid of one
toy network with four seeds, of which the first is finished, the second was stopped after one of three epochs, the third
was trained offline and the fourth was not begun. Binary files are kept as base64, the store as SQL, the project's
folder as `{project}`.
"""

from __future__ import annotations

import base64
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import grids
import pytest
from torch import nn

from mobilebench.analysis.collect import score_experiment
from mobilebench.execution.context import RunContext, open_context
from mobilebench.execution.delivery import sync_journals
from mobilebench.execution.grid import run_cells
from mobilebench.execution.progress import NullListener
from mobilebench.models.registry import MODELS
from mobilebench.models.spec import ModelSpec
from mobilebench.runs.records import read_results
from mobilebench.runs.score_check import RecordsError
from mobilebench.runs.status import grid_states
from mobilebench.tracking import Tracker

EARLIER = Path(__file__).parent / "earlier_version"


def _toynet(num_classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=4), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, num_classes),
    )  # fmt: skip


@pytest.fixture
def context(project: Path, monkeypatch: pytest.MonkeyPatch) -> RunContext:
    """The earlier project, unpacked here, as this version opens it."""
    spec = ModelSpec("toynet", "Toy", "four channels, for tests", _toynet, "paper")
    monkeypatch.setitem(MODELS, "toynet", spec)
    params = (EARLIER / "params.yaml").read_text()
    monkeypatch.setattr(grids, "PARAMS", params.replace("{", "{{").replace("}", "}}"))
    suite = grids.write(project)
    shutil.copytree(EARLIER / "results", project / "results")
    for source in (path for path in (EARLIER / "cells").rglob("*") if path.is_file()):
        target = project / ".mobilebench/cells" / source.relative_to(EARLIER / "cells")
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".b64":
            target.with_suffix("").write_bytes(base64.decodebytes(source.read_bytes()))
        else:
            target.write_text(source.read_text().replace("{project}", str(project)))
    with closing(sqlite3.connect(project / "mlflow.db")) as store:
        store.executescript((EARLIER / "mlflow.sql").read_text().replace("{project}", str(project)))
    return open_context(suite, "blobs", Tracker())


class _Epochs(NullListener):
    """Keeps which epochs were trained, by cell."""

    def __init__(self) -> None:
        self.trained: dict[int, list[int]] = {}

    def epoch(self, cell, result, epochs) -> None:  # noqa: ANN001
        self.trained.setdefault(cell.seed, []).append(result.epoch)


def test_its_cells_are_shown_as_superseded(context: RunContext) -> None:
    states = list(grid_states(context.suite).values())
    assert [state.name for state in states] == ["superseded"] * 3 + ["waiting"]
    assert states[0].detail.startswith("its result is of another identity (made by an earlier version of mobilebench)")
    assert states[1].detail.startswith("a part of it is of another identity (made by an earlier version")


def test_none_of_it_is_carried_on_or_scored(context: RunContext) -> None:
    before = {record.run_id for record in context.tracker.records("before")}
    epochs = _Epochs()
    assert run_cells(replace(context, listener=epochs), context.suite.cells()) == []
    assert epochs.trained == {seed: [1, 2, 3] for seed in range(4)}
    scored = score_experiment(context.tracker, "before", lam=0.5, anchors="grid", results=Path("results"))
    taken = {record.run_id for record in scored.checked.records}
    assert len(taken) == 4
    assert not taken & before
    assert {record.run_id for record in read_results(Path("results"))} == taken
    assert before <= {record.run_id for record in context.tracker.records("before")}


def test_the_score_says_so_before_they_are_trained_again(context: RunContext) -> None:
    with pytest.raises(RecordsError, match="other recipe: only runs of recipe an earlier version of mobilebench"):
        score_experiment(context.tracker, "before", lam=0.5, anchors="grid", results=Path("results"))


def test_its_offline_run_is_delivered_by_sync(context: RunContext) -> None:
    done = sync_journals(Path(".mobilebench/cells"), Path("results"), context.tracker)
    assert (done.delivered, done.waiting, done.failed) == (1, 1, [])
    finished = {record.seed for record in context.tracker.records("before") if record.status == "FINISHED"}
    assert finished == {0, 2}
