"""A cell whose settings are chosen on val: its trials, what becomes of the best, killed, diverged, delivered late."""

from __future__ import annotations

import contextlib
import csv
import json
import multiprocessing
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grids
import pytest
from click.testing import CliRunner
from mlflow.tracking import MlflowClient

from mobilebench.analysis.collect import score_experiment
from mobilebench.analysis.leftovers import leftovers
from mobilebench.cli import main
from mobilebench.config.protocol import Override
from mobilebench.config.suite import Cell
from mobilebench.evaluation.predictions import load_predictions
from mobilebench.execution import grid
from mobilebench.execution.cell_run import CellFailedError, CellRun
from mobilebench.execution.context import open_context
from mobilebench.execution.delivery import sync_journals
from mobilebench.execution.estimate import device_here
from mobilebench.execution.executors.serial import SerialExecutor
from mobilebench.execution.grid import CellJob, TrialJob, run_cells
from mobilebench.execution.plan import plan
from mobilebench.execution.progress import NullListener
from mobilebench.execution.suites import open_suite
from mobilebench.execution.tuned_cell import TEST_CHOICE, TRIALS, TunedCellRun, cell_run
from mobilebench.runs.events import Epoch, Fail, Finish, Start
from mobilebench.runs.journal import Journal
from mobilebench.runs.records import read_results
from mobilebench.runs.status import grid_states
from mobilebench.runs.trials import ends_of
from mobilebench.system.layout import RESULTS, STATE
from mobilebench.tracking import OfflineTracker, Tracker, TrackingError, uri
from mobilebench.training import Trainer, checkpoint
from mobilebench.training.errors import DivergedError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mobilebench.execution.context import RunContext
    from mobilebench.execution.executors.base import Outcome
    from mobilebench.runs.events import Event
    from mobilebench.training import EpochResult

CELL = Cell("shufflenet", "blobs", 0)
BEST = "{best_val: {metric: nll}}"  # told apart where top-1 of eight images is not
THREE = "{space: {lr: [3.0e-2, 3.0e-3, 1.0e-6]}}"

# The command ends itself, as SIGKILL would end it, at the first epoch it hears of: from outside it might end before.
KILLED = """
import os, signal
from mobilebench.cli import main
from mobilebench.cli.console import GridProgress
GridProgress.trial_epoch = lambda self, *epoch: os.kill(os.getpid(), signal.SIGKILL)
main()
"""


class Killed(BaseException):
    """Ends a call as SIGKILL does: nothing hears it but what closes files and locks."""


class Heard(NullListener):
    def __init__(self) -> None:
        self.planned: list[Mapping[int, int]] = []
        self.epochs: list[tuple[int, int]] = []
        self.ended: list[str] = []
        self.notes: list[str] = []

    def trials_planned(self, cell: Cell, epochs: Mapping[int, int]) -> None:
        self.planned.append(dict(epochs))

    def trial_epoch(self, cell: Cell, trial: int, result: EpochResult, epochs: int) -> None:
        self.epochs.append((trial, result.epoch))

    def trial_ended(self, cell: Cell, trial: int, words: str) -> None:
        self.ended.append(words)

    def note(self, cell: Cell, message: str) -> None:
        self.notes.append(message)


def offline(project: Path, tuning: str = THREE, selection: str = BEST, **options: Any) -> RunContext:
    suite = grids.write(project, val=0.25, selection=selection, tuning=tuning, **options)
    return open_context(suite, "blobs", OfflineTracker())


