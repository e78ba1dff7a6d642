from __future__ import annotations

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


def record(cell: Cell, **changes: object) -> Record:
    base = Record(
        run_id=f"run-{cell.name}",
        model=cell.model,
        dataset=cell.dataset,
        seed=cell.seed,
        protocol_hash="p1",
        data_digest=f"digest-{cell.dataset}",
        code_version=1,
        status="FINISHED",
        test_top1=0.5,
        test_loss=1.0,
        n_test=100,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


FULL = [record(cell) for cell in GRID]


def kinds(records: list[Record]) -> dict[str, str]:
    return {problem.cell.name: problem.kind for problem in check(records, GRID, "p1").problems}


def test_a_full_grid_is_accepted_whole() -> None:
    checked = check(FULL, GRID, "p1")
    assert checked.records == tuple(FULL)
    assert not checked.problems


def test_each_fault_is_named_by_its_cell() -> None:
    other = [r for r in FULL if r.cell != GRID[0]]
    assert kinds(other) == {"m.a.0": "missing"}
    assert kinds([*other, record(GRID[0], status="RUNNING")]) == {"m.a.0": "unfinished"}
    assert kinds([*other, record(GRID[0], status="FAILED")]) == {"m.a.0": "unfinished"}
    assert kinds([*FULL, record(GRID[0], run_id="second")]) == {"m.a.0": "duplicate"}
    assert kinds([*other, record(GRID[0], protocol_hash="p2")]) == {"m.a.0": "other protocol"}
    assert kinds([*other, record(GRID[0], test_top1=50.0)]) == {"m.a.0": "damaged"}
    assert kinds([*other, record(GRID[0], test_top1=float("nan"))]) == {"m.a.0": "damaged"}
    assert kinds([*other, record(GRID[0], n_test=None)]) == {"m.a.0": "damaged"}


def test_a_finished_run_wins_over_broken_ones_of_its_cell() -> None:
    extra = [record(GRID[0], run_id="f", status="FAILED"), record(GRID[0], run_id="o", protocol_hash="p2")]
    checked = check([*FULL, *extra], GRID, "p1")
    assert not checked.problems
    assert checked.ignored == 2


def test_runs_on_other_data_or_code_are_not_comparable() -> None:
    three = [*GRID, Cell("o", "a", 0)]
    records = [record(cell) for cell in three]
    records[0] = replace(records[0], data_digest="changed")
    assert [(p.cell.name, p.kind) for p in check(records, three, "p1").problems] == [("m.a.0", "disagrees")]
    records[0] = replace(records[0], data_digest="digest-a", code_version=2)
    assert [(p.cell.name, p.kind) for p in check(records, three, "p1").problems] == [("m.a.0", "disagrees")]


def test_refusal_names_every_cell_and_partial_is_a_choice() -> None:
    checked = check(FULL[2:], GRID, "p1")
    with pytest.raises(RecordsError) as caught:
        raise_if_incomplete(checked, allow_partial=False)
    assert "m.a.0" in str(caught.value)
    assert "n.a.0" in str(caught.value)
    raise_if_incomplete(checked, allow_partial=True)


def test_nothing_finished_is_refused_even_partially() -> None:
    with pytest.raises(RecordsError, match="4 cells"):
        raise_if_incomplete(check([], GRID, "p1"), allow_partial=True)


def test_disagreement_is_refused_even_partially() -> None:
    records = [record(cell) for cell in [*GRID, Cell("o", "a", 0)]]
    records[0] = replace(records[0], data_digest="changed")
    with pytest.raises(RecordsError, match="disagrees"):
        raise_if_incomplete(check(records, [r.cell for r in records], "p1"), allow_partial=True)


def test_a_result_file_of_another_run_is_found() -> None:
    files = [replace(FULL[0], run_id="restored from a cache"), *FULL[1:]]
    assert [p.cell.name for p in compare_files(FULL, files)] == ["m.a.0"]
    assert not compare_files(FULL, FULL)


def test_a_result_round_trips_through_its_file(tmp_path: Path) -> None:
    path = write_result(tmp_path, FULL[0])
    assert path == result_path(tmp_path, GRID[0])
    assert read_result(path) == FULL[0]
    write_result(tmp_path, FULL[3])
    assert set(read_results(tmp_path)) == {FULL[0], FULL[3]}


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


def test_records_as_a_frame_keep_whole_numbers_where_some_are_absent() -> None:
    frame = to_frame([*FULL, record(GRID[0], status="RUNNING", test_top1=None, n_test=None)])
    assert frame["n_test"].dtype == "Int64"
    assert frame["n_test"].isna().tolist() == [False] * 4 + [True]
    assert frame.groupby("dataset")["test_top1"].mean().to_dict() == {"a": 0.5, "b": 0.5}
    assert "run_id" in to_frame([]).columns
