"""What follows the score shows what the score used."""

from pathlib import Path

import pytest

from mobilebench.analysis.collect import recomputed, scored_with
from mobilebench.config.suite import ScoreSettings
from mobilebench.errors import UserError
from mobilebench.scoring import compute_scores
from mobilebench.studies.beyond_imagenet import published as reference

TABLE = reference.matrix()
PLAIN = ScoreSettings()


def written(folder: Path, lam: float, *, paper: bool) -> Path:
    anchors = reference.paper_anchors() if paper else None
    TABLE.to_csv(folder / "accuracy.csv")
    return compute_scores(TABLE, lam=lam, anchors=anchors).to_csv(folder / "xscore.csv")


@pytest.mark.parametrize(("lam", "paper"), [(0.5, False), (0.2, False), (0.5, True), (0.9, True)])
def test_the_scores_are_those_that_score_wrote(tmp_path: Path, lam: float, paper: bool) -> None:
    path = written(tmp_path, lam, paper=paper)
    before = path.read_text()
    matrix, table = recomputed(tmp_path, PLAIN)
    assert matrix.models == TABLE.models
    assert table.to_csv(tmp_path / "again.csv").read_text() == before
    assert any("params.yaml has lambda 0.5" in note for note in table.notes) == ((lam, paper) != (0.5, False))


def test_without_a_score_they_are_those_of_params_yaml(tmp_path: Path) -> None:
    wanted = ScoreSettings(lam=0.3, anchors="paper")
    assert scored_with(tmp_path, wanted) == (wanted, "")


@pytest.mark.parametrize("wrong", ["grid,0.5", "other,0.7", "grid,much"])
def test_a_table_that_does_not_say_is_refused(tmp_path: Path, wrong: str) -> None:
    anchors, lam = wrong.split(",")
    (tmp_path / "xscore.csv").write_text(f"lambda,anchors\n{lam},{anchors}\n0.7,other\n")
    with pytest.raises(UserError, match="run `mobilebench score` again"):
        scored_with(tmp_path, PLAIN)
