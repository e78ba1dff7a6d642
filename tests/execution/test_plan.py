"""What is left of a grid: every number here is worked out by hand beside it.

digits has 1437 train images, toy_shapes 320. Cells of digits are 10 epochs at 32 px, those of toy_shapes 5 at 64 px.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mobilebench.config.suite import Cell
from mobilebench.datasets.packing.prepare import prepare
from mobilebench.execution.estimate import device_here, device_of
from mobilebench.execution.plan import plan
from mobilebench.execution.suites import open_suite
from mobilebench.models.cost.cost_file import TrainingCost
from mobilebench.models.meta import count_macs
from mobilebench.runs.events import DatasetInput, Epoch, Finish, Interrupt, Start
from mobilebench.runs.journal import Journal
from mobilebench.runs.records import Record, write_result
from mobilebench.runs.status import CellState, grid_states
from mobilebench.system.layout import PACKED, RESULTS, STATE
from mobilebench.system.provenance import processor

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mobilebench.config.recipe import Recipe
    from mobilebench.config.suite import Suite
    from mobilebench.execution.plan import CellPlan

PARAMS = """
suite: two
experiment: two
models: [shufflenet, starnet, mobilenet]
datasets: [digits, toy_shapes]
seeds: [0, 1]
protocol:
  epochs: 10
  warmup_epochs: 1
  resolution: 32
  batch_size: 16
  overrides:
    - {datasets: [toy_shapes], set: {epochs: 5, resolution: 64}}
runtime: {device: cpu}
"""
HERE = "Some CPU x8"
DIGITS, SHAPES = Cell("shufflenet", "digits", 0), Cell("shufflenet", "toy_shapes", 0)


@pytest.fixture
def suite(project: Path) -> Suite:
    (project / "params.yaml").write_text(PARAMS)
    return open_suite()


def finish(suite: Suite, cell: Cell, seconds: float, macs: int | None = None, tags: Mapping[str, str] = {}) -> Record:
    """Write a finished cell's result and, where tags say where it was trained, its journal."""
    recipe = suite.protocol.recipe_hash_for(cell.model, cell.dataset)
    record = Record(
        "a", cell.model, cell.dataset, cell.seed, "", "d", 1, "FINISHED", {"top1": 0.5}, macs=macs,
        train_seconds=seconds, recipe_hash=recipe, network="n",
    )  # fmt: skip
    write_result(RESULTS, record)
    if tags:
        journal = Journal(STATE / record.identity.name)
        journal.append(Start(experiment="two", run_name="", tags=dict(tags), params={}, dataset=INPUT))
        ended = {key: tags[key] for key in ("device", "gpu") if key in tags}
        journal.append(Finish(step=10, metrics={"train_seconds": seconds}, tags=ended))
    return record


INPUT = DatasetInput(name="digits", digest="", source="", profile="{}")
CPU = {"cpu": HERE, "device": "cpu"}


def planned(suite: Suite, *cells: Cell, states: Mapping[Cell, CellState] | None = None) -> list[CellPlan]:
    asked = states or {cell: CellState("waiting", "") for cell in cells}
    return list(plan(suite, asked, HERE).cells)


def test_finished_runs_of_the_same_cell_come_first(suite: Suite) -> None:
    finish(suite, DIGITS, 100, 2, CPU)
    finish(suite, SHAPES, 7, 2, CPU)
    (found,) = planned(suite, replace(DIGITS, seed=1))
    assert (found.seconds, found.basis, found.device_known) == (pytest.approx(100), "same cell", True)
    assert (found.epochs, found.epochs_left, found.trainings) == (10, 10, 1)
    finish(suite, replace(DIGITS, seed=1), 50, 2, CPU)
    (found,) = planned(suite, DIGITS)
    assert found.seconds == pytest.approx(75)  # the mean of both


def test_the_same_model_elsewhere_goes_by_images_pixels_and_epochs(suite: Suite) -> None:
    finish(suite, DIGITS, 100, None, CPU)
    (found,) = planned(suite, SHAPES)
    # 100 s x 320 / 1437 images x (64 / 32)² pixels x 5 / 10 epochs
    assert (found.seconds, found.basis) == (pytest.approx(100 * 320 / 1437 * 4 * 0.5), "other dataset")


