"""Each message's advice is followed to the letter, and then the trouble is over: nothing is trained, nothing lost."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import mlflow
import pytest
from click.testing import CliRunner
from mlflow.cli import cli as mlflow_main
from mlflow.tracking import MlflowClient

from mobilebench.cli import main
from mobilebench.execution.training_run import TrainingRun
from mobilebench.runs.records import read_results
from mobilebench.system.layout import RESULTS, STATE
from mobilebench.tracking import Tracker, uri

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlflow.entities import Experiment, Run

pytestmark = pytest.mark.usefixtures("trained", "_nothing_trains")


@pytest.fixture
def _nothing_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise AssertionError("a finished cell is trained again")

    monkeypatch.setattr(TrainingRun, "_train_epochs", refuse)


def call(*words: str) -> tuple[int, str]:
    answer = CliRunner().invoke(main, list(words))
    assert answer.exception is None or isinstance(answer.exception, SystemExit), answer.exception
    return answer.exit_code, answer.output


def client() -> MlflowClient:
    return MlflowClient(uri())


def experiment(name: str = "tiny") -> Experiment:
    found = client().get_experiment_by_name(name)
    assert found is not None
    return found


def run_of(model: str) -> Run:
    (found,) = client().search_runs([experiment().experiment_id], f"tags.model = '{model}' and tags.kind = 'cell'")
    return found


def commands(message: str) -> list[str]:
    return [line for line in re.findall(r"`([^`]+)`", message) if not line.endswith("--help")]


def follow(lines: Iterable[str]) -> str:
    """Do what the commands in a message say, in this process: the program's, MLflow's and `rm`. Return their output."""
    said = ""
    for line in lines:
        words = shlex.split(line)
        given = dict(word.split("=", 1) for word in words if re.match(r"[A-Z_]+=", word))
        name, *rest = words[len(given) :]
        with pytest.MonkeyPatch.context() as patched:
            if name == "rm":
                Path(rest[0]).unlink()
                continue
            # In one process MLflow keeps the store of a relative address, whatever the folder is by then.
            assert given in ({}, {"MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"})
            patched.setenv("MLFLOW_TRACKING_URI", uri())
            mlflow.set_tracking_uri(uri())  # one that another test here set would win over the variable
            said += CliRunner().invoke({"mobilebench": main, "mlflow": mlflow_main}[name], rest).output
    return said


def numbers() -> list[tuple[str, float | None]]:
    return [(record.model, record.value) for record in read_results(RESULTS)]


def over(before: list[tuple[str, float | None]]) -> None:
    """Assert that the trouble is: the score has every cell's number as it was, and no cell waits."""
    code, output = call("score")
    assert code == 0, output
    assert numbers() == before
    assert [record.status for record in Tracker().records("tiny")] == ["FINISHED"] * 2
    assert "2 of 2 cells are finished" in call("status")[1]


@pytest.mark.parametrize("words", [("score",), ("sync",), ("train", "blobs", "--redo")])
def test_an_experiment_in_the_trash(words: tuple[str, ...]) -> None:
    before = numbers()
    client().delete_experiment(experiment().experiment_id)
    code, message = call(*words)
    assert code != 0
    assert "was deleted in MLflow and is in its trash" in message
    assert "--redo" not in message
    assert numbers() == before
    follow(commands(message)[:1])
    over(before)


@pytest.mark.parametrize("has_journals", [True, False])
def test_runs_in_the_trash(has_journals: bool) -> None:
    before = numbers()
    client().delete_run(run_of("starnet").info.run_id)
    if not has_journals:  # the folder came by git, from another machine
        shutil.rmtree(STATE)
    code, message = call("score")
    assert code == 2
    assert "was deleted in MLflow and is in its trash" in message
    assert commands(message) == (["mobilebench sync"] if has_journals else commands(message))
    assert "--redo" not in message
    follow(commands(message))
    over(before)


