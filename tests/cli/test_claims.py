"""The commands print verdicts, disagreements and subsets for the published table and for results of one's own."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mobilebench.cli import claims as commands
from mobilebench.errors import UserError
from mobilebench.scoring import Matrix
from mobilebench.studies.beyond_imagenet import published as reference


def run(command: object, *arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(command, arguments, catch_exceptions=False)  # type: ignore[arg-type]


def test_claims_on_the_published_table() -> None:
    words = run(commands.claims).output
    assert "11 models x 7 datasets" in words
    assert "leans against" in words
    assert "77 of 77 accuracies are from a single run" in words
    assert "a tenth of its learning rate (released code)" in words


def test_claims_on_results_of_ones_own_carry_no_caveat_about_the_paper(tmp_path: Path) -> None:
    reference.matrix().to_csv(tmp_path / "accuracy.csv")
    (tmp_path / "cost.csv").write_text(
        "model,params,macs\n" + "".join(f"{r.model},{r.params},{r.macs}\n" for r in reference.costs())
    )
    words = run(commands.claims, "--matrix", str(tmp_path)).output
    assert "params against xScore: Spearman 0.19" in words
    assert "released code" not in words


def test_audit_prints_each_disagreement() -> None:
    words = run(commands.audit_paper).output
    for found in ("0.735", "0.859", "237", "313 M", "4.69 M", "0.606", "0.639", "6 of 11"):
        assert found in words


def test_audit_writes_the_report_of_the_published_table(tmp_path: Path) -> None:
    run(commands.audit_paper, "--report", str(tmp_path / "paper"))
    assert "Published single runs" in (tmp_path / "paper" / "report.html").read_text()


def test_subsets_are_ranked_and_written(tmp_path: Path) -> None:
    words = run(commands.subsets, "--size", "3", "--output", str(tmp_path / "s.csv")).output
    assert "All 35 subsets of 3 datasets" in words
    assert len((tmp_path / "s.csv").read_text().splitlines()) == 36


def test_what_cannot_be_done_is_said_in_words(tmp_path: Path) -> None:
    small = Matrix.from_cells({(m, d, 0): 0.5 for m in "ab" for d in "xy"}, {})
    small.to_csv(tmp_path / "accuracy.csv")
    with pytest.raises(UserError, match="4 or more models"):
        run(commands.subsets, "--matrix", str(tmp_path))
    with pytest.raises(UserError, match="no file"):
        run(commands.claims, "--matrix", str(tmp_path / "absent.csv"))


def test_a_new_model_is_predicted_from_the_papers_four(tmp_path: Path) -> None:
    cells = {("new_net", d, 0): value for d, value in zip(reference.PAPER_FOUR, (0.88, 0.78, 0.79, 0.70), strict=True)}
    Matrix.from_cells(cells, {}).to_csv(tmp_path / "accuracy.csv")
    words = run(commands.predict, "--matrix", str(tmp_path)).output
    assert "new_net" in words
    assert "dogs" in words.splitlines()[3]
    assert "left out one at a time" in words
