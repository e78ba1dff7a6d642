"""One cell from packed data to a result file, killed, resumed, failed and delivered late."""

from __future__ import annotations

import gc
import shutil
import weakref
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grids
import pytest
import torch
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from torch import nn

from mobilebench.analysis.collect import score_experiment, write_scores
from mobilebench.config.suite import Cell
from mobilebench.datasets.packing.packed import read_meta
from mobilebench.errors import UserError
from mobilebench.execution import cell_run
from mobilebench.execution.cell_run import CellFailedError, CellRun
from mobilebench.execution.context import open_context
from mobilebench.execution.delivery import SyncReport, sync_journals
from mobilebench.execution.grid import run_cells
from mobilebench.execution.progress import NullListener
from mobilebench.execution.suites import open_suite
from mobilebench.models import fingerprint
from mobilebench.models.registry import MODELS
from mobilebench.models.spec import ModelSpec
from mobilebench.runs.journal import Delivery
from mobilebench.runs.records import read_results, result_path
from mobilebench.runs.score_check import RecordsError
from mobilebench.system.layout import NETWORKS, PACKED, RESULTS, STATE
from mobilebench.tracking import OfflineTracker, Tracker, TrackingError, uri
from mobilebench.training import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from mobilebench.execution.context import RunContext
    from mobilebench.execution.network import Built
    from mobilebench.training import EpochResult

SHUFFLENET = Cell("shufflenet", "blobs", 0)
CURVES = ["train_loss", "test_loss", "test_top1", "lr", "epoch_seconds", "images_per_second"]


class Power(NullListener):
    """A listener that stops the process's work after an epoch, as a kill between two steps would."""

    def __init__(self, after: int) -> None:
        self.after = after

    def epoch(self, cell: Cell, result: EpochResult, epochs: int) -> None:
        if result.epoch == self.after:
            raise KeyboardInterrupt


class Notes(NullListener):
    def __init__(self) -> None:
        self.heard: list[str] = []

    def note(self, cell: Cell, message: str) -> None:
        self.heard.append(f"{cell.name}: {message}")


@pytest.fixture
def context(store: Path, project: Path) -> RunContext:
    return open_context(grids.write(project), "blobs", Tracker())


@pytest.fixture
def finished(half_trained: Path) -> RunContext:
    """The context of a project whose first cell is finished."""
    return open_context(open_suite(), "blobs", Tracker())


def weights(project: Path) -> dict[str, torch.Tensor]:
    """The final weights of the only run that has any, as its MLflow artifact."""
    (file,) = (project / "mlartifacts").glob("**/model.safetensors")
    state = checkpoint.load(file)
    assert state is not None
    return state


def test_a_finished_cell_is_a_run_and_a_result_file(context: RunContext) -> None:
    CellRun(context, SHUFFLENET).complete()
    (record,) = read_results(RESULTS)
    assert context.tracker.records("tiny") == [record]
    assert record.status == "FINISHED"
    assert record.n_test == 32
    assert record.params == 2_151_562  # the ten-class count less eight rows of 1024 weights and a bias
    assert record.protocol_hash == context.suite.protocol.hash
    curves = context.tracker.curves(record.run_id, CURVES)
    assert {key: [epoch for epoch, _ in points] for key, points in curves.items()} == {key: [1, 2] for key in CURVES}
    assert curves["test_top1"][-1][1] == record.value
    assert result_path(RESULTS, SHUFFLENET).exists()


