"""The CSV of cells: written whole, read back equal, refused by name when it contradicts itself."""

from pathlib import Path

import numpy as np
import pytest

from mobilebench.errors import UserError
from mobilebench.scoring import Matrix

CELLS = {("a", "x", 0): 0.5, ("a", "x", 1): 0.7, ("a", "y", 0): 0.25, ("b", "x", 0): 0.9, ("b", "y", 1): 1 / 3}
MATRIX = Matrix.from_cells(CELLS, {"x": 100, "y": 400})


def test_means_counts_and_absent_cells() -> None:
    assert MATRIX.mean == pytest.approx(np.array([[0.6, 0.25], [0.9, 1 / 3]]))
    assert MATRIX.counts.tolist() == [[2, 1], [1, 1]]
    assert MATRIX.absent == (("a", "y", 1), ("b", "x", 1), ("b", "y", 0))


def test_csv_round_trip_is_exact_and_keeps_run_ids(tmp_path: Path) -> None:
    path = MATRIX.to_csv(tmp_path / "accuracy.csv", {("a", "x", 0): "r1"})
    assert "a,x,0,0.5,100,r1" in path.read_text().splitlines()
    for source in (path, tmp_path):
        again = Matrix.from_csv(source)
        assert (again.models, again.datasets, again.seeds) == (MATRIX.models, MATRIX.datasets, MATRIX.seeds)
        assert np.array_equal(again.values, MATRIX.values, equal_nan=True)
        assert again.n_test.tolist() == [100, 400]
    assert [p.name for p in tmp_path.iterdir()] == ["accuracy.csv"]


def test_select_reorders_and_refuses_unknown_names() -> None:
    assert MATRIX.select(models=["b"], datasets=["y", "x"]).mean == pytest.approx(np.array([[1 / 3, 0.9]]))
    with pytest.raises(UserError, match="no dataset z"):
        MATRIX.select(datasets=["z"])


HEAD = "model,dataset,seed,test_top1,n_test\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model,dataset\n", "no column seed, test_top1, n_test"),
        (HEAD, "has no cell"),
        (HEAD + "a,x,0,0.5,10\na,x,0,0.6,10\n", "line 3: the cell a.x.0 is there twice"),
        (HEAD + "a,x,0,0.5,10\nb,x,0,0.6,11\n", "x has 11 test images here, 10 above"),
        (HEAD + "a,x,0,95.1,10\n", "divide percent by 100"),
        (HEAD + "a,x,0,nan,10\n", "line 2"),
        (HEAD + "a,x,zero,0.5,10\n", "line 2"),
        (HEAD + "a,x\n", "line 2"),
    ],
)
def test_a_bad_csv_is_refused_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(UserError, match=words):
        Matrix.from_csv(tmp_path / "m.csv")


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file"):
        Matrix.from_csv(tmp_path / "absent.csv")


def test_the_bytes_of_the_csv(tmp_path: Path) -> None:
    """Every digit of a float, an empty field for an absent run id, and no line for an absent cell."""
    cells = {("a", "x", 0): 1 / 3, ("a", "y", 0): 1e-6, ("b", "x", 0): 1.0}
    path = Matrix.from_cells(cells, {"x": 100}).to_csv(tmp_path / "accuracy.csv", {("b", "x", 0): "r1"})
    assert path.read_bytes() == (
        b"model,dataset,seed,test_top1,n_test,run_id\na,x,0,0.3333333333333333,100,\na,y,0,1e-06,0,\nb,x,0,1.0,100,r1\n"
    )


def test_a_frame_round_trip_is_exact() -> None:
    frame = MATRIX.to_frame({("a", "x", 0): "r1"})
    assert frame.columns.tolist() == ["model", "dataset", "seed", "test_top1", "n_test", "run_id"]
    assert frame.query("run_id == 'r1'")[["model", "dataset", "seed", "test_top1"]].to_numpy().tolist() == [
        ["a", "x", 0, 0.5]
    ]
    again = Matrix.from_frame(frame)
    assert np.array_equal(again.values, MATRIX.values, equal_nan=True)
    assert again.n_test.tolist() == [100, 400]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 0.5}, "the frame, row 0: 0.5 is not a whole number"),
        ({"test_top1": float("nan")}, "the frame, row 0: .* is not a cell"),
        ({"model": None}, "the frame, row 0: .* is not a cell"),
        ({"test_top1": 50.0}, "divide percent by 100"),
    ],
)
def test_a_bad_frame_is_refused_with_its_row(change: dict[str, object], message: str) -> None:
    frame = MATRIX.to_frame().astype(object)
    for column, value in change.items():
        frame.loc[0, column] = value
    with pytest.raises(UserError, match=message):
        Matrix.from_frame(frame)


def test_a_frame_without_a_column_is_refused() -> None:
    with pytest.raises(UserError, match="the frame: no column seed"):
        Matrix.from_frame(MATRIX.to_frame().drop(columns="seed"))


def test_whole_seeds_that_pandas_holds_as_floats_are_taken() -> None:
    again = Matrix.from_frame(MATRIX.to_frame().astype({"seed": float, "n_test": float}))
    assert again.seeds == (0, 1)
    assert all(isinstance(seed, int) for seed in again.seeds)