@pytest.mark.parametrize("how", ["trash", "renamed", "another store"])
def test_train_delivers_a_finished_cell_again_whose_run_is_gone(how: str, trained: Path, empty_store: Path) -> None:
    """As sync does, whichever of the two a person thinks of; asked twice, nothing is delivered twice."""
    before = numbers()
    if how == "trash":
        client().delete_run(run_of("starnet").info.run_id)
    elif how == "renamed":
        client().rename_experiment(experiment().experiment_id, "archive")
    else:
        shutil.copy(empty_store, trained / "mlflow.db")
    code, message = call("train", "blobs")
    assert code == 0, message
    assert f"{1 if how == 'trash' else 2} finished runs that the tracking store no longer had" in message
    over(before)
    assert "no longer had" not in call("train", "blobs")[1]
    assert call("sync")[0] == 0
    over(before)


def test_train_leaves_a_run_in_the_trash_whose_journal_is_elsewhere_to_the_advice_of_score() -> None:
    client().delete_run(run_of("starnet").info.run_id)
    shutil.rmtree(STATE)
    assert call("train", "blobs")[0] == 0
    message = call("score")[1]
    assert "was deleted in MLflow and is in its trash" in message
    assert "mlflow runs restore" in message


def test_nothing_to_train_is_no_failure_where_the_store_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    code, message = call("train", "blobs")
    assert code == 0
    assert "not known whether the store has the finished runs" in message


def test_an_experiment_renamed_in_mlflow() -> None:
    before = numbers()
    client().rename_experiment(experiment().experiment_id, "archive")
    code, message = call("score")
    assert code == 2
    assert "which is in the experiment 'archive'; `mobilebench sync` delivers it again" in message
    follow(commands(message))
    over(before)


def test_an_experiment_renamed_in_mlflow_whose_journals_are_elsewhere(trained: Path) -> None:
    client().rename_experiment(experiment().experiment_id, "archive")
    shutil.rmtree(STATE)
    code, message = call("score")
    assert code == 2
    assert "which is in the experiment 'archive'; name that experiment in params.yaml" in message
    params = trained / "params.yaml"
    params.write_text(params.read_text().replace("experiment: tiny", "experiment: archive"))
    follow(commands(message))
    assert call("score")[0] == 0


