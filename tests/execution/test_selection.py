"""A cell whose epoch is chosen on validation images: what is kept, when it stops, and that kills change nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grids
import numpy as np
import pytest
import torch

from mobilebench.config.suite import Cell
from mobilebench.datasets.packing.packed import read_meta
from mobilebench.evaluation.metrics import METRICS
from mobilebench.evaluation.predictions import Predictions, load_predictions
from mobilebench.evaluation.selection import BestVal, judge
from mobilebench.execution import training_run
from mobilebench.execution.cell_run import CellFailedError, CellRun
from mobilebench.execution.context import open_context
from mobilebench.execution.exported import read_safetensors
from mobilebench.execution.kept import keep_finished
from mobilebench.execution.progress import NullListener
from mobilebench.runs.events import Epoch, Finish, Start
from mobilebench.runs.records import predictions_path, read_results
from mobilebench.system import files
from mobilebench.system.layout import RESULTS
from mobilebench.tracking import OfflineTracker, Tracker
from mobilebench.training import checkpoint
from mobilebench.training.loop import Trainer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mobilebench.execution.context import RunContext
    from mobilebench.training import EpochResult, TrainData

CELL = Cell("shufflenet", "blobs", 0)
EPOCHS = 5


class Killed(BaseException):
    """Not an Exception: nothing may catch it, as nothing catches kill -9."""


def offline(project: Path, selection: str = "{best_val: {metric: nll}}", epochs: int = EPOCHS) -> RunContext:
    suite = grids.write(project, epochs=epochs, val=0.25, selection=selection)
    return open_context(suite, "blobs", OfflineTracker())


def val_of_epoch(monkeypatch: pytest.MonkeyPatch, values: list[float]) -> None:
    """Let the validation images read as they are told, epoch by epoch; training and test stay real."""
    real = Trainer.read

    def read(self: Trainer, split: str) -> object:
        predictions, found = real(self, split)
        return predictions, found | ({"top1": values[self.epoch - 1]} if split == "val" else {})

    monkeypatch.setattr(Trainer, "read", read)


def curve(context: RunContext, name: str) -> dict[int, float]:
    events = context.journal(CELL).events()
    return {e.step: e.metrics[name] for e in events if isinstance(e, Epoch) and name in e.metrics}


def ending(context: RunContext) -> Finish:
    found = context.journal(CELL).last(Finish)
    assert found is not None
    return found


def test_the_best_epoch_on_val_is_read_on_test_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = offline(project, "{best_val: {metric: top1}}")
    val_of_epoch(monkeypatch, [0.2, 0.6, 0.9, 0.9, 0.1])
    weights: dict[int, dict[str, torch.Tensor]] = {}
    read: list[str] = []
    real_predict, real_epoch = Trainer._predict, Trainer._run_epoch

    def predict(self: Trainer, split: str, size: int) -> object:
        read.append(split)
        return real_predict(self, split, size)

    def run_epoch(self: Trainer) -> EpochResult:
        result = real_epoch(self)
        weights[self.epoch] = {key: value.clone() for key, value in self.model.state_dict().items()}
        return result

    monkeypatch.setattr(Trainer, "_predict", predict)
    monkeypatch.setattr(Trainer, "_run_epoch", run_epoch)
    CellRun(context, CELL).train_locked()
    assert read == ["val"] * EPOCHS + ["val", "test"]  # at the end both with the chosen weights
    assert curve(context, "test_loss") == {}
    finish = ending(context)
    assert (finish.step, finish.metrics["kept_epoch"]) == (EPOCHS, 3)
    kept = read_safetensors(context.journal(CELL).artifacts / "model.safetensors")
    assert kept is not None
    assert all(torch.equal(kept[key], weights[3][key]) for key in kept)
    assert not list(context.journal(CELL).folder.glob("chosen-*"))


def test_an_epoch_chosen_on_test_is_the_best_there_and_the_run_says_so(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = offline(project, "{best_test: {metric: top1}}")
    rows: dict[str, list[int]] = {}
    real = Trainer.__init__

    def init(self: Trainer, model: object, data: TrainData, *more: Any, **options: Any) -> None:
        rows.update({name: split.rows.tolist() for name, split in data.splits.items()})
        real(self, model, data, *more, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "__init__", init)
    CellRun(context, CELL).train_locked()
    assert rows["val"] == rows["test"] == context.packed.rows("test").tolist()
    read = curve(context, "val_top1")
    assert list(read) == [1, 2, 3, 4, 5]
    finish = ending(context)
    assert finish.metrics["final_test_top1"] == max(read.values())
    start = context.journal(CELL).last(Start)
    assert start is not None
    assert start.tags["chosen_on"] == "test"
    on_val = offline(project, "{best_val: {metric: top1}}")
    assert on_val.identity(CELL) != context.identity(CELL)


def test_patience_ends_the_training(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = offline(project, "{best_val: {metric: top1, patience: 2}}")
    val_of_epoch(monkeypatch, [0.2, 0.6, 0.5, 0.6, 0.9])
    CellRun(context, CELL).train_locked()
    assert list(curve(context, "val_top1")) == [1, 2, 3, 4]
    assert ending(context).metrics["kept_epoch"] == 2


def test_the_test_curve_chooses_nothing_and_shows_what_choosing_on_it_would_have_gained(project: Path) -> None:
    plain, read = offline(project), offline(project)
    object.__setattr__(read.suite.runtime, "test_curve", True)  # frozen; outside the recipe
    assert plain.identity(CELL) == read.identity(CELL)
    CellRun(read, CELL).train_locked()
    finish = ending(read)
    test = curve(read, "test_top1")
    assert list(test) == [1, 2, 3, 4, 5]
    gain = max(test.values()) - finish.metrics["final_test_top1"]
    assert finish.metrics["optimism_of_choosing_on_test"] == pytest.approx(gain)
    val = curve(read, "val_nll")
    assert finish.metrics["kept_epoch"] == judge(list(val.values()), BestVal("nll")).keep


@pytest.mark.parametrize(
    ("values", "every"),
    [([0.9, 0.2, 0.4, 0.3, 0.5], 0), ([0.1, 0.5, 0.5, 0.6, 0.2], 0), ([0.1, 0.5, 0.5, 0.6, 0.2], 3600)],
)
def test_killed_before_any_write_it_chooses_and_ends_as_unbroken(
    project: Path, monkeypatch: pytest.MonkeyPatch, values: list[float], every: float
) -> None:
    """Killed before its 1st, 2nd, ... durable write in turn, each life a little longer, until one gets to the end.

    every: seconds between checkpoints, as on a device that has some.
    """
    monkeypatch.setitem(training_run._CHECKPOINTS_EVERY, "cpu", every)
    context = offline(project, "{best_val: {metric: top1}}")
    val_of_epoch(monkeypatch, values)
    CellRun(context, CELL).train_locked()
    whole, weights = ending(context).metrics, read_safetensors(context.journal(CELL).artifacts / "model.safetensors")
    context.journal(CELL).clear()
    left = 0
    real_save, real_append = checkpoint.save, type(context.journal(CELL)).append

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def write(*arguments: object, **options: object) -> object:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return real(*arguments, **options)

        return write

    monkeypatch.setattr(checkpoint, "save", counted(real_save))
    monkeypatch.setattr(type(context.journal(CELL)), "append", counted(real_append))
    for life in range(100):
        left = 1 + life % 4
        try:
            CellRun(context, CELL).train_locked()
        except Killed:
            continue
        break
    assert life > 3
    again = ending(context).metrics
    seconds = {"train_seconds"}
    assert {k: v for k, v in again.items() if k not in seconds} == {k: v for k, v in whole.items() if k not in seconds}
    final = read_safetensors(context.journal(CELL).artifacts / "model.safetensors")
    assert weights is not None
    assert final is not None
    assert all(torch.equal(weights[key], final[key]) for key in weights)


def test_with_seconds_between_checkpoints_epochs_are_trained_again_and_counted_once(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cell that is stopped after its third epoch goes on after the first, the one that has a checkpoint."""
    context = offline(project, "last_epoch")
    CellRun(context, CELL).train_locked()
    whole, weights = ending(context), read_safetensors(context.journal(CELL).artifacts / "model.safetensors")
    context.journal(CELL).clear()
    monkeypatch.setitem(training_run._CHECKPOINTS_EVERY, "cpu", 3600)
    trained: list[int] = []
    real = Trainer._run_epoch

    def run_epoch(self: Trainer) -> EpochResult:
        if trained == [0, 1, 2]:
            trained.append(-1)
            raise KeyboardInterrupt
        trained.append(self.epoch)
        return real(self)

    monkeypatch.setattr(Trainer, "_run_epoch", run_epoch)
    with pytest.raises(KeyboardInterrupt):
        CellRun(context, CELL).train_locked()
    CellRun(context, CELL).train_locked()
    assert trained == [0, 1, 2, -1, 1, 2, 3, 4]
    assert list(curve(context, "train_loss")) == [1, 2, 3, 4, 5]
    assert ending(context).metrics["final_test_top1"] == whole.metrics["final_test_top1"]
    final = read_safetensors(context.journal(CELL).artifacts / "model.safetensors")
    assert all(torch.equal(weights[key], final[key]) for key in weights)


