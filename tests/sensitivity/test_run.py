"""A probe from packed data to the study and MLflow: what it reads, what it keeps, killed and resumed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import grids
import numpy as np
import pytest
import torch
from mlflow.tracking import MlflowClient
from torch import nn

from mobilebench.config.sensitivity import SensitivitySettings
from mobilebench.datasets.packing.packed import Packed, open_packed
from mobilebench.datasets.packing.prepare import prepare
from mobilebench.errors import UserError
from mobilebench.execution.network import Built
from mobilebench.runs.events import Epoch, Finish
from mobilebench.runs.journal import Journal
from mobilebench.search.studies import Pruning, Studies, StudyError
from mobilebench.sensitivity import trial as worker
from mobilebench.sensitivity.cells import collect, probed_cells
from mobilebench.sensitivity.run import TRIALS, Runner
from mobilebench.tracking import Tracker, uri

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mobilebench.config.recipe import Recipe
    from mobilebench.config.suite import Cell, Suite
    from mobilebench.sensitivity.trial import TrialProgress

pytestmark = pytest.mark.usefixtures("studies_file")
LR = SensitivitySettings(models=("shufflenet",), values={"lr": (1e-4, 1e-2)})
EPOCHS = 2  # of a probe that is killed
# The command ends itself, as SIGKILL would end it, when one trial is complete and another has had an epoch: from
# outside it might end before it is caught.
KILLED = """
import os, signal
from mobilebench.cli import main
from mobilebench.cli.trials import TrialProgress
ended = []
TrialProgress.ended = lambda self, label, words: ended.append(label)
TrialProgress.epoch = lambda self, progress: ended and os.kill(os.getpid(), signal.SIGKILL)
main()
"""


class Listener:
    """A listener that keeps what it gets, and can stop the probe after so many epochs as Ctrl-C would."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.trials: int | None = None
        self.epochs: list[TrialProgress] = []
        self.ends: list[str] = []
        self.notes: list[str] = []
        self.stop_after = stop_after

    def planned(self, trials: int) -> None:
        self.trials = trials

    def epoch(self, progress: TrialProgress) -> None:
        self.epochs.append(progress)
        if len(self.epochs) == self.stop_after:
            raise KeyboardInterrupt

    def ended(self, label: str, words: str) -> None:
        self.ends.append(f"{label}: {words}")

    def note(self, message: str) -> None:
        self.notes.append(message)


def probe(
    suite: Suite, settings: SensitivitySettings = LR, listener: Listener | None = None, **options: Any
) -> Listener:
    heard = listener or Listener()
    Runner(probed_cells(suite, settings), settings, Studies(), Tracker(), heard, **options).run()
    return heard


def rows(suite: Suite, settings: SensitivitySettings = LR) -> list[Any]:
    ((found,), _) = collect(probed_cells(suite, settings), Studies())
    return list(found.trials)


def runs(kind: str) -> list[Any]:
    client = MlflowClient(uri())
    experiment = client.get_experiment_by_name("tiny-sensitivity")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], f"tags.kind = '{kind}'"))


