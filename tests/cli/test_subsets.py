"""`mobilebench subsets` on the published matrix, and on results of one's own."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mobilebench.cli import subsets as commands
from mobilebench.errors import UserError
from mobilebench.scoring import Matrix


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