def test_no_val_split_is_refused_with_what_to_set(project: Path) -> None:
    suite = grids.write(project, selection="{best_val: {}}")
    context = open_context(suite, "blobs", OfflineTracker())
    with pytest.raises(CellFailedError, match=r"no val split .* set data.val_fraction"):
        CellRun(context, CELL).train_locked()


def test_chosen_weights_that_are_gone_are_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = offline(project, "{best_val: {metric: top1}}", epochs=2)
    val_of_epoch(monkeypatch, [0.9, 0.1])

    class Stop(NullListener):
        def epoch(self, cell: Cell, result: EpochResult, epochs: int) -> None:
            if result.epoch == epochs:
                raise KeyboardInterrupt

    context_that_stops = type(context)(**{**vars(context), "listener": Stop()})
    with pytest.raises(KeyboardInterrupt):
        CellRun(context_that_stops, CELL).train_locked()
    for path in context.journal(CELL).folder.glob("chosen-*"):
        path.unlink()
    with pytest.raises(CellFailedError, match=r"weights of epoch 1, the best on val, are gone .* --redo"):
        CellRun(context, CELL).train_locked()


def test_predictions_are_kept_with_the_run_and_beside_the_result(store: Path, project: Path) -> None:
    context = open_context(grids.write(project, val=0.25), "blobs", Tracker())
    CellRun(context, CELL).complete()
    (record,) = read_results(RESULTS)
    kept = {split: load_predictions(predictions_path(RESULTS, CELL, split)) for split in ("val", "test")}
    assert record.predictions == {split: found.digest for split, found in kept.items()}
    rows = context.packed.rows("test")
    assert kept["test"].ids.tolist() == [context.packed.index[row].path for row in rows]
    assert np.array_equal(kept["test"].targets, context.packed.labels[rows])
    for split, read in (("test", record.metrics), ("val", record.val_metrics)):
        assert read["top1"] == METRICS["top1"].value(kept[split])
        assert read["macro_f1"] == METRICS["macro_f1"].value(kept[split])
        assert read["nll"] == pytest.approx(METRICS["nll"].value(kept[split]), rel=2e-3)

    for split in ("val", "test"):  # lost here, and the journal with it: the store has them
        predictions_path(RESULTS, CELL, split).unlink()
    context.journal(CELL).clear()
    assert keep_finished(context, [CELL], context.tracker) == []
    assert load_predictions(predictions_path(RESULTS, CELL)).digest == record.predictions["test"]
    assert predictions_path(RESULTS, CELL, "val").exists()

    other = files.write_bytes(predictions_path(RESULTS, CELL), b"of another run")
    assert keep_finished(context, [CELL], context.tracker) == []
    assert load_predictions(other).digest == record.predictions["test"]