def result(folder: Path = Path()) -> tuple[bytes, bytes, dict[str, Any], dict[str, float], list[dict[str, Any]]]:
    """What a finished cell is: logits of test and val, what was chosen, its metrics without times, its curves."""
    (journal,) = (Journal(path.parent) for path in (folder / STATE).glob("shufflenet*/journal.jsonl"))
    events = journal.events()
    finish = events[-1]
    assert isinstance(finish, Finish)
    test, val = (load_predictions(journal.artifacts / f"predictions/{split}.npz") for split in ("test", "val"))
    timed = ("seconds", "joules", "per_second")
    metrics = {key: value for key, value in finish.metrics.items() if not any(word in key for word in timed)}
    curves = [
        {key: value for key, value in event.metrics.items() if not any(word in key for word in timed)}
        for event in events
        if isinstance(event, Epoch)
    ]
    return test.logits.tobytes(), val.logits.tobytes(), finish.params or {}, metrics, curves


@pytest.fixture(scope="session")
def unbroken(made_once: Callable[..., Path], empty_store: Path) -> Path:
    """A project with one tuned cell that nobody disturbed, and its store."""

    def make(folder: Path) -> None:
        shutil.copy(empty_store, folder / "mlflow.db")
        context = replace(offline(folder), tracker=Tracker())
        assert run_cells(context, [CELL]) == []

    return made_once("tuned", make)


@pytest.fixture
def tuned(unbroken: Path, project: Path, new_process: Callable[[], None]) -> RunContext:
    """Its context, in a copy that is the current folder."""
    shutil.copytree(unbroken, project, dirs_exist_ok=True)
    new_process()
    return open_context(open_suite(), "blobs", Tracker())


def runs(kind: str) -> list[Any]:
    client = MlflowClient(uri())
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], f"tags.kind = '{kind}'"))


def test_the_best_trial_on_val_is_the_cell(tuned: RunContext) -> None:
    journal = tuned.journal(CELL)
    ends = ends_of(journal)
    chosen = min(ends, key=lambda number: ends[number].value or 0)
    assert len({end.value for end in ends.values()}) == 3
    finish = journal.last(Finish)
    assert finish is not None
    assert finish.metrics["chosen_trial"] == chosen
    lr, own = [3e-2, 3e-3, 1e-6][chosen - 1], tuned.suite.protocol
    assert finish.params == {"tuned.lr": lr, "tuned.min_lr": pytest.approx(own.min_lr * lr / own.lr)}
    assert finish.metrics["final_val_loss"] == pytest.approx(ends[chosen].value, rel=1e-6)
    assert finish.metrics["kept_epoch"] == ends[chosen].epoch
    assert finish.metrics["trials"] == 3
    assert finish.metrics["train_seconds"] == sum(end.seconds for end in ends.values())
    assert finish.metrics["chosen_trial_seconds"] == ends[chosen].seconds
    epochs = [event.metrics for event in journal.events() if isinstance(event, Epoch)]
    assert epochs == [event.metrics for event in journal.trial(chosen).events() if isinstance(event, Epoch)]
    rows = list(csv.DictReader((journal.artifacts / TRIALS).open()))
    assert [row["chosen"] for row in rows] == ["yes" if number == chosen else "" for number in ends]
    assert [float(row["val_nll"]) for row in rows] == [end.value for end in ends.values()]


def test_choosing_changes_no_number_of_what_is_chosen(tuned: RunContext, tmp_path: Path) -> None:
    """The cell is, bit for bit, the one that is trained once with the settings that were chosen."""
    found = result()
    plain = open_suite()
    recipe = cell_run(tuned, CELL).recipe
    lr = found[2]["tuned.lr"]
    protocol = replace(plain.protocol, tuning=None, lr=lr, min_lr=recipe.min_lr * (lr / recipe.lr))
    shutil.rmtree(STATE)
    CellRun(replace(tuned, suite=replace(plain, protocol=protocol), tracker=OfflineTracker()), CELL).train_locked()
    once = result()
    assert once[:2] == found[:2]
    assert once[4] == found[4]
    assert once[3].items() <= found[3].items()


