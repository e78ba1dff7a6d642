"""Commands that read results: of several runs of a cell they take the right one or say so, and need no network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from mlflow.tracking import MlflowClient

from mobilebench.analysis.named_runs import load_run_set
from mobilebench.cli import main
from mobilebench.config.suite import Cell
from mobilebench.execution.training_run import TrainingRun
from mobilebench.models import fingerprint
from mobilebench.runs.records import read_results
from mobilebench.system.layout import RESULTS
from mobilebench.tracking import Tracker, uri

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mobilebench.analysis.run_sets import RunSet

pytestmark = pytest.mark.usefixtures("trained")
STARNET = Cell("starnet", "blobs", 0)


def call(*words: str) -> tuple[int, str]:
    answer = CliRunner(env={"COLUMNS": "200"}).invoke(main, list(words))
    assert answer.exception is None or isinstance(answer.exception, SystemExit), answer.exception
    return answer.exit_code, " ".join(answer.output.split())


def starnet() -> float | None:
    (found,) = (record.value for record in read_results(RESULTS) if record.model == "starnet")
    return found


def compared() -> RunSet:
    return load_run_set("experiment:tiny", Tracker)


def edited_and_undone() -> float:
    """Leave a newer finished run of another network's code beside starnet's, and return its accuracy."""
    client = MlflowClient(uri())
    (record,) = (record for record in read_results(RESULTS) if record.model == "starnet")
    run = client.get_run(record.run_id)
    tags = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}
    changed = tags | {"network": "0" * 12, "identity": "0" * 12, "journal": "1" * 32}
    second = client.create_run(run.info.experiment_id, tags=changed).info.run_id
    wrong = 0.015625
    for key, value in (run.data.metrics | {"final_test_top1": wrong}).items():
        client.log_metric(second, key, value)
    client.set_terminated(second)
    return wrong


def test_after_an_undone_edit_the_run_of_the_present_code_counts() -> None:
    edited_and_undone()
    assert call("score")[0] == 0
    assert f"{100 * (starnet() or 0):.1f}" in call("leaderboard")[1]
    found = compared()
    assert found.cells[STARNET] == starnet()
    assert found.notes == ()


def test_from_elsewhere_the_choice_is_said(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong, store = edited_and_undone(), uri()
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    said = "Of 1 cells (starnet.blobs.0) there are finished runs of several identities (network's code)"
    code, output = call("score", "--experiment", "tiny")
    assert code == 0, output
    assert said in output
    found = compared()
    assert found.cells[STARNET] == wrong
    assert said in found.notes[0]
    assert said in call("compare", "experiment:tiny", "experiment:tiny")[1]


def test_a_cell_of_another_network_than_there_is_now_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mobilebench.runs.identity.known_fingerprint", lambda model, *_: f"edited {model}")
    (note,) = compared().notes
    assert "the runs of shufflenet.blobs.0, starnet.blobs.0 are of another network or other data" in note


def test_models_without_a_run_are_named() -> None:
    params = Path("params.yaml")
    params.write_text(params.read_text().replace("[shufflenet, starnet]", "[shufflenet, starnet, fbnet]"))
    assert compared().notes == ("tiny: 1 of 3 cells have no finished run (all of fbnet)",)
    assert "all of fbnet" in call("compare", "experiment:tiny", "experiment:tiny")[1]


@pytest.fixture
def _package_gone(monkeypatch: pytest.MonkeyPatch, unknown_model: Callable[[str], None]) -> Iterator[None]:
    """As after uninstalling the package whose entry point offers the network."""
    unknown_model("starnet")
    fingerprint._known.cache_clear()
    monkeypatch.setattr(TrainingRun, "_train_epochs", None)
    yield
    fingerprint._known.cache_clear()


@pytest.mark.usefixtures("_package_gone")
def test_results_are_read_without_the_package_of_a_network() -> None:
    for words in (["score"], ["leaderboard"], ["report"], ["status"], ["compare", "tiny", "tiny"], ["data", "list"]):
        code, output = call(*words)
        assert code == 0, output
        if words[0] not in {"compare", "data"}:
            assert "no model is called 'starnet'" in output
    shown = call("status")[1]
    assert re.search(r"starnet +[0-9.]+ % \(\?\)", shown)
    assert "1 of 2 cells are finished" in shown
    assert "starnet" in Path("results/report.md").read_text()


@pytest.mark.usefixtures("_package_gone")
@pytest.mark.parametrize("words", [["train", "blobs"], ["inputs"], ["sensitivity"], ["register", "blobs"]])
def test_whatever_needs_the_network_refuses_by_its_name(words: list[str]) -> None:
    code, output = call(*words)
    assert code == 2
    assert "no model is called 'starnet'" in output
    assert "install the package" in output


def test_going_back_to_an_earlier_experiment_says_what_train_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The result file is of the later settings; the journal of these has the finished run."""
    path = RESULTS / "cells/blobs/starnet.blobs.0.json"
    kept = path.read_text()
    path.write_text(re.sub('"recipe_hash": "[0-9a-f]+"', f'"recipe_hash": "{"0" * 12}"', kept))
    shown = call("status")[1]
    assert "1 of 2 cells are finished" in shown
    assert "starnet.blobs.0: finished and delivered before" in shown
    monkeypatch.setattr(TrainingRun, "_train_epochs", None)
    assert call("train", "blobs")[0] == 0
    assert path.read_text() == kept