def test_the_folder_of_predictions_is_there_whatever_the_runs_kept(store: Path, project: Path) -> None:
    """DVC refuses a stage whose output is not there."""
    context = open_context(grids.write(project), "blobs", OfflineTracker())
    assert keep_finished(context, [], context.tracker) == []
    assert predictions_path(RESULTS, CELL).parent.is_dir()


@pytest.mark.parametrize("metric", ["macro_f1", "nll"])
def test_a_dataset_that_names_its_metric_is_read_by_it(project: Path, metric: str) -> None:
    suite = grids.write(project)
    folder = project / "data/packed/blobs"
    meta = replace(read_meta(folder), metric=metric)
    (folder / "meta.json").write_text(meta.to_json())
    context = open_context(suite, "blobs", OfflineTracker())
    CellRun(context, CELL).train_locked()
    finish = ending(context)
    curve_of_test = curve(context, f"test_{metric}")
    assert list(curve_of_test) == [1, 2]
    value = finish.metrics[f"final_test_{metric}"]
    assert value == pytest.approx(curve_of_test[2])
    best = min(curve_of_test.values()) if metric == "nll" else max(curve_of_test.values())
    assert finish.metrics["optimism_of_choosing_on_test"] == pytest.approx(abs(best - value))


def test_labels_of_test_that_a_metric_says_nothing_of_are_refused_before_training(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = grids.write(project)
    folder = project / "data/packed/blobs"
    (folder / "meta.json").write_text(replace(read_meta(folder), metric="top5").to_json())  # of two classes
    context = open_context(suite, "blobs", OfflineTracker())
    monkeypatch.setattr(Trainer, "_run_epoch", None)
    with pytest.raises(
        CellFailedError, match=r"32 test images of blobs .* top5 says nothing.* `metric:` in params.yaml"
    ):
        CellRun(context, CELL).train_locked()


def test_a_metric_that_val_cannot_tell_costs_no_finished_training(project: Path) -> None:
    """All validation images are of one class and said to be: there is no kappa of them. Test has one."""
    suite = grids.write(project, val=0.25)
    folder = project / "data/packed/blobs"
    (folder / "meta.json").write_text(replace(read_meta(folder), metric="qwk").to_json())
    context = open_context(suite, "blobs", OfflineTracker())
    real = Trainer.predict

    def one_class(self: Trainer, split: str) -> tuple[float, Predictions]:
        loss, found = real(self, split)
        if split == "test":
            return loss, found
        logits = np.tile(np.array([[1.0, 0.0]], np.float32), (len(found), 1))
        return loss, Predictions.of_logits("single_label", np.zeros(len(found), np.int64), logits, found.ids)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Trainer, "predict", one_class)
        CellRun(context, CELL).train_locked()
    finish = ending(context)
    assert "final_test_qwk" in finish.metrics
    assert "final_val_qwk" not in finish.metrics
    assert finish.metrics["final_val_top1"] == 1