def test_trials_are_runs_below_the_cells_that_nothing_takes(tuned: RunContext) -> None:
    (cell,), trials = runs("cell"), runs("trial")
    assert len(trials) == 3
    assert cell.data.params["tuned.lr"] == str((result()[2])["tuned.lr"])
    assert {run.data.tags["mlflow.parentRunId"] for run in trials} == {cell.info.run_id}
    assert {run.info.status for run in trials} == {"FINISHED"}
    assert {run.data.params["lr"] for run in trials} == {"0.03", "0.003", "1e-06"}
    assert not any(key.startswith(("final_test", "test_")) for run in trials for key in run.data.metrics)
    assert tuned.tracker.has_artifact(cell.info.run_id, TRIALS)
    records = tuned.tracker.records("tiny")
    assert [record.run_id for record in records] == [cell.info.run_id]
    assert records == read_results(RESULTS)
    scored = score_experiment(tuned.tracker, "tiny", lam=0.5, anchors="grid", allow_partial=True, results=RESULTS)
    assert [record.run_id for record in scored.checked.records] == [cell.info.run_id]
    assert scored.checked.ignored == 0
    with pytest.raises(TrackingError, match="is no run of a cell"):
        tuned.tracker.run(trials[0].info.run_id)
    assert tuned.tracker.finished("tiny", trials[0].data.tags["cell_identity"]) == records[0]


