"""`mobilebench subsets` and `predict` on the published matrix, and on results of one's own."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mobilebench.cli import subsets as commands
from mobilebench.errors import UserError
from mobilebench.scoring import Matrix
from mobilebench.studies.beyond_imagenet import published as reference


def run(command: object, *arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(command, arguments, catch_exceptions=False)  # type: ignore[arg-type]


def test_subsets_are_ranked_and_written(tmp_path: Path) -> None:
    output = run(commands.subsets, "--size", "3", "--output", str(tmp_path / "s.csv")).output
    assert "All 35 subsets of 3 datasets" in output
    assert "no more than noise explains" in output
    assert len((tmp_path / "s.csv").read_text().splitlines()) == 36


def test_too_few_models_are_refused(tmp_path: Path) -> None:
    small = Matrix.from_cells({(m, d, 0): 0.5 for m in "ab" for d in "xy"}, {})
    small.to_csv(tmp_path / "accuracy.csv")
    with pytest.raises(UserError, match="4 or more models"):
        run(commands.subsets, "--matrix", str(tmp_path))


def test_a_new_model_is_predicted_from_the_papers_four(tmp_path: Path) -> None:
    cells = {("new_net", d, 0): value for d, value in zip(reference.PAPER_FOUR, (0.88, 0.78, 0.79, 0.70), strict=True)}
    Matrix.from_cells(cells, {}).to_csv(tmp_path / "accuracy.csv")
    output = run(commands.predict, "--matrix", str(tmp_path)).output
    assert "new_net" in output
    assert "dogs" in output.splitlines()[3]
    assert "left out one at a time" in output