def test_what_mlflow_stores_is_the_whole_recipe_the_identity_and_the_data(finished: RunContext) -> None:
    from mlflow.tracking import MlflowClient

    (record,) = read_results(RESULTS)
    run = MlflowClient(uri()).get_run(record.run_id)
    assert run.data.params["lr"] == "0.001"
    assert run.data.params["augment.cutmix_alpha"] == "1.0"
    assert run.data.params["data.short_side"] == "16"
    assert run.data.params["model"] == "shufflenet"
    wanted = {"kind": "cell", "cell": "shufflenet.blobs.0", "protocol_hash": finished.suite.protocol.hash}
    assert wanted.items() <= run.data.tags.items()
    assert run.data.tags["identity"] == finished.identity(SHUFFLENET).digest == record.identity.digest
    surroundings = {"git_commit", "project_commit", "mobilebench", "torch", "cpu", "device"}
    assert {"data_digest", "recipe_hash", "network", "code_version"} | surroundings <= set(run.data.tags)
    (data,) = run.inputs.dataset_inputs
    assert data.dataset.name == "blobs"
    assert finished.packed.meta.data_digest.startswith(data.dataset.digest)
    assert run.data.metrics["macs"] > 1e6


def test_a_finished_cell_is_left_alone(finished: RunContext) -> None:
    CellRun(finished, SHUFFLENET).complete()
    assert len(finished.tracker.records("tiny")) == 1