def test_results_of_another_machine(trained: Path, tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> None:
    """Its folder came by git: result files without a store and without journals."""
    before = numbers()
    stick = tmp_path_factory.mktemp("stick")
    shutil.move(STATE.parent, stick / STATE.parent)
    shutil.copy(empty_store, trained / "mlflow.db")
    code, message = call("score")
    assert code == 2
    assert "which this tracking store does not have; point MLFLOW_TRACKING_URI at the store that has it" in message
    assert "Only where both are lost: `mobilebench train blobs" in message
    assert "mobilebench sync" in commands(message)
    follow([f"mobilebench sync {stick}"])
    over(before)


def test_two_runs_of_one_cell() -> None:
    before = numbers()
    first = run_of("starnet")
    tags = {key: value for key, value in first.data.tags.items() if not key.startswith("mlflow.")}
    second = client().create_run(experiment().experiment_id, tags=tags | {"journal": "1" * 32}).info.run_id
    for key, value in first.data.metrics.items():
        client().log_metric(second, key, value)
    client().set_terminated(second)
    code, message = call("score")
    assert code == 2
    assert commands(message) == [f"mlflow runs delete --run-id {second}"]
    follow(commands(message))
    over(before)


def test_a_result_file_of_another_run() -> None:
    before = numbers()
    path = RESULTS / "cells/blobs/starnet.blobs.0.json"
    path.write_text(path.read_text().replace('"run_id": "', '"run_id": "0'))
    code, message = call("score")
    assert code == 2
    assert commands(message)[0].startswith("rm ")
    follow(commands(message))
    over(before)


def test_a_run_whose_values_were_changed() -> None:
    before = numbers()
    client().log_metric(run_of("starnet").info.run_id, "final_test_top1", 97.5, step=99)
    code, message = call("score")
    assert code == 2
    assert "starnet.blobs.0: damaged" in message
    said = follow(commands(message))  # its last says what is to be done next
    assert commands(said) == ["mobilebench sync"]
    follow(commands(said))
    over(before)


def test_a_superseded_run_without_a_successor() -> None:
    before = numbers()
    client().set_tag(run_of("starnet").info.run_id, "kind", "superseded cell")
    code, message = call("score")
    assert code == 2
    assert "is marked as superseded there" in message
    follow(commands(message))
    over(before)


def test_a_superseded_run_whose_successor_never_ends() -> None:
    before = numbers()
    first = run_of("starnet")
    tags = {key: value for key, value in first.data.tags.items() if not key.startswith("mlflow.")}
    second = client().create_run(experiment().experiment_id, tags=tags | {"journal": "1" * 32}).info.run_id
    client().set_tag(first.info.run_id, "kind", "superseded cell")
    code, message = call("sync")
    assert code == 1
    assert f"run {second} takes its place" in message
    follow(commands(message))
    over(before)


def test_a_run_whose_identity_was_changed() -> None:
    before = numbers()
    client().set_tag(run_of("starnet").info.run_id, "identity", "0" * 12)
    path = RESULTS / "cells/blobs/starnet.blobs.0.json"
    path.unlink()
    code, message = call("sync")
    assert code == 1
    assert "its tags were changed there" in message
    follow(commands(message))
    over(before)


def test_a_run_that_was_moved_and_could_not_be_delivered_is_not_forgotten(trained: Path) -> None:
    """The second look says what the first said: trained, not finished, exit 1."""
    before = numbers()
    params = trained / "params.yaml"
    params.write_text(params.read_text().replace("experiment: tiny", "experiment: second"))
    with pytest.MonkeyPatch.context() as patched:

        def away(*_: object, **__: object) -> None:
            raise ConnectionError("away")

        patched.setattr(MlflowClient, "log_batch", away)
        for _ in range(2):
            assert call("train", "blobs")[0] == 1
            status = call("status")[1]
            assert "0 of 2 cells are finished" in status
            assert "`mobilebench sync` delivers it" in status
        assert call("sync")[0] == 1
        assert "0 of 2 cells are finished" in call("status")[1]
    follow(commands(status))
    assert numbers() == before
    assert call("score")[0] == 0
    assert "2 of 2 cells are finished" in call("status")[1]


def test_an_experiment_deleted_under_a_new_name_stops_before_anything_is_moved(trained: Path) -> None:
    client().delete_experiment(client().create_experiment("second"))
    params = trained / "params.yaml"
    params.write_text(params.read_text().replace("experiment: tiny", "experiment: second"))
    for _ in range(2):
        code, message = call("train", "blobs")
        assert code == 2
        assert "0 of 2 cells are finished" in call("status")[1]
    follow(commands(message)[:1])
    assert call("train", "blobs")[0] == 0
    assert call("score")[0] == 0


def test_weights_that_the_store_lost_are_kept_again_by_register() -> None:
    from mobilebench.execution.context import open_context
    from mobilebench.execution.model_versions import _classifier
    from mobilebench.execution.suites import open_suite

    run_id = run_of("starnet").info.run_id
    (lost,) = Path("mlartifacts").glob(f"**/{run_id}/artifacts/model.safetensors")
    lost.unlink()
    tracker, suite = Tracker(), open_suite()
    context = open_context(suite, "blobs", tracker)
    (record,) = (r for r in read_results(RESULTS) if r.model == "starnet")
    _classifier(tracker, context.packed, record, suite.protocol.recipe_for("starnet", "blobs"))
    assert lost.is_file()


def test_score_says_why_it_leaves_runs_out() -> None:
    first = run_of("starnet")
    tags = {key: value for key, value in first.data.tags.items() if not key.startswith("mlflow.")}
    others = ({"seed": "7"}, {"recipe_hash": "0" * 12}, {"recipe_hash": "1" * 12}, {"data_digest": "0" * 64}, {})
    for changes in others:
        made = client().create_run(experiment().experiment_id, tags=tags | changes).info.run_id
        if changes:
            client().set_terminated(made, "FAILED" if "seed" in changes else "FINISHED")
    code, message = call("score")
    assert code == 0, message
    assert (
        "5 other runs of the experiment left out: 2 of another recipe, 1 outside the grid (FAILED), 1 superseded, "
        "1 unfinished (RUNNING)" in " ".join(message.split())
    )
