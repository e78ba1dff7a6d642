"""What follows the score shows what the score used."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from mobilebench.analysis.collect import ScoredExperiment, write_scores
from mobilebench.analysis.score_files import noted, raise_if_other, read_origin, recomputed, scored_with
from mobilebench.cli import main
from mobilebench.config.suite import ScoreSettings, load_suite, preset_text
from mobilebench.errors import UserError
from mobilebench.runs.score_check import CheckedRecords
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


def test_the_noise_of_shared_images_is_read_back_with_the_scores(tmp_path: Path) -> None:
    sd = np.sqrt(TABLE.mean * (1 - TABLE.mean) / TABLE.n_test[None]).T
    whole = replace(TABLE, test_covariance=sd[:, :, None] * sd[:, None] * (0.6 + 0.4 * np.eye(11)))
    table = compute_scores(whole)
    write_scores(ScoredExperiment("mine", "0123456789ab", CheckedRecords((), (), 0), whole, table, ()), tmp_path)
    _, again = recomputed(tmp_path, PLAIN)
    assert [row.low for row in again.rows] == pytest.approx([row.low for row in table.rows])
    assert again.interval_over == "test images (paired), training not rerun"
    (tmp_path / "noise.csv").unlink()
    _, apart = recomputed(tmp_path, PLAIN)
    assert apart.interval_over == "test images (binomial), training not rerun"
    assert apart.rows[0].low < again.rows[0].low


def test_without_a_score_they_are_those_of_params_yaml(tmp_path: Path) -> None:
    wanted = ScoreSettings(lam=0.3, anchors="paper")
    assert scored_with(tmp_path, wanted) == (wanted, "")


@pytest.mark.parametrize("wrong", ["grid,0.5", "other,0.7", "grid,much"])
def test_a_table_that_does_not_say_is_refused(tmp_path: Path, wrong: str) -> None:
    anchors, lam = wrong.split(",")
    (tmp_path / "xscore.csv").write_text(f"lambda,anchors\n{lam},{anchors}\n0.7,other\n")
    with pytest.raises(UserError, match="run `mobilebench score` again"):
        scored_with(tmp_path, PLAIN)


def scored(folder: Path, experiment: str, lam: float = 0.2) -> None:
    table = compute_scores(TABLE, lam=lam)
    write_scores(ScoredExperiment(experiment, "0123456789ab", CheckedRecords((), (), 0), TABLE, table, ()), folder)


def test_a_score_says_what_it_is_of(tmp_path: Path) -> None:
    scored(tmp_path, "mine")
    origin = read_origin(tmp_path)
    assert origin is not None
    assert (origin.experiment, origin.protocol, origin.lam, origin.anchors) == ("mine", "0123456789ab", 0.2, "grid")
    assert set(origin.files) == {"accuracy.csv", "noise.csv", "xscore.csv"}


def test_a_table_changed_after_its_score_is_refused(tmp_path: Path) -> None:
    scored(tmp_path, "mine")
    TABLE.select(models=TABLE.models[:5]).to_csv(tmp_path / "accuracy.csv")
    with pytest.raises(UserError, match=r"accuracy\.csv was changed after"):
        read_origin(tmp_path)


@pytest.mark.parametrize("name", ["accuracy.csv", "noise.csv", "xscore.csv"])
def test_a_table_that_is_gone_is_said(tmp_path: Path, name: str) -> None:
    """Without noise.csv models would be taken for tested apart."""
    scored(tmp_path, "mine")
    (tmp_path / name).unlink()
    with pytest.raises(UserError, match=rf"{name} is gone.*run `mobilebench score` again"):
        read_origin(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", '{"experiment": 1}', ""])
def test_a_damaged_note_of_what_scores_are_of_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "score.json").write_text(text, "utf-8")
    with pytest.raises(UserError, match=r"score\.json"):
        read_origin(tmp_path)


def test_no_reader_shows_a_score_under_another_suites_name(project: Path) -> None:
    (project / "params.yaml").write_text(preset_text("demo"), "utf-8")
    suite = load_suite()
    scored(project / "results", "another", lam=0.2)
    shown = CliRunner().invoke(main, ["leaderboard"])
    assert shown.exit_code == 0, shown.output
    said = " ".join(shown.output.split())
    assert "another, protocol 0123456789ab: lambda 0.2" in said
    assert "The results here are of experiment 'another'" in said
    assert suite.protocol.hash not in said
    with pytest.raises(UserError, match=r"of experiment 'another'.*params\.yaml is of experiment 'demo'"):
        raise_if_other(read_origin(project / "results"), suite)
    raise_if_other(read_origin(project / "results"), replace(suite, experiment="another"))


def test_scores_of_an_earlier_version_are_read_as_before(tmp_path: Path) -> None:
    written(tmp_path, 0.5, paper=False)
    assert read_origin(tmp_path) is None


def test_accuracies_far_outside_fixed_anchors_are_said_by_dataset() -> None:
    low, high = 0.98, 0.99
    anchors = {name: (low, high) if name == "dogs" else (0.0, 1.0) for name in TABLE.datasets}
    (note, *_) = noted(compute_scores(TABLE, anchors=anchors)).notes
    column = TABLE.mean[:, TABLE.datasets.index("dogs")]
    times = (low - column.min()) / (high - low)
    assert note.startswith(
        f"Far outside the anchors: dogs ({(column < 2 * low - high).sum()} of 11 models; the furthest, "
    )
    assert f"{times:.1f} times the anchors' distance below the low one" in note
    assert json.dumps(noted(compute_scores(TABLE)).notes) == json.dumps(compute_scores(TABLE).notes)
