"""The table of scores as a frame and as the bytes of xscore.csv."""

from pathlib import Path

import numpy as np

from mobilebench.scoring import Matrix, compute_scores
from mobilebench.studies.beyond_imagenet import published

# Between anchors of 0 and 1: a is 0.5 and 0.75, G 0.625, V 1/32; b lies above an anchor; c has no run on y.
CELLS = {("a", "x", 0): 0.5, ("a", "y", 0): 0.375, ("b", "x", 0): 0.25, ("b", "y", 0): 0.75, ("c", "x", 0): 0.5}
TABLE = compute_scores(Matrix.from_cells(CELLS, {}), anchors={"x": (0.0, 1.0), "y": (0.0, 0.5)})
HEADER = (
    "rank,model,xscore,low,high,g,v,seeds,rank_low,rank_high,above_next,outside,absent,lambda,anchors,"
    "interval_over,level"
)


def test_the_bytes_of_the_csv(tmp_path: Path) -> None:
    """Worked out by hand; single runs without test sizes, so that every interval is an empty field."""
    lines = TABLE.to_csv(tmp_path / "xscore.csv").read_text().split("\n")
    assert lines == [
        HEADER,
        "1,a,0.609375,,,0.625,0.03125,1,,,,,,0.5,fixed,,0.95",
        "2,b,0.484375,,,0.875,0.78125,1,,,,y,,0.5,fixed,,0.95",
        ",c,,,,,,0,,,,,y,0.5,fixed,,0.95",
        "",
    ]


def test_the_frame_holds_numbers() -> None:
    frame = TABLE.to_frame()
    assert frame["model"].tolist() == ["a", "b", "c"]
    assert frame["rank"].dtype == "Int64"
    assert frame["rank"].isna().tolist() == [False, False, True]
    assert np.isnan(frame["xscore"].iloc[2])


def test_an_incomplete_grid_counts_cells_of_all_seeds() -> None:
    """One run of one of three models is 1 of 3 x 2 x 2 cells; a single absent seed leaves its model scored."""

    def notes(top1: np.ndarray) -> tuple[str, ...]:
        return compute_scores(Matrix(("a", "b", "c"), ("x", "y"), (0, 1), top1, np.array([0, 0]))).notes

    top1 = np.full((3, 2, 2), np.nan)
    top1[0, 0, 0] = 0.5
    few = "11 of 12 cells have no run. 3 of 3 models have none at all on some dataset and are not scored; grid anchors "
    assert f"{few}may still move." in notes(top1)
    top1 = np.linspace(0.1, 0.9, 12).reshape(3, 2, 2)
    top1[0, 0, 0] = np.nan
    assert "1 of 12 cells has no run. Means there are over fewer seeds." in notes(top1)


def test_few_models_are_said_to_set_the_scale() -> None:
    few, many = published.matrix().select(models=["starnet", "fbnet"]), published.matrix()
    assert any("Only 2 models set the scale" in note for note in compute_scores(few, draws=50).notes)
    assert not any("set the scale" in note for note in compute_scores(many, draws=50).notes)
    fixed = compute_scores(few, draws=50, anchors=published.paper_anchors())
    assert not any("set the scale" in note for note in fixed.notes)
