from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mobilebench.config.suite import Cell
from mobilebench.errors import UserError
from mobilebench.runs.records import Record, read_result, read_results, result_path, to_frame, write_result
from mobilebench.runs.score_check import RecordsError, check, compare_files, raise_if_incomplete

if TYPE_CHECKING:
    from pathlib import Path

GRID = [Cell(model, dataset, 0) for dataset in ("a", "b") for model in ("m", "n")]
RECIPES = dict.fromkeys(GRID, "r1")


def record(cell: Cell, **changes: object) -> Record:
    base = Record(
        run_id=f"run-{cell.name}",
        model=cell.model,
        dataset=cell.dataset,
        seed=cell.seed,
        protocol_hash="p1",
        recipe_hash="r1",
        network=f"net-{cell.model}",
        data_digest=f"digest-{cell.dataset}",
        code_version=1,
        status="FINISHED",
        metrics={"top1": 0.5, "nll": 1.0},
        n_test=100,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


FULL = [record(cell) for cell in GRID]


def kinds(records: list[Record]) -> dict[str, str]:
    return {problem.cell.name: problem.kind for problem in check(records, RECIPES).problems}


def test_a_full_grid_is_accepted_whole() -> None:
    checked = check(FULL, RECIPES)
    assert checked.records == tuple(FULL)
    assert not checked.problems


def test_each_fault_is_named_by_its_cell() -> None:
    other = [r for r in FULL if r.cell != GRID[0]]
    assert kinds(other) == {"m.a.0": "missing"}
    assert kinds([*other, record(GRID[0], status="RUNNING")]) == {"m.a.0": "unfinished"}
    assert kinds([*other, record(GRID[0], status="FAILED")]) == {"m.a.0": "unfinished"}
    assert kinds([*FULL, record(GRID[0], run_id="second")]) == {"m.a.0": "duplicate"}
    assert kinds([*other, record(GRID[0], recipe_hash="r2")]) == {"m.a.0": "other recipe"}
    assert kinds([*other, record(GRID[0], metrics={"top1": 50.0})]) == {"m.a.0": "damaged"}
    assert kinds([*other, record(GRID[0], metrics={"top1": float("nan")})]) == {"m.a.0": "damaged"}
    assert kinds([*other, record(GRID[0], n_test=None)]) == {"m.a.0": "damaged"}


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_top1_of_undefined_outputs_is_no_accuracy(loss: float) -> None:
    """As an earlier version stored it: the share of class 0, which the arg max of NaN is."""
    (problem,) = check([record(GRID[0], metrics={"top1": 0.5, "nll": loss}), *FULL[1:]], RECIPES).problems
    assert (problem.cell, problem.kind) == (GRID[0], "damaged")
    assert f"test_loss {loss}" in problem.detail
    assert "smaller lr in params.yaml (an override), then run `mobilebench train a`" in problem.detail


def test_a_finished_run_wins_over_broken_ones_of_its_cell() -> None:
    extra = [record(GRID[0], run_id="f", status="FAILED"), record(GRID[0], run_id="o", recipe_hash="r2")]
    checked = check([*FULL, *extra], RECIPES)
    assert not checked.problems
    assert checked.ignored == 2


def test_runs_on_other_data_or_code_are_not_comparable() -> None:
    three = [*GRID, Cell("o", "a", 0)]
    records = [record(cell) for cell in three]
    recipes = dict.fromkeys(three, "r1")
    records[0] = replace(records[0], data_digest="changed")
    assert [(p.cell.name, p.kind) for p in check(records, recipes).problems] == [("m.a.0", "disagrees")]
    records[0] = replace(records[0], data_digest="digest-a", code_version=2)
    assert [(p.cell.name, p.kind) for p in check(records, recipes).problems] == [("m.a.0", "disagrees")]


def test_refusal_names_every_cell_and_partial_is_a_choice() -> None:
    checked = check(FULL[2:], RECIPES)
    with pytest.raises(RecordsError) as caught:
        raise_if_incomplete(checked, allow_partial=False)
    assert "m.a.0" in str(caught.value)
    assert "n.a.0" in str(caught.value)
    raise_if_incomplete(checked, allow_partial=True)


def test_nothing_finished_is_refused_even_partially() -> None:
    with pytest.raises(RecordsError, match="4 cells"):
        raise_if_incomplete(check([], RECIPES), allow_partial=True)


def test_disagreement_is_refused_even_partially() -> None:
    records = [record(cell) for cell in [*GRID, Cell("o", "a", 0)]]
    records[0] = replace(records[0], data_digest="changed")
    with pytest.raises(RecordsError, match="disagrees"):
        raise_if_incomplete(check(records, dict.fromkeys((r.cell for r in records), "r1")), allow_partial=True)


def test_another_protocol_with_the_same_recipe_is_no_obstacle() -> None:
    """An override for a model of no concern changes the protocol's hash, and no cell."""
    assert not kinds([replace(run, protocol_hash=f"p{number}") for number, run in enumerate(FULL)])


def test_of_several_identities_the_newest_counts_and_the_others_are_superseded() -> None:
    for changes in ({"data_digest": "older"}, {"network": "older"}, {"code_version": 0}):
        older = [record(cell, run_id=f"older-{cell.name}", end_time=1, **changes) for cell in GRID]
        newer = [record(cell, end_time=2) for cell in GRID]
        checked = check([*newer, *older], RECIPES)
        assert checked.records == tuple(newer)
        assert not checked.problems
        assert checked.ignored == 4


def test_a_known_identity_counts_whatever_is_newer() -> None:
    wanted = {run.cell: run.identity for run in FULL}
    newer = [replace(run, run_id="newer", network="edited", end_time=9) for run in FULL]
    assert check([*FULL, *newer], RECIPES, wanted).records == tuple(FULL)
    problems = check(newer, RECIPES, wanted).problems
    assert {problem.kind for problem in problems} == {"superseded"}
    assert "another identity (network's code); run `mobilebench train a`" in problems[0].detail


def test_a_run_of_before_fingerprints_is_of_no_recipe() -> None:
    before = [replace(run, recipe_hash="", network="") for run in FULL]
    problems = check(before, RECIPES).problems
    assert {problem.kind for problem in problems} == {"other recipe"}
    assert "earlier version" in problems[0].detail


def test_seeds_of_one_model_under_different_code_are_not_averaged() -> None:
    cells = [Cell("m", "a", seed) for seed in range(3)]
    runs = [record(cell) for cell in cells]
    runs[1] = replace(runs[1], network="edited")
    problems = check(runs, dict.fromkeys(cells, "r1")).problems
    assert [(problem.cell.name, problem.kind) for problem in problems] == [("m.a.1", "disagrees")]


def compared(records: list[Record], files: list[Record], *, has_journal: bool = True) -> dict[str, str]:
    checked = compare_files(check(records, RECIPES), records, files, lambda _: has_journal, lambda _: None)
    return {problem.cell.name: problem.detail for problem in checked.problems}


def test_a_result_file_of_another_run_is_found() -> None:
    assert not compared(FULL, FULL)
    restored = compared(FULL, [replace(FULL[0], run_id="restored from a cache"), *FULL[1:]])
    assert list(restored) == ["m.a.0"]
    assert "after `rm results/cells/a/m.a.0.json`, `mobilebench train a` takes the server's" in restored["m.a.0"]


def test_a_run_that_the_server_lost_is_named_with_the_command_that_brings_it_back() -> None:
    assert "`mobilebench sync` delivers it again" in compared(FULL[1:], FULL)["m.a.0"]
    anew = compared(FULL[1:], FULL, has_journal=False)["m.a.0"]
    assert "`mobilebench train a --model m --seed 0 --redo` trains it anew" in anew


def test_a_result_round_trips_through_its_file(tmp_path: Path) -> None:
    path = write_result(tmp_path, FULL[0])
    assert path == result_path(tmp_path, GRID[0])
    assert read_result(path) == FULL[0]
    write_result(tmp_path, FULL[3])
    assert read_results(tmp_path) == [FULL[0], FULL[3]]


def test_a_damaged_result_file_is_named(tmp_path: Path) -> None:
    path = write_result(tmp_path, FULL[0])
    path.write_text(path.read_text()[:40])
    with pytest.raises(UserError, match="is damaged"):
        read_result(path)
    path.write_text('{"run_id": 3}')
    with pytest.raises(UserError, match="run_id"):
        read_result(path)


def test_no_result_file_is_no_record(tmp_path: Path) -> None:
    assert read_result(tmp_path / "none.json") is None


def test_a_record_of_before_there_were_other_metrics_is_read(tmp_path: Path) -> None:
    now = json.loads(write_result(tmp_path, FULL[0]).read_text())
    for name in ("metrics", "val_metrics", "metric", "predictions"):
        del now[name]
    (tmp_path / "old.json").write_text(json.dumps(now | {"test_top1": 0.5, "test_loss": 1.0}))
    assert read_result(tmp_path / "old.json") == FULL[0]


def test_a_kappa_below_zero_is_a_value() -> None:
    graded = record(GRID[0], metric="qwk", metrics={"qwk": -0.1, "top1": 0.2, "nll": 3.0})
    assert not check([graded, *FULL[1:]], RECIPES).problems
    assert kinds([replace(graded, metrics={"qwk": -1.5}), *FULL[1:]]) == {"m.a.0": "damaged"}
    assert kinds([replace(graded, metrics={}), *FULL[1:]]) == {"m.a.0": "damaged"}


def test_a_run_that_recorded_another_metric_than_its_tag_says_is_sound() -> None:
    """As those were left whose dataset's `metric:` was changed between two calls."""
    assert not check([record(GRID[0], metric="qwk", metrics={"top1": 0.2}), *FULL[1:]], RECIPES).problems


def test_a_value_beyond_a_bound_by_rounding_was_not_tampered_with() -> None:
    perfect = record(GRID[0], metric="map", metrics={"map": 1.0000000000000002, "top1": 1.0})
    assert not check([perfect, *FULL[1:]], RECIPES).problems
    assert kinds([replace(perfect, metrics={"map": 1.001}), *FULL[1:]]) == {"m.a.0": "damaged"}


def test_records_as_a_frame_keep_whole_numbers_where_some_are_absent() -> None:
    frame = to_frame([*FULL, record(GRID[0], status="RUNNING", metrics={}, n_test=None)])
    assert frame["n_test"].dtype == "Int64"
    assert frame["n_test"].isna().tolist() == [False] * 4 + [True]
    assert frame.groupby("dataset")["test_top1"].mean().to_dict() == {"a": 0.5, "b": 0.5}
    assert "run_id" in to_frame([]).columns