def test_other_models_go_by_multiply_adds_images_and_epochs(suite: Suite) -> None:
    finish(suite, DIGITS, 100, 2_000_000, CPU)
    other = Cell("starnet", "digits", 0), Cell("starnet", "toy_shapes", 0)
    assert [found.basis for found in planned(suite, *other)] == ["unknown", "unknown"]
    costs("starnet,10,32,3000000,,,", "starnet,4,64,12000000,,,")
    assert [found.basis for found in planned(suite, *other)] == ["unknown", "unknown"]  # not as `models profile` writes
    costs("starnet,10,32,3000000,64,1,1", "starnet,4,64,12000000,64,1,1")
    found = {plan.cell: plan for plan in planned(suite, *other)}
    assert {plan.basis for plan in found.values()} == {"other models"}
    assert found[other[0]].seconds == pytest.approx(100 * 3 / 2)
    assert found[other[1]].seconds == pytest.approx(100 * 12 / 2 * 320 / 1437 * 5 / 10)
    assert found[other[0]].macs == pytest.approx(3_000_000 * 1437 * 10)
    # A run's own count, from 32 to 64 px in proportion to the pixels, before the table's.
    finish(suite, replace(other[0], seed=1), 1, 4_000_000)
    shapes = {plan.cell: plan.macs for plan in planned(suite, *other)}[other[1]]
    assert shapes == pytest.approx(16_000_000 * 320 * 5)


def test_multiply_adds_are_counted_where_nothing_says_them(suite: Suite) -> None:
    asked = []

    def count(model: str, recipe: Recipe) -> int:
        asked.append((model, recipe.resolution))
        return 6_000_000

    finish(suite, DIGITS, 100, 2_000_000, CPU)
    waiting = CellState("waiting", "")
    (found,) = plan(suite, {Cell("starnet", "digits", seed): waiting for seed in (0,)}, HERE, count).cells
    assert (found.seconds, asked) == (pytest.approx(300), [("starnet", 32)])


def test_runs_of_another_device_say_nothing_and_those_of_an_unknown_one_little(suite: Suite) -> None:
    finish(suite, DIGITS, 1, 2, {"cpu": HERE, "device": "cuda:0", "gpu": "NVIDIA H200"})
    seed_1 = replace(DIGITS, seed=1)
    left = plan(suite, {seed_1: CellState("waiting", "")}, HERE)
    assert (left.cells[0].seconds, left.elsewhere, left.known) == (None, ("NVIDIA H200",), [])
    assert plan(suite, {seed_1: CellState("waiting", "")}, "NVIDIA H200").seconds == 1
    finish(suite, replace(SHAPES, seed=1), 5, 2)  # taken over from a server: no journal here
    (found,) = planned(suite, SHAPES)
    assert (found.seconds, found.basis, found.device_known) == (5, "same cell", False)
    finish(suite, replace(SHAPES, model="starnet"), 30, 2, CPU)  # on a like device: before what is of any
    (found,) = planned(suite, SHAPES)
    assert (found.seconds, found.basis, found.device_known) == (30, "other models", True)


def test_runs_of_another_recipe_say_nothing(suite: Suite, project: Path) -> None:
    finish(suite, DIGITS, 100, 2, CPU)
    (project / "params.yaml").write_text(PARAMS.replace("epochs: 10", "epochs: 20"))
    (found,) = planned(open_suite(), replace(DIGITS, seed=1))
    assert found.basis == "unknown"


def test_a_run_that_waits_to_be_delivered_is_gone_by(suite: Suite) -> None:
    recipe = suite.protocol.recipe_hash_for("shufflenet", "digits")
    journal = Journal(STATE / f"{DIGITS.name}-0123")
    journal.append(Start(experiment="two", run_name="", tags=CPU | {"recipe_hash": recipe}, params={}, dataset=INPUT))
    journal.append(Epoch(step=1, metrics={}))
    assert planned(suite, replace(DIGITS, seed=1))[0].basis == "unknown"
    journal.append(Finish(step=10, metrics={"train_seconds": 80.0, "macs": 2.0}, tags={"device": "cpu"}))
    states = {DIGITS: CellState("undelivered", ""), replace(DIGITS, seed=1): CellState("waiting", "")}
    last = planned(suite, states=states)
    assert [(found.seconds, found.basis, found.epochs_left) for found in last] == [
        (80, "same cell", 10),
        (0, "trained", 0),
    ]


def test_the_longest_is_first_and_before_it_what_may_be_longer(suite: Suite) -> None:
    finish(suite, DIGITS, 100, 2, CPU)
    states = {
        replace(DIGITS, seed=1): CellState("interrupted", "", epochs_left=4),  # 40 s
        SHAPES: CellState("waiting", ""),  # 44.5 s, see above
        Cell("starnet", "digits", 0): CellState("waiting", ""),
        DIGITS: CellState("finished", ""),
    }
    left = plan(suite, states, HERE)
    assert [found.cell.name for found in left.cells] == [
        "starnet.digits.0",
        "shufflenet.toy_shapes.0",
        "shufflenet.digits.1",
    ]
    assert [found.cell.name for found in left.unknown] == ["starnet.digits.0"]
    assert left.seconds == pytest.approx(40 + 100 * 320 / 1437 * 2)
    assert left.cells[2].epochs_left == 4
    # Without any run, by multiply-adds: 3 M x 1437 x 10 before 12 M x 320 x 5.
    (RESULTS / "cells/digits/shufflenet.digits.0.json").unlink()
    costs("starnet,10,32,3000000,64,1,1", "starnet,4,64,12000000,64,1,1")
    order = planned(
        suite, Cell("starnet", "toy_shapes", 0), Cell("starnet", "digits", 0), Cell("mobilenet", "digits", 0)
    )
    assert [found.cell.name for found in order] == ["mobilenet.digits.0", "starnet.digits.0", "starnet.toy_shapes.0"]


