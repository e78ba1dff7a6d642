"""Journals, result files and an MLflow store written by an earlier version are read, carried on and scored by this one.

`earlier_version/` was made by commit 7526e31, the last before the modules were sorted into rooms: a grid of one toy
network with four seeds, of which the first is finished, the second was stopped after one of three epochs, the third
was trained offline and the fourth was not begun. Binary files are kept as base64, the store as SQL, the project's
folder as `{project}`.
"""

from __future__ import annotations

import base64
import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import grids
import pytest
from torch import nn

from mobilebench.analysis.collect import score_experiment
from mobilebench.config.suite import parse_suite, preset_text, presets
from mobilebench.execution.context import RunContext, open_context
from mobilebench.execution.delivery import sync_journals
from mobilebench.execution.grid import run_cells
from mobilebench.execution.progress import NullListener
from mobilebench.models.registry import MODELS
from mobilebench.models.spec import ModelSpec
from mobilebench.runs.records import read_results
from mobilebench.runs.status import grid_states
from mobilebench.tracking import Tracker

EARLIER = Path(__file__).parent / "earlier_version"
PROTOCOLS = {
    "canonical_v1": "83c302bd6eed",
    "demo": "1acaf543e114",
    "paper_v1": "c521ef2e9db4",
    "proxy_4": "c521ef2e9db4",
    "released_code": "b6b66a65cbcd",
}


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


def test_its_cells_have_the_same_identities_and_states(context: RunContext) -> None:
    folders = {path.name for path in Path(".mobilebench/cells").iterdir()}
    cells = list(context.suite.cells())
    assert folders == {context.journal(cell).folder.name for cell in cells[:3]}
    states = [state.name for state in grid_states(context.suite).values()]
    assert states == ["finished", "interrupted", "undelivered", "waiting"]


def test_it_is_carried_on_where_it_was_and_scored(context: RunContext) -> None:
    epochs = _Epochs()
    begun = json.loads((context.journal(list(context.suite.cells())[1]).folder / "delivered.json").read_text())[
        "run_id"
    ]
    assert run_cells(replace(context, listener=epochs), context.suite.cells()) == []
    assert epochs.trained == {1: [2, 3], 3: [1, 2, 3]}
    runs = {record.seed: record for record in context.tracker.records("before")}
    assert [runs[seed].status for seed in range(4)] == ["FINISHED"] * 4
    assert runs[1].run_id == begun
    assert {record.run_id for record in read_results(Path("results"))} == {run.run_id for run in runs.values()}
    scored = score_experiment(context.tracker, "before", lam=0.5, anchors="grid", results=Path("results"))
    assert len(scored.checked.records) == 4


def test_its_offline_run_is_delivered_by_sync(context: RunContext) -> None:
    done = sync_journals(Path(".mobilebench/cells"), Path("results"), context.tracker)
    assert (done.delivered, done.waiting, done.failed) == (1, 1, [])
    finished = {record.seed for record in context.tracker.records("before") if record.status == "FINISHED"}
    assert finished == {0, 2}


def test_every_packaged_suite_has_the_protocol_hash_it_had() -> None:
    assert {name: parse_suite(preset_text(name), name).protocol.hash for name in presets()} == PROTOCOLS