def test_test_is_read_once_and_by_no_trial(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = offline(project)
    real, given, read = Trainer._predict, Trainer.__init__, list[str]()
    has_test: list[bool] = []

    def watched(self: Trainer, split: str, size: int) -> Any:
        read.append(split)
        return real(self, split, size)

    def init(self: Trainer, model: Any, data: Any, *rest: Any, **options: Any) -> None:
        has_test.append(data.test is not None)
        given(self, model, data, *rest, **options)

    monkeypatch.setattr(Trainer, "_predict", watched)
    monkeypatch.setattr(Trainer, "__init__", init)
    cell_run(context, CELL).complete()
    assert has_test == [False, False, False, True]
    assert read == [*["val"] * 6, "val", "test"]
    assert TEST_CHOICE not in result()[3]


@pytest.mark.parametrize("selection", ["last_epoch", BEST])
def test_what_choosing_on_test_would_have_gained_is_known_where_test_is_read_along(
    project: Path, selection: str
) -> None:
    suite = grids.write(project, val=0.25, selection=selection, tuning=THREE)
    suite = replace(suite, runtime=replace(suite.runtime, test_curve=True))
    cell_run(open_context(suite, "blobs", OfflineTracker()), CELL).complete()
    (journal,) = (Journal(path.parent) for path in STATE.glob("*/journal.jsonl"))
    ends, finish = ends_of(journal), journal.last(Finish)
    assert finish is not None
    tests = {number: end.test for number, end in ends.items()}
    own = tests[int(finish.metrics["chosen_trial"])]
    assert own == finish.metrics["final_test_top1"]
    assert finish.metrics[TEST_CHOICE] == max(test or 0 for test in tests.values()) - (own or 0)
    rows = list(csv.DictReader((journal.artifacts / TRIALS).open()))
    assert [float(row["test_top1"]) for row in rows] == list(tests.values())


def test_the_last_epochs_reading_chooses_where_the_last_is_kept(project: Path) -> None:
    cell_run(offline(project, selection="last_epoch"), CELL).complete()
    (journal,) = (Journal(path.parent) for path in STATE.glob("*/journal.jsonl"))
    ends = ends_of(journal)
    for number, end in ends.items():
        curve = [e.metrics["val_top1"] for e in journal.trial(number).events() if isinstance(e, Epoch)]
        assert (end.value, end.epoch) == (curve[-1], 2)
    finish = journal.last(Finish)
    assert finish is not None
    assert finish.metrics["final_val_top1"] == max(end.value or 0 for end in ends.values())
    assert not any("test" in key for event in journal.events() if isinstance(event, Epoch) for key in event.metrics)


STEPS = 30  # appended lines and saved checkpoints of the grid above; one more is never reached


@pytest.mark.parametrize("step", [2, 17, STEPS])
def test_killed_before_any_step_it_ends_as_unbroken(
    unbroken: Path, project: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    context = offline(project)
    left = step

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def work(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed
            return real(*arguments, **options)

        return work

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Journal, "append", counted(Journal.append))
        patched.setattr(checkpoint, "save", counted(checkpoint.save))
        with pytest.raises(Killed):
            run_cells(context, [CELL])
    before = {number: end for path in STATE.glob("*") for number, end in ends_of(Journal(path)).items()}
    heard = Heard()
    assert run_cells(replace(context, listener=heard), [CELL]) == []
    assert not {trial for trial, _ in heard.epochs} & set(before)  # what had ended is not trained again
    assert result() == result(unbroken)
    assert not [*STATE.rglob("checkpoint*"), *STATE.rglob("chosen-*"), *STATE.rglob("weights.pt*")]


def test_so_many_steps_there_are(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are more, the test above is to try those too."""
    context, steps = offline(project), []
    append, save = Journal.append, checkpoint.save

    def appended(self: Journal, event: Event) -> None:
        steps.append(event)
        append(self, event)

    def saved(path: Path, state: dict[str, Any]) -> None:
        steps.append(path)
        save(path, state)

    monkeypatch.setattr(Journal, "append", appended)
    monkeypatch.setattr(checkpoint, "save", saved)
    assert run_cells(context, [CELL]) == []
    assert len(steps) == STEPS


def test_a_trial_of_two_phases_goes_on_in_the_second(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    phases = "[{{lr: {}, epochs: 2}}, {{lr: 1.0e-4, epochs: 2, optimizer: sgd, start: best}}]"
    tuning = f"{{space: {{phases: [{phases.format(1e-2)}, {phases.format(1e-3)}]}}}}"
    whole = tmp_path_factory.mktemp("whole")

    class Stop(Heard):
        def trial_epoch(self, cell: Cell, trial: int, result: EpochResult, epochs: int) -> None:
            assert epochs == 4
            if (trial, result.epoch) == (2, 3):
                raise Killed

    with contextlib.chdir(whole):
        assert run_cells(offline(whole, tuning), [CELL]) == []
    context = offline(project, tuning)
    with pytest.raises(Killed):
        run_cells(replace(context, listener=Stop()), [CELL])
    heard = Heard()
    assert run_cells(replace(context, listener=heard), [CELL]) == []
    assert heard.planned == [{2: 1}]
    assert result() == result(whole)


def test_a_killed_call_in_processes_is_carried_on_to_the_same_end(unbroken: Path, project: Path) -> None:
    """SIGKILL on `mobilebench train` with two trials under way; its workers end with it, at their own moment."""
    offline(project, epochs=2)
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("device: cpu,", "device: cpu, cells_per_device: 2,"))
    command = ["train", "blobs", "--model", "shufflenet", "--offline"]
    killed = [sys.executable, "-c", KILLED, *command]
    first = subprocess.run(killed, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300)
    assert first.returncode == -signal.SIGKILL
    for _ in range(50):  # a worker of the first call may still hold its trial: then this one says so and fails
        second = CliRunner().invoke(main, command)
        if second.exit_code == 0 or "is being trained by" not in second.output:
            break
    assert second.exit_code == 0, second.output
    assert result() == result(unbroken)


def diverge_above(monkeypatch: pytest.MonkeyPatch, lr: float) -> None:
    real = Trainer._run_epoch

    def epoch(self: Trainer) -> EpochResult:
        if self.recipe.lr > lr:
            raise DivergedError(self.epoch + 1, 3, float("nan"))
        return real(self)

    monkeypatch.setattr(Trainer, "_run_epoch", epoch)


def test_a_trial_that_diverges_has_no_value_and_is_not_tried_again(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, heard = offline(project), Heard()
    diverge_above(monkeypatch, 1e-2)
    stop = replace(context, listener=heard)
    assert run_cells(stop, [CELL]) == []
    assert "lr=0.03: the loss became nan at epoch 1, step 3" in heard.ended[0]
    _, _, chosen, metrics, _ = result()
    assert (metrics["trials"], metrics["trials_without_value"]) == (3, 1)
    assert chosen["tuned.lr"] != 0.03
    (path,) = STATE.rglob("trials/1/journal.jsonl")
    assert isinstance(Journal(path.parent).events()[-1], Fail)


def test_where_all_diverge_the_cell_fails_and_says_so(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = offline(project)
    diverge_above(monkeypatch, 0)
    ((cell, error),) = run_cells(context, [CELL])
    assert cell == CELL
    expected = (
        "none of the 3 trials has a value of nll on val, so no setting can be chosen; trial 1 (lr=0.03): the loss"
    )
    assert expected in str(error)
    heard = Heard()
    ((_, again),) = run_cells(replace(context, listener=heard), [CELL])
    assert str(again) == str(error)
    assert heard.planned == [{}]
    (failed,) = (state for state in grid_states(context.suite).values() if state.name == "failed")
    assert (failed.label, failed.trials) == ("failed 3/3 trials", (3, 3))


def test_a_metric_that_is_undefined_is_no_value(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = offline(project)
    real = Trainer.read

    def read(self: Trainer, split: str) -> Any:
        found, readings = real(self, split)
        return found, {k: v for k, v in readings.items() if k != "nll" or self.recipe.lr < 1e-2}

    monkeypatch.setattr(Trainer, "read", read)
    heard = Heard()
    assert run_cells(replace(context, listener=heard), [CELL]) == []
    assert heard.ended[0] == "lr=0.03: nll is undefined for what it said of the validation images"
    assert result()[3]["trials_without_value"] == 1


def test_a_trial_that_fails_fails_its_cell_alone_and_the_next_call_goes_on(
    unbroken: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = offline(project)
    real = Trainer._run_epoch

    def epoch(self: Trainer) -> EpochResult:
        if self.recipe.lr == 3e-3 and self.epoch == 1:
            raise RuntimeError("out of memory")
        return real(self)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Trainer, "_run_epoch", epoch)
        ((_, error),) = run_cells(context, [CELL])
    assert "trial 2 (lr=0.003) failed: RuntimeError: out of memory" in str(error)
    heard = Heard()
    assert run_cells(replace(context, listener=heard), [CELL]) == []
    assert heard.planned == [{2: 1, 3: 2}]
    assert result() == result(unbroken)


def test_without_validation_images_nothing_is_trained(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = grids.write(project, tuning=THREE)
    context = open_context(suite, "blobs", OfflineTracker())
    monkeypatch.setattr(Trainer, "_run_epoch", None)
    expected = r"protocol.tuning chooses settings on validation images, and blobs has no val split .* data.val_fraction"
    with pytest.raises(TrainingError, match=expected):
        run_cells(context, suite.cells())
    with pytest.raises(CellFailedError, match=expected):
        cell_run(context, CELL).complete()
    assert not [*STATE.rglob("journal.jsonl")]
    done = CliRunner().invoke(main, ["train", "blobs", "--offline"])
    assert done.exit_code == 2
    assert "blobs has no val split (2 cells are to be tuned)" in done.output


class Shared:
    """Stands in for two processes: the second of two jobs ends first, and each is carried out when it ends."""

    def __init__(self) -> None:
        self.workers = 0
        self.pairs: list[list[str]] = []

    def __call__(self, workers: int) -> Shared:
        self.workers = workers
        return self

    def run(self, jobs: Iterator[Any], on_message: Any) -> Iterator[Outcome[None]]:
        under_way: list[Any] = []
        while True:
            while len(under_way) < 2 and (job := next(jobs, None)) is not None:
                under_way.append(job)
            if not under_way:
                return
            self.pairs.append([job.name for job in under_way])
            yield from SerialExecutor().run([under_way.pop()], on_message)


def test_two_workers_train_two_trials_of_one_cell_and_end_as_one(
    unbroken: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = offline(project)
    suite = replace(context.suite, runtime=replace(context.suite.runtime, cells_per_device=2))
    shared = Shared()
    monkeypatch.setattr(grid, "make_executor", shared)
    name = CELL.name
    assert run_cells(replace(context, suite=suite), [CELL]) == []
    assert shared.workers == 2
    assert shared.pairs[:2] == [[f"{name} trial 1", f"{name} trial 2"], [f"{name} trial 1", f"{name} trial 3"]]
    assert shared.pairs[-1] == [name]
    assert result() == result(unbroken)


def test_in_processes_a_tuned_cell_ends_as_in_one_and_others_are_trained_beside_it(
    unbroken: Path, project: Path
) -> None:
    context = offline(project)
    suite = replace(
        context.suite,
        runtime=replace(context.suite.runtime, cells_per_device=2),
        protocol=replace(context.suite.protocol, overrides=(Override({"tuning": None}, models=("starnet",)),)),
    )
    heard = Heard()
    context = replace(context, suite=suite, listener=heard)
    assert run_cells(context, suite.cells()) == []
    assert sorted(set(heard.epochs)) == [(trial, epoch) for trial in (1, 2, 3) for epoch in (1, 2)]
    assert result() == result(unbroken)
    plain = context.journal(Cell("starnet", "blobs", 0))
    assert plain.last(Finish) is not None
    assert plain.trials() == {}


def test_a_dying_worker_fails_the_cell_and_the_next_call_goes_on(unbroken: Path, project: Path) -> None:
    context = offline(project)
    suite = replace(context.suite, runtime=replace(context.suite.runtime, cells_per_device=2))

    class Killer(Heard):
        def trial_epoch(self, cell: Cell, trial: int, result: EpochResult, epochs: int) -> None:
            if (trial, result.epoch) == (2, 1):
                (victim,) = (p for p in multiprocessing.active_children() if p.name == f"{cell.name} trial 2")
                victim.kill()
                victim.join()

    ((_, error),) = run_cells(replace(context, suite=suite, listener=Killer()), [CELL])
    assert "trial 2 failed" in str(error)
    assert "SIGKILL" in str(error)
    assert run_cells(replace(context, suite=suite), [CELL]) == []
    assert result() == result(unbroken)


@pytest.mark.usefixtures("ctrl_c_raises")
def test_ctrl_c_ends_the_runs_as_killed_and_keeps_their_epochs(unbroken: Path, store: Path, project: Path) -> None:
    context = replace(offline(project), tracker=Tracker())

    class Stop(Heard):
        def trial_epoch(self, cell: Cell, trial: int, result: EpochResult, epochs: int) -> None:
            if (trial, result.epoch) == (2, 1):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_cells(replace(context, listener=Stop()), [CELL])
    assert [run.info.status for run in runs("cell")] == ["KILLED"]
    assert sorted(run.info.status for run in runs("trial")) == ["FINISHED", "KILLED"]
    (state,) = (state for state in grid_states(context.suite).values() if state.name == "interrupted")
    assert (state.label, state.trials) == ("interrupted 1/3 trials", (1, 3))
    shown = CliRunner().invoke(main, ["trials", "shufflenet", "blobs", "--json"])
    assert [row["state"] for row in json.loads(shown.stdout)["trials"]] == ["ended", "interrupted", "waiting"]
    assert "best so far" in CliRunner().invoke(main, ["trials", "shufflenet", "blobs"]).output
    assert run_cells(context, [CELL]) == []
    assert [run.info.status for run in runs("cell")] == ["FINISHED"]
    assert [run.info.status for run in runs("trial")] == ["FINISHED"] * 3
    assert result() == result(unbroken)


def test_trained_offline_it_is_delivered_with_its_trials(store: Path, project: Path) -> None:
    assert run_cells(offline(project), [CELL]) == []
    tracker = Tracker()
    assert sync_journals(STATE, RESULTS, tracker).delivered == 1
    (cell,) = runs("cell")
    assert {run.data.tags["mlflow.parentRunId"] for run in runs("trial")} == {cell.info.run_id}
    assert len(runs("trial")) == 3
    assert sync_journals(STATE, RESULTS, tracker).delivered == 0
    # A store that lost it all, and one that lost a trial's delivery alone.
    MlflowClient(uri()).delete_run(cell.info.run_id)
    assert sync_journals(STATE, RESULTS, tracker).delivered == 1
    (again,) = runs("cell")
    assert again.info.run_id != cell.info.run_id
    assert {run.data.tags["mlflow.parentRunId"] for run in runs("trial")} == {again.info.run_id}
    assert len(runs("trial")) == 3
    next(iter(tracker_journal().trials().values())).forget_delivery()
    assert sync_journals(STATE, RESULTS, tracker).delivered == 1
    assert len(runs("trial")) == 3


def tracker_journal() -> Journal:
    (path,) = STATE.glob("*/journal.jsonl")
    return Journal(path.parent)


@pytest.mark.parametrize(
    "tags",
    [{"kind": "cell"}, {"cell_identity": "0123456789ab"}, {"journal": "' or 1"}],
    ids=lambda tags: next(iter(tags)),
)
def test_what_only_looks_like_a_trial_is_not_delivered(tuned: RunContext, tags: dict[str, str]) -> None:
    """A folder from elsewhere could make a run of a trial's journal that a score takes."""
    trial = tuned.journal(CELL).trial(2)
    trial.rewrite(replace(e, tags=e.tags | tags) if isinstance(e, Start) else e for e in trial.events())
    ((name, error),) = sync_journals(STATE, RESULTS, tuned.tracker).failed
    assert name == tuned.journal(CELL).folder.name
    assert "is not the journal of a trial of" in str(error)
    assert len(runs("cell")) == 1


def test_redo_trains_every_trial_again(tuned: RunContext) -> None:
    cell_run(tuned, CELL).reset()
    assert tuned.journal(CELL).trials() == {}
    heard = Heard()
    before = result_of_unbroken = tuned.tracker.records("tiny")
    assert run_cells(replace(tuned, listener=heard), [CELL]) == []
    assert heard.planned == [{1: 2, 2: 2, 3: 2}]
    (record,) = tuned.tracker.records("tiny")
    assert record.run_id != before[0].run_id
    assert record.metrics == result_of_unbroken[0].metrics
    assert len(runs("trial")) == 6
    assert len(runs("superseded cell")) == 1


def test_a_renamed_experiment_takes_cell_and_trials_along(tuned: RunContext) -> None:
    renamed = replace(tuned, suite=replace(tuned.suite, experiment="other"))
    heard = Heard()
    assert run_cells(replace(renamed, listener=heard), [CELL]) == []
    assert heard.epochs == []
    client = MlflowClient(uri())
    found = client.search_runs([client.get_experiment_by_name("other").experiment_id])
    assert sorted(run.data.tags["kind"] for run in found) == ["cell", "trial", "trial", "trial"]
    (cell,) = (run for run in found if run.data.tags["kind"] == "cell")
    assert {run.data.tags.get("mlflow.parentRunId", cell.info.run_id) for run in found} == {cell.info.run_id}


@pytest.mark.parametrize("to_its_end", [False, True])
def test_a_cell_finished_elsewhere_is_taken_over_and_trials_here_give_way(tuned: RunContext, to_its_end: bool) -> None:
    (record,) = read_results(RESULTS)
    shutil.rmtree(STATE)
    shutil.rmtree(RESULTS)
    here = replace(tuned, tracker=OfflineTracker())

    class Stop(Heard):
        def trial_ended(self, cell: Cell, trial: int, words: str) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_cells(replace(here, listener=Stop()), [CELL])
    assert len(tuned.journal(CELL).trials()) == 1
    if to_its_end:
        assert run_cells(here, [CELL]) == []
    heard = Heard()
    assert run_cells(replace(tuned, listener=heard), [CELL]) == []
    assert heard.epochs == []
    assert read_results(RESULTS) == [record]
    if to_its_end:
        assert sync_journals(STATE, RESULTS, tuned.tracker).delivered == 0
    assert len(runs("trial")) == 3
    assert not [*STATE.rglob("weights.pt"), *STATE.rglob("checkpoint*")]
    shown = CliRunner().invoke(main, ["trials", "shufflenet", "blobs"])
    assert shown.exit_code == 0, shown.output


def test_status_clean_and_trials_know_of_trials(tuned: RunContext) -> None:
    states = grid_states(tuned.suite)
    assert [state.name for state in states.values()] == ["finished", "waiting"]
    (record,) = read_results(RESULTS)
    assert record.train_seconds is not None
    left = plan(tuned.suite, states, device_here("cpu"), lambda *_: record.macs)  # as if both networks had as many
    assert left.seconds == pytest.approx(record.train_seconds)  # three trials, as the first had
    assert left.seconds_at(3) == pytest.approx(record.train_seconds / 3)
    journal = tuned.journal(CELL)
    (journal.trial(3).folder / "weights.pt").write_bytes(bytes(100))
    (found,) = leftovers(tuned.suite, tuned.tracker)
    assert (found.kind, found.bytes) == ("weights of a finished cell's trial", 100)
    cell_run(tuned, CELL).is_settled()
    assert leftovers(tuned.suite, tuned.tracker) == []

    here = json.loads(CliRunner().invoke(main, ["trials", "shufflenet", "blobs", "--json"]).stdout)
    assert [row["state"] for row in here["trials"]] == ["ended"] * 3
    shutil.rmtree(STATE)
    there = json.loads(CliRunner().invoke(main, ["trials", "shufflenet", "blobs", "--json"]).stdout)
    assert there["source"] == f"run {record.run_id}"
    exact = [{**row, "seconds": None} for row in here["trials"]]
    assert [{**row, "seconds": None} for row in there["trials"]] == exact
    params = Path("params.yaml")
    params.write_text(params.read_text().replace("3.0e-3", "4.0e-3"))
    other = CliRunner().invoke(main, ["trials", "shufflenet", "blobs"])
    assert f"no trial of {CELL.name} was trained with the present settings: its result is of run" in other.output
    none = CliRunner().invoke(main, ["trials", "starnet", "blobs"])
    assert "no trial of starnet.blobs.0 was trained here" in none.output


def test_weights_that_are_gone_are_named(project: Path) -> None:
    context = offline(project)
    run = TunedCellRun(context, CELL)
    run.begin()
    for number in run.open_trials():
        run.train_trial(number)
    assert len([*STATE.rglob("weights.pt")]) == 3
    run.forget_losers()
    (kept,) = STATE.rglob("weights.pt")
    kept.unlink()
    with pytest.raises(CellFailedError, match=r"the weights of trial \d, the best on val, are gone .* --redo"):
        run.train_locked()


def test_a_cell_that_another_call_tunes_is_left_to_it(project: Path) -> None:
    context = offline(project)
    with context.journal(CELL).locked():
        ((_, error),) = run_cells(context, [CELL])
    assert "is being trained by process" in str(error)
    assert not [*STATE.rglob("trials/*")]


def test_jobs_are_data(project: Path) -> None:
    import pickle

    context = offline(project)
    identity = context.identity(CELL)
    for job in (TrialJob(context.suite, identity, Path(), 2), CellJob(context.suite, identity, Path())):
        assert pickle.loads(pickle.dumps(job)) == job