def test_hours_side_by_side(suite: Suite) -> None:
    finish(suite, DIGITS, 30, None, CPU)
    finish(suite, SHAPES, 10, None, CPU)
    waiting = CellState("waiting", "")
    states = {Cell("shufflenet", dataset, seed): waiting for dataset in suite.datasets for seed in (0, 1)}
    left = plan(suite, states, HERE)
    assert left.seconds == left.seconds_at(1) == 80  # 30 + 30 + 10 + 10
    assert left.seconds_at(2) == 40  # 30 + 10, twice
    assert left.seconds_at(3) == 30  # 30, 30, 10 + 10
    two_trials = replace(left, cells=tuple(replace(cell, trainings=2) for cell in left.cells))
    assert two_trials.seconds_at(4) == 20  # 15 + 5, four times


def test_memory_is_that_of_the_cells_batch(suite: Suite) -> None:
    costs("shufflenet,10,32,5,64,1000,10", "shufflenet,10,224,5,64,9000,90")
    digits, shapes = (planned(suite, cell)[0] for cell in (DIGITS, SHAPES))
    assert digits.memory_bytes == 1000 - 48 * 10  # of 64 images, and the cell's batch is 16
    assert shapes.memory_bytes is None  # not profiled at 64 px
    assert TrainingCost("a", "32", 5, 64, 1000, 10).bytes_at(128) == 1640


def test_data_is_counted_by_dataset_with_what_a_derived_one_is_made_of(suite: Suite, project: Path) -> None:
    text = PARAMS.replace("[digits, toy_shapes]", "[toy_shapes, few]")
    (project / "params.yaml").write_text(text + "data_sources: {few: {of: digits, per_class: 2}}\n")
    own = open_suite()
    prepare("digits", policy=own.protocol.data, raw_dir=project / "data/raw", out_dir=PACKED, workers=1)
    states = {
        Cell("starnet", "few", 0): CellState("waiting", ""),
        Cell("starnet", "few", 1): CellState("undelivered", ""),
        Cell("mobilenet", "few", 1): CellState("finished", ""),
        Cell("starnet", "toy_shapes", 0): CellState("waiting", ""),
    }
    few, shapes, digits = plan(own, states, HERE).data
    assert (few.dataset, few.is_prepared, few.to_train, few.to_deliver, few.finished) == ("few", False, 1, 1, 1)
    assert (shapes.is_prepared, shapes.packed_bytes, shapes.to_train) == (False, 0, 1)
    assert (digits.dataset, digits.is_parent, digits.is_prepared, digits.to_train) == ("digits", True, True, 0)
    assert digits.packed_bytes == sum(path.stat().st_size for path in (PACKED / "digits").iterdir())


def test_a_killed_cell_has_the_epochs_left_that_its_journal_lacks(half_trained: Path) -> None:
    suite = open_suite()
    cell = Cell("starnet", "blobs", 0)
    assert grid_states(suite, [cell])[cell].epochs_left is None
    from mobilebench.execution.context import open_context
    from mobilebench.tracking import OfflineTracker

    journal = open_context(suite, "blobs", OfflineTracker()).journal(cell)
    journal.append(Start(experiment="tiny", run_name="", tags={}, params={}, dataset=INPUT))
    journal.append(Epoch(step=1, metrics={}))
    assert grid_states(suite, [cell])[cell].epochs_left == 1
    journal.append(Interrupt(tags={"reason": "killed"}))
    assert grid_states(suite, [cell])[cell].epochs_left == 1
    (found,) = plan(suite, grid_states(suite), device_here("cpu")).cells
    assert (found.cell, found.epochs_left, found.epochs, found.state) == (cell, 1, 2, "interrupted")


def test_the_device_of_a_run_and_the_one_here_have_one_name(half_trained: Path) -> None:
    (journal,) = [Journal(path.parent) for path in STATE.glob("*/journal.jsonl")]
    assert device_of(journal) == device_here("cpu") == processor()
    assert not device_of(Journal(STATE / "none"))


def test_multiply_adds_without_weights_are_those_of_the_network() -> None:
    from mobilebench import models
    from mobilebench.models.cost.counts import static_cost

    expected = static_cost(models.create("starnet", 7), 64).macs
    assert count_macs("starnet", 7, {}, 64) == expected
    assert count_macs("timm:deit_tiny_patch16_224", 7, {}, 64) is None  # it takes 224 px only


def costs(*rows: str) -> None:
    columns = "model,num_classes,resolution,macs,training_batch,training_bytes,activation_bytes_per_image"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "cost.csv").write_text("\n".join([columns, *rows]) + "\n")
