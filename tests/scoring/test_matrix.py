"""The CSV of cells: written whole, read back equal, refused by name when it contradicts itself."""

from dataclasses import replace
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
    assert "a,x,0,top1,0.5,100,r1" in path.read_text().splitlines()
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


HEAD = "model,dataset,seed,test_top1,n_test\n"  # of versions that had top-1 alone
NOW = "model,dataset,seed,metric,value,n_test\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("model,dataset\n", "no column seed"),
        ("model,dataset,seed\n", "no column metric, value, n_test"),
        ("model,dataset,seed,value\n", "no column metric, n_test"),
        (HEAD, "has no cell"),
        (HEAD + "a,x,0,0.5,10\na,x,0,0.6,10\n", "line 3: the cell a.x.0 is there twice"),
        (HEAD + "a,x,0,0.5,10\nb,x,0,0.6,11\n", "x has 11 test images here, 10 above"),
        (HEAD + "a,x,0,95.1,10\n", "divide percent by 100"),
        (HEAD + "a,x,0,nan,10\n", "line 2"),
        (HEAD + "a,x,zero,0.5,10\n", "line 2"),
        (HEAD + "a,x\n", "line 2"),
        (NOW + "a,x,0,qwk,1.1,10\n", r"Quadratic weighted kappa 1.1 is not in \[-1, 1\]"),
        (NOW + "a,x,0,roc_auc,93,10\n", "divide percent by 100"),
        (NOW + "a,x,0,nll,inf,10\n", "line 2"),
        (NOW + "a,x,0,kappa,0.5,10\n", "line 2: there is no metric 'kappa'"),
        (NOW + "a,x,0,qwk,0.5,10\nb,x,0,top1,0.5,10\n", "line 3: x is measured by top1 here, by qwk above"),
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
        b"model,dataset,seed,metric,value,n_test,run_id\na,x,0,top1,0.3333333333333333,100,\na,y,0,top1,1e-06,0,\n"
        b"b,x,0,top1,1.0,100,r1\n"
    )


def test_a_frame_round_trip_is_exact() -> None:
    frame = MATRIX.to_frame({("a", "x", 0): "r1"})
    assert frame.columns.tolist() == ["model", "dataset", "seed", "metric", "value", "n_test", "run_id"]
    assert frame.query("run_id == 'r1'")[["model", "dataset", "seed", "metric", "value"]].to_numpy().tolist() == [
        ["a", "x", 0, "top1", 0.5]
    ]
    again = Matrix.from_frame(frame)
    assert np.array_equal(again.values, MATRIX.values, equal_nan=True)
    assert again.n_test.tolist() == [100, 400]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 0.5}, "the frame, row 0: 0.5 is not a whole number"),
        ({"value": float("nan")}, "the frame, row 0: .* is not a cell"),
        ({"model": None}, "the frame, row 0: .* is not a cell"),
        ({"value": 50.0}, "divide percent by 100"),
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


def test_a_csv_of_a_version_that_had_top1_alone_is_read_as_that(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(HEAD + "a,x,0,0.5,10\nb,x,0,0.6,10\n")
    found = Matrix.from_csv(tmp_path / "m.csv")
    assert found.metrics == ("top1",)
    assert found.mean.tolist() == [[0.5], [0.6]]


MIXED = Matrix.from_cells(
    {("a", "x", 0): -0.1, ("a", "y", 0): 3.2, ("b", "x", 0): 0.9, ("b", "y", 0): 0.4},
    {"x": 100, "y": 400},
    {"x": "qwk", "y": "nll"},
)


def test_each_dataset_keeps_its_metric_and_what_it_can_be(tmp_path: Path) -> None:
    again = Matrix.from_csv(MIXED.to_csv(tmp_path / "m.csv"))
    assert again.metrics == ("qwk", "nll")
    assert again.mean.tolist() == [[-0.1, 3.2], [0.9, 0.4]]
    assert again.upward.tolist() == [[-0.1, -3.2], [0.9, -0.4]]
    assert again.select(datasets=["y"]).metrics == ("nll",)


def test_a_value_beyond_a_bound_by_rounding_is_that_bound() -> None:
    """As stores of an earlier version hold the mean average precision of a perfect model."""
    rounded = Matrix.from_cells({("a", "x", 0): 1.0000000000000002, ("b", "x", 0): 0.5}, {"x": 100}, {"x": "map"})
    assert rounded.mean.tolist() == [[1.0], [0.5]]
    with pytest.raises(UserError, match=r"1\.001 is not a fraction"):
        Matrix.from_cells({("a", "x", 0): 1.001}, {"x": 100}, {"x": "map"})


def paired(matrix: Matrix) -> Matrix:
    """The matrix with covariances on its first dataset."""
    covariance = np.full((2, 2, 2), np.nan)
    covariance[0] = [[1 / 3, 0.1], [0.1, 2e-5]]
    return replace(matrix, test_covariance=covariance)


def test_covariances_come_back_from_beside_the_cells(tmp_path: Path) -> None:
    whole = paired(MIXED)
    whole.to_csv(tmp_path / "accuracy.csv")
    path = whole.noise_to_csv(tmp_path / "noise.csv")
    assert path.read_text().splitlines()[:2] == ["dataset,model_a,model_b,covariance", "x,a,a,0.3333333333333333"]
    again = Matrix.from_csv(tmp_path)
    assert np.array_equal(again.test_covariance, whole.test_covariance, equal_nan=True)
    assert again.paired.tolist() == [True, False]
    turned = again.select(models=["b", "a"], datasets=["y", "x"])
    assert turned.test_covariance[1].tolist() == [[2e-5, 0.1], [0.1, 1 / 3]]
    MIXED.noise_to_csv(tmp_path / "noise.csv")
    assert Matrix.from_csv(tmp_path).test_covariance is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("x,a,c,0.1", "a and c on x are not in accuracy.csv; .*mobilebench score"),
        ("x,a,a,many", "line 5: the covariance is 'many'"),
        ("x,b,b,0.1", "line 5: the pair is there twice"),
        ("y,a,a,0.1", "lack a model that has a value"),
        ("y,a,a,-0.1\ny,a,b,0\ny,b,b,1", "negative variance"),
    ],
)
def test_covariances_of_other_cells_are_refused(tmp_path: Path, line: str, words: str) -> None:
    paired(MIXED).to_csv(tmp_path / "accuracy.csv")
    path = paired(MIXED).noise_to_csv(tmp_path / "noise.csv")
    path.write_text(f"{path.read_text()}{line}\n")
    with pytest.raises(UserError, match=words):
        Matrix.from_csv(tmp_path)


def test_covariances_of_another_shape_are_refused() -> None:
    with pytest.raises(UserError, match=r"\(2, 2, 2\) is expected"):
        replace(MIXED, test_covariance=np.zeros((2, 3, 3)))
    with pytest.raises(UserError, match="not symmetric"):
        replace(MIXED, test_covariance=np.array([[[1, 0.5], [0.2, 1]], [[1, 0], [0, 1]]]))