@pytest.fixture
def suite(store: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> Suite:
    """A suite whose networks are all a tiny one: what is tested here is around the training."""

    def tiny(cell: Cell, num_classes: int, recipe: Recipe, channels: int, root: Path) -> Built:
        torch.manual_seed(cell.seed)
        return Built(
            nn.Sequential(
                *(nn.Conv2d(channels, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU()),
                *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
            ),
            "tiny",
        )

    monkeypatch.setattr("mobilebench.sensitivity.trial.build", tiny)
    return grids.write(project)


def test_every_point_becomes_a_trial_and_a_run_that_no_score_takes(suite: Suite) -> None:
    heard = probe(suite)
    assert heard.trials == 3
    trials = rows(suite)
    assert [t.state for t in trials] == ["complete"] * 3
    assert sorted(t.values["lr"] for t in trials) == [1e-4, 1e-3, 1e-2]
    (parent,) = runs("study")
    found = {run.data.tags["optuna.trial"]: run for run in runs("trial")}
    for trial in trials:
        run = found[str(trial.number)]
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.metrics["final_val_top1"] == trial.val_top1
        assert float(run.data.params["lr"]) == trial.values["lr"]
        assert not [key for key in run.data.metrics if "test" in key]
    assert MlflowClient(uri()).get_experiment_by_name("tiny") is None


def test_a_second_call_trains_nothing(suite: Suite) -> None:
    probe(suite)
    heard = probe(suite)
    assert (heard.trials, heard.epochs) == (0, [])
    assert len(runs("trial")) == 3


def test_test_images_and_labels_are_never_read(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Poison in every test row changes nothing, to the last bit; a label of 99 would stop any trainer that saw it."""

    def poisoned(path: Path) -> Packed:
        packed = open_packed(path)
        test = packed.rows("test")
        assert len(test)
        images, labels = np.array(packed.images), packed.labels.copy()
        images[test] = np.random.default_rng(1).integers(0, 256, images[test].shape)
        labels[test] = 99
        return Packed(packed.path, packed.meta, images, labels)  # type: ignore[arg-type]

    one = replace(LR, values={"lr": (1e-2,)})
    clean = probe(suite, one, state=TRIALS / "clean")
    monkeypatch.setattr(worker, "open_packed", poisoned)
    studies = Studies(f"sqlite:///{TRIALS.parent / 'poisoned.db'}")
    listener = Listener()
    Runner(probed_cells(suite, one), one, studies, Tracker(), listener, state=TRIALS / "poisoned").run()
    assert len(listener.epochs) == 4
    assert [(e.train_loss, e.val_top1) for e in listener.epochs] == [(e.train_loss, e.val_top1) for e in clean.epochs]


def test_a_trial_reads_the_validation_images_and_has_no_test(suite: Suite) -> None:
    (probed,) = probed_cells(suite, LR)
    data = worker.probe_data(probed.packed, probed.cut)
    test = set(probed.packed.rows("test"))
    assert data.test is None
    assert data.val is not None
    assert not test & (set(data.train.rows) | set(data.val.rows))
    assert set(data.val.rows) == set(probed.cut.val)


def test_a_diverged_trial_is_recorded_with_its_reason_and_the_others_go_on(suite: Suite) -> None:
    settings = replace(LR, values={"lr": (1e30, 1e-2)})
    probe(suite, settings)
    by_lr = {trial.values["lr"]: trial for trial in rows(suite, settings)}
    assert by_lr[1e30].state == "failed"
    assert "DivergedError: the loss became" in by_lr[1e30].reason
    assert [by_lr[lr].state for lr in (1e-3, 1e-2)] == ["complete"] * 2
    (failed,) = [run for run in runs("trial") if run.info.status == "FAILED"]
    assert failed.data.tags["reason"].startswith("DivergedError")
    assert probe(suite, settings).trials == 0
    assert probe(suite, settings, retry_failed=True).trials == 1


def test_ctrl_c_ends_the_run_as_killed_and_the_next_call_carries_it_on(suite: Suite) -> None:
    with pytest.raises(KeyboardInterrupt):
        probe(suite, listener=Listener(stop_after=3))
    assert [t.state for t in rows(suite)].count("complete") == 1
    assert sorted(run.info.status for run in runs("trial")) == ["FINISHED", "KILLED"]
    heard = probe(suite)
    assert heard.trials == 2
    assert heard.epochs[0].epoch == 2  # of the second trial, whose first epoch was done
    assert [t.state for t in rows(suite)] == ["complete"] * 3
    assert [run.info.status for run in runs("trial")] == ["FINISHED"] * 3


def test_kill_9_of_a_probe_with_two_workers_loses_nothing_and_repeats_nothing(project: Path, store: Path) -> None:
    suite = grids.write(project, epochs=EPOCHS)
    command = [sys.executable, "-c", KILLED, "sensitivity", "--model", "shufflenet", "--dataset", "blobs"]
    command += ["--space", "lr=0.0001:0.01:0.02", "--jobs", "2"]
    settings = replace(LR, values={"lr": (1e-4, 1e-2, 2e-2)})
    killed = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, timeout=300)
    assert killed.returncode == -signal.SIGKILL
    journals = [Journal(path.parent) for path in TRIALS.glob("*/*/journal.jsonl")]
    _wait(lambda: not any(journal.is_locked() for journal in journals))  # the workers ended with their parent
    before = {row.number: row for row in rows(suite, settings)}
    lines = {journal.folder: len(journal.events()) for journal in journals}
    done = {number for number, row in before.items() if row.state == "complete"}
    cut_short = {number for number, row in before.items() if row.state == "running"}
    assert done
    assert cut_short

    assert probe(suite, settings).trials == len(before) - len(done)
    after = {row.number: row for row in rows(suite, settings)}
    assert set(after) == set(before)
    assert {row.state for row in after.values()} == {"complete"}
    assert {n: after[n] for n in done} == {n: before[n] for n in done}
    assert len(runs("trial")) == len(after)
    for journal in journals:
        steps = [event.step for event in journal.events() if isinstance(event, Epoch)]
        assert steps == list(range(1, EPOCHS + 1))  # each epoch once, also of those cut short
    finished = [j for j in journals if isinstance(j.events()[lines[j.folder] - 1], Finish)]
    assert all(len(journal.events()) == lines[journal.folder] for journal in finished)


def _wait(ready: Callable[[], bool]) -> None:
    for _ in range(1200):
        if ready():
            return
        time.sleep(0.1)
    pytest.fail("nothing happened in two minutes")


def test_a_pruned_trial_ends_early_and_is_counted_apart(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(LR, prune="asha")
    monkeypatch.setattr(Pruning, "judge", lambda self, epochs: lambda epoch, top1: self.trial_id == 2)
    probe(suite, settings)
    trials = rows(suite, settings)
    assert [row.state for row in trials] == ["complete", "pruned", "complete"]
    assert trials[1].val_top1 is None
    (pruned,) = [run for run in runs("trial") if "pruned" in run.data.tags]
    assert pruned.data.tags["pruned"] == "after epoch 1"
    assert probe(suite, settings).trials == 0


def test_a_probe_of_a_changed_protocol_begins_anew_and_the_old_study_is_named(suite: Suite) -> None:
    one = replace(LR, values={"lr": (1e-2,)})
    probe(suite, one)
    changed = replace(suite, protocol=replace(suite.protocol, label_smoothing=0.2))
    with pytest.raises(StudyError) as error:
        collect(probed_cells(changed, one), Studies())
    assert probed_cells(suite, one)[0].study_name in str(error.value)
    assert probed_cells(suite, one)[0].identity.recipe_hash in str(error.value)
    heard = probe(changed, one)
    assert heard.trials == 2
    assert any(
        "left alone" in note and probed_cells(suite, one)[0].identity.recipe_hash in note for note in heard.notes
    )


def test_a_seed_is_a_study_of_its_own(suite: Suite) -> None:
    two = replace(LR, values={"lr": (1e-2,)}, seeds=(0, 1))
    probe(suite, two)
    ((found,), _) = collect(probed_cells(suite, two), Studies())
    assert found.seeds == (0, 1)
    assert {len(values) for values in found.accuracies().values()} == {2}


def test_a_dataset_of_several_labels_is_not_probed(suite: Suite, project: Path) -> None:
    several = replace(suite, datasets=("toy_scenes",))
    prepare(
        "toy_scenes", policy=suite.protocol.data, raw_dir=project / "raw", out_dir=project / "data/packed", workers=1
    )
    with pytest.raises(UserError, match="toy_scenes has several labels per image, and a probe reads validation top-1"):
        probed_cells(several, LR)