def test_interrupted_and_resumed_gives_the_same_weights_in_the_same_run(context: RunContext, project: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        CellRun(replace(context, listener=Power(after=1)), SHUFFLENET).complete()
    (stopped,) = context.tracker.records("tiny")
    assert stopped.status == "KILLED"
    CellRun(context, SHUFFLENET).complete()
    (resumed,) = read_results(RESULTS)
    assert resumed.run_id == stopped.run_id
    assert [epoch for epoch, _ in context.tracker.curves(resumed.run_id, ["train_loss"])["train_loss"]] == [1, 2]
    interrupted = weights(project)

    CellRun(context, SHUFFLENET).reset()
    for file in (project / "mlartifacts").glob("**/model.safetensors"):
        file.unlink()
    CellRun(context, SHUFFLENET).complete()
    whole = weights(project)
    assert all(torch.equal(interrupted[key], whole[key]) for key in whole)


def test_a_cell_is_of_the_metric_that_it_was_read_by_at_its_end(context: RunContext, project: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        CellRun(replace(context, listener=Power(after=1)), SHUFFLENET).complete()
    folder = PACKED / "blobs"
    (folder / "meta.json").write_text(replace(read_meta(folder), metric="nll").to_json())
    again = open_context(open_suite(), "blobs", Tracker())
    assert again.identity(SHUFFLENET) == context.identity(SHUFFLENET)
    CellRun(again, SHUFFLENET).complete()
    (record,) = read_results(RESULTS)
    assert again.tracker.records("tiny") == [record]
    assert record.metric == "nll"
    assert record.value == record.metrics["nll"]


def test_redo_supersedes_the_old_run(finished: RunContext) -> None:
    (first,) = read_results(RESULTS)
    CellRun(finished, SHUFFLENET).reset()
    CellRun(finished, SHUFFLENET).complete()
    (second,) = read_results(RESULTS)
    assert second.run_id != first.run_id
    assert second.value == first.value
    assert finished.tracker.records("tiny") == [second]


def test_a_run_finished_elsewhere_is_taken_over_not_trained_again(finished: RunContext) -> None:
    (first,) = read_results(RESULTS)
    result_path(RESULTS, SHUFFLENET).unlink()
    finished.journal(SHUFFLENET).clear()
    CellRun(finished, SHUFFLENET).complete()
    assert read_results(RESULTS) == [first]


def test_another_store_is_told_everything_without_training(
    finished: RunContext, project: Path, empty_store: Path
) -> None:
    (first,) = read_results(RESULTS)
    shutil.copy(empty_store, project / "new.db")
    other = Tracker(f"sqlite:///{project}/new.db")
    assert sync_journals(finished.root / STATE, RESULTS, other) == SyncReport(delivered=1)
    (record,) = read_results(RESULTS)
    assert record == replace(first, run_id=record.run_id) != first
    assert other.records("tiny") == [record]
    assert [epoch for epoch, _ in other.curves(record.run_id, ["lr"])["lr"]] == [1, 2]


def test_a_failing_cell_ends_failed_and_others_go_on(context: RunContext, monkeypatch: pytest.MonkeyPatch) -> None:
    real = cell_run.build

    def broken(cell: Cell, *rest: object) -> torch.nn.Module:
        if cell.model == "shufflenet":
            raise RuntimeError("a shape does not fit")
        return real(cell, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(cell_run, "build", broken)
        failed = run_cells(context, context.suite.cells())
    assert [(cell, type(error)) for cell, error in failed] == [(SHUFFLENET, CellFailedError)]
    states = {record.model: record.status for record in context.tracker.records("tiny")}
    assert states == {"shufflenet": "FAILED", "starnet": "FINISHED"}
    with pytest.raises(RecordsError, match=r"shufflenet\.blobs\.0: unfinished: FAILED"):
        score_experiment(context.tracker, "tiny", lam=0.5, anchors="grid")
    assert run_cells(context, context.suite.cells()) == []
    assert len(context.tracker.records("tiny")) == 2


def test_the_outcome_of_a_failed_cell_keeps_nothing_of_its_training(
    context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cells follow one another in a process: the memory of a failed one, on a GPU its images too, is the next one's."""
    networks: list[weakref.ref[nn.Module]] = []
    real = cell_run.build

    def fails(network: nn.Module, _: object) -> None:
        if network.training and torch.is_grad_enabled():  # a step, not a look at the network before
            raise RuntimeError("a shape does not fit")

    def broken(*about: Any) -> Built:
        built = real(*about)
        built.network.register_forward_pre_hook(fails)
        networks.append(weakref.ref(built.network))
        return built

    monkeypatch.setattr(cell_run, "build", broken)
    ((cell, error),) = run_cells(context, [SHUFFLENET])
    assert cell == SHUFFLENET
    assert "a shape does not fit" in str(error)
    gc.collect()
    assert [network() for network in networks] == [None]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the device")
def test_a_device_that_is_not_there_touches_no_cell(context: RunContext) -> None:
    suite = replace(context.suite, runtime=replace(context.suite.runtime, device="cuda:3"))
    with pytest.raises(UserError, match=r"runtime\.device is 'cuda:3', which is not there"):
        run_cells(replace(context, suite=suite), [SHUFFLENET])
    assert not list(STATE.glob("*/journal.jsonl"))


def test_offline_cells_count_as_finished_once_they_are_delivered(context: RunContext) -> None:
    notes = Notes()
    CellRun(replace(context, tracker=OfflineTracker(), listener=notes), SHUFFLENET).complete()
    assert read_results(RESULTS) == []
    assert "sync" in notes.heard[-1]
    assert sync_journals(context.root / STATE, RESULTS, context.tracker) == SyncReport(delivered=1)
    assert context.tracker.records("tiny") == read_results(RESULTS) != []
    assert sync_journals(context.root / STATE, RESULTS, context.tracker) == SyncReport()


def test_a_server_that_goes_away_loses_nothing(context: RunContext, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Tracker.deliver
    calls = 0

    def flaky(self: Tracker, journal: object) -> str:
        nonlocal calls
        calls += 1
        if 2 <= calls <= 3:  # while training goes on
            raise TrackingError("the server is away")
        return real(self, journal)  # type: ignore[arg-type]

    monkeypatch.setattr(Tracker, "deliver", flaky)
    notes = Notes()
    CellRun(replace(context, listener=notes), SHUFFLENET).complete()
    assert sum("kept for later" in note for note in notes.heard) == 2
    (record,) = read_results(RESULTS)
    points = context.tracker.curves(record.run_id, ["train_loss"])["train_loss"]
    assert [epoch for epoch, _ in points] == [1, 2]


def test_an_event_told_twice_is_stored_once(finished: RunContext) -> None:
    """A kill between the server's answer and the note of it makes the whole journal be told again."""
    journal = finished.journal(SHUFFLENET)
    journal.delivery = Delivery()
    finished.tracker.deliver(journal)
    (record,) = finished.tracker.records("tiny")
    from mlflow.tracking import MlflowClient

    history = MlflowClient(uri()).get_metric_history(record.run_id, "test_top1")
    assert [point.step for point in history] == [1, 2]


def test_score_reads_the_server_and_refuses_files_of_other_runs(finished: RunContext) -> None:
    assert run_cells(finished, finished.suite.cells()) == []
    scored = score_experiment(finished.tracker, "tiny", lam=0.5, anchors="grid", results=RESULTS)
    assert scored.matrix.models == ("shufflenet", "starnet")
    assert set(scored.matrix.n_test) == {32}
    accuracy, _, scores = write_scores(scored, RESULTS)
    assert accuracy.read_text().count("\n") == 3
    assert scores.exists()
    path = result_path(RESULTS, SHUFFLENET)
    path.write_text(path.read_text().replace('"run_id": "', '"run_id": "0'))
    with pytest.raises(RecordsError, match="its result file names run 0"):
        score_experiment(finished.tracker, "tiny", lam=0.5, anchors="grid", results=RESULTS)


def test_an_unknown_experiment_names_the_known(finished: RunContext) -> None:
    with pytest.raises(TrackingError, match="it has: tiny"):
        score_experiment(finished.tracker, "tinny", lam=0.5, anchors="grid")


def test_an_unreachable_server_stops_before_training(context: RunContext) -> None:
    with pytest.raises(TrackingError, match=r"cannot open the tracking store http://127\.0\.0\.1:9"):
        Tracker("http://127.0.0.1:9")


def test_messages_do_not_tell_a_password() -> None:
    with pytest.raises(TrackingError) as caught:
        Tracker("http://user:secret@127.0.0.1:9")
    assert "secret" not in str(caught.value)


def test_another_experiments_name_is_told_of_the_cell_without_training(finished: RunContext) -> None:
    (old,) = finished.tracker.records("tiny")
    renamed = replace(finished, suite=replace(finished.suite, experiment="renamed"), listener=Power(after=1))
    assert not renamed.is_finished(SHUFFLENET)

    CellRun(renamed, SHUFFLENET).complete()  # would raise if it trained an epoch
    (new,) = finished.tracker.records("renamed")
    assert (new.status, new.value, new.params) == ("FINISHED", old.value, old.params)
    assert new.run_id != old.run_id
    assert finished.tracker.artifact(new.run_id, "model.safetensors", finished.root) is not None
    assert finished.tracker.records("tiny") == [old]
    assert renamed.is_finished(SHUFFLENET)

    CellRun(finished, SHUFFLENET).complete()  # and back: the first experiment still has its run
    assert finished.tracker.records("tiny") == [old]
    assert finished.is_finished(SHUFFLENET)
    assert read_results(RESULTS) == [old]


def test_a_cell_begun_under_another_experiments_name_is_carried_on(context: RunContext) -> None:
    with pytest.raises(KeyboardInterrupt):
        CellRun(replace(context, listener=Power(after=1)), SHUFFLENET).complete()
    heard = Notes()
    CellRun(replace(context, suite=replace(context.suite, experiment="renamed"), listener=heard), SHUFFLENET).complete()
    assert any("goes on after epoch 1" in note for note in heard.heard)
    (record,) = context.tracker.records("renamed")
    assert [epoch for epoch, _ in context.tracker.curves(record.run_id, ["test_top1"])["test_top1"]] == [1, 2]


def test_a_damaged_journal_of_a_finished_cell_stops_nothing(finished: RunContext) -> None:
    finished.journal(SHUFFLENET).path.write_text("no json\n")
    assert finished.is_finished(SHUFFLENET)
    assert run_cells(finished, finished.suite.cells()) == []
    assert {record.model for record in read_results(RESULTS)} == {"shufflenet", "starnet"}


def test_a_dataset_that_another_worker_is_logging_too_is_logged(
    context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, refusals = MlflowClient.log_inputs, ["UniqueViolation: duplicate key"]

    def crowded(*arguments: Any) -> None:
        if refusals:
            raise MlflowException(refusals.pop())
        log(*arguments)

    monkeypatch.setattr(MlflowClient, "log_inputs", crowded)
    CellRun(context, SHUFFLENET).complete()
    (record,) = context.tracker.records("tiny")
    (logged,) = MlflowClient(context.tracker.uri).get_run(record.run_id).inputs.dataset_inputs
    assert (logged.dataset.name, record.status) == ("blobs", "FINISHED")


def small(num_classes: int, width: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, width, 3, stride=4), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(width, num_classes),
    )  # fmt: skip


def narrow(num_classes: int) -> nn.Module:
    return small(num_classes, 4)


def wide(num_classes: int) -> nn.Module:
    return small(num_classes, 8)


def use(build: Callable[[int], nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    """Make `build` the code of the model `small`, as an edit does between two commands."""
    monkeypatch.setitem(MODELS, "small", ModelSpec("small", "Small", "for tests", build, "paper"))
    fingerprint._known.cache_clear()
    shutil.rmtree(NETWORKS, ignore_errors=True)  # the kept fingerprints are of files, and here no file was edited


SMALL = Cell("small", "blobs", 0)


@pytest.fixture
def of_small(context: RunContext, monkeypatch: pytest.MonkeyPatch) -> RunContext:
    use(narrow, monkeypatch)
    return replace(context, suite=replace(context.suite, models=("small",)))


def test_an_edited_network_is_trained_again_and_the_old_run_is_superseded(
    of_small: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    CellRun(of_small, SMALL).complete()
    assert of_small.is_finished(SMALL)
    (first,) = read_results(RESULTS)
    assert of_small.change(SMALL) == ""
    use(wide, monkeypatch)
    assert of_small.change(SMALL) == "network's code"
    assert not of_small.is_finished(SMALL)
    CellRun(of_small, SMALL).complete()
    (second,) = read_results(RESULTS)
    assert second.run_id != first.run_id
    assert second.network != first.network
    assert second.params != first.params
    (project_params := Path("params.yaml")).write_text(
        project_params.read_text().replace("[shufflenet, starnet]", "[small]")
    )
    scored = score_experiment(of_small.tracker, "tiny", lam=0.5, anchors="grid", results=RESULTS)
    assert scored.checked.records == (second,)
    assert scored.checked.ignored == 1


def test_a_half_trained_cell_is_not_carried_on_under_other_code(
    of_small: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        CellRun(replace(of_small, listener=Power(after=1)), SMALL).complete()
    use(wide, monkeypatch)
    listener = Notes()
    CellRun(replace(of_small, listener=listener), SMALL).complete()
    assert not [line for line in listener.heard if "goes on after" in line]
    (record,) = read_results(RESULTS)
    assert [epoch for epoch, _ in of_small.tracker.curves(record.run_id, ["train_loss"])["train_loss"]] == [1, 2]
    assert sorted(run.status for run in of_small.tracker.records("tiny")) == ["FINISHED", "KILLED"]


def test_code_edited_while_a_grid_runs_stops_the_cell(of_small: RunContext, monkeypatch: pytest.MonkeyPatch) -> None:
    run = CellRun(of_small, SMALL)
    use(wide, monkeypatch)
    with pytest.raises(CellFailedError, match="the code of small changed after this call had begun; run the same"):
        run.complete()
    CellRun(of_small, SMALL).complete()
    assert of_small.is_finished(SMALL)


def test_data_packed_under_another_policy_is_refused(context: RunContext) -> None:
    protocol = replace(context.suite.protocol, data=replace(context.suite.protocol.data, val_fraction=0.25))
    with pytest.raises(UserError, match=r"val_fraction 0\.0, params\.yaml says 0\.25; run `mobilebench data prepare"):
        open_context(replace(context.suite, protocol=protocol), "blobs", context.tracker)
