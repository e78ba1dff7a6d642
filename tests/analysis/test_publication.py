"""A score as data: what a reader can check of it, and what is never lost by publishing."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from mobilebench import load_matrix, score
from mobilebench.analysis.scored_folder import read_scored
from mobilebench.cli import main
from mobilebench.config.suite import parse_suite

OUT = Path("results/published/tiny")
OURS = sorted((Path(__file__).parents[2] / "results/published").iterdir())


def call(*words: str, fails: bool = False) -> Result:
    done = CliRunner().invoke(main, list(words))
    assert (done.exit_code != 0) == fails, done.output
    return done


@pytest.fixture
def published(trained: Path) -> Path:
    call("score")
    call("publish")
    return trained / OUT


def test_the_scores_follow_from_what_is_published_and_from_nothing_else(published: Path, tmp_path: Path) -> None:
    elsewhere = shutil.copytree(published, tmp_path / "elsewhere/tiny")
    mine, theirs = score(load_matrix("results")), score(load_matrix(str(elsewhere)))
    assert mine.to_frame().equals(theirs.to_frame())
    assert "shufflenet" in call("score", str(elsewhere)).output
    assert (published / "params.yaml").read_text() == Path("params.yaml").read_text()
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=elsewhere, check=True)


def test_answers_give_the_results_again(published: Path) -> None:
    with np.load(published / "answers/blobs.npz", allow_pickle=False) as answers:
        right = (answers["said"] == answers["truth"]).mean(axis=1)
        for model, seed, run, value in zip(*(answers[k] for k in ("models", "seeds", "run_ids")), right, strict=True):
            record = json.loads((published / f"cells/blobs/{model}.blobs.{seed}.json").read_text())
            assert (record["run_id"], record["metrics"]["top1"]) == (run, pytest.approx(value, abs=1e-12))
            assert record["n_test"] == len(answers["truth"])


def test_the_environment_is_told_without_the_machines_name(published: Path) -> None:
    (environment,) = json.loads((published / "environments.json").read_text())
    assert environment["runs"] == ["shufflenet.blobs.0", "starnet.blobs.0"]
    assert environment["torch"]
    assert "host" not in environment


def test_a_readme_says_what_it_is(published: Path) -> None:
    text = (published / "README.md").read_text()
    assert text.startswith("# tiny\n")
    assert "2 runs (2 models, 1 datasets, seeds 0)" in text
    assert "have no run" not in text
    params = Path("params.yaml")
    params.write_text(params.read_text().replace("seeds: [0]", "seeds: [0, 1]"))
    call("score", "--allow-partial")
    call("publish")
    assert "2 of the suite's 4 cells have no run: 2 on blobs with seed 1." in (published / "README.md").read_text()


def test_runs_published_before_are_not_lost_silently(published: Path) -> None:
    call("publish")  # the same again is no loss
    table = published / "accuracy.csv"
    table.write_text(table.read_text() + "tinynet,blobs,0,top1,0.5,8,elsewhere\n")
    said = call("publish", fails=True).output
    assert "has 1 runs that the present score has not, for example elsewhere" in said
    assert "elsewhere" in table.read_text()
    call("publish", "--replace")
    assert "elsewhere" not in table.read_text()


def test_what_is_no_publication_is_left_alone(published: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "letter.txt").write_text("keep me")
    assert "is no publication" in call("publish", "--out", str(mine), fails=True).output
    assert (mine / "letter.txt").read_text() == "keep me"
    assert published.exists()


def test_a_score_that_is_not_there_or_not_of_this_suite_is_refused(trained: Path) -> None:
    assert "score.json" in call("publish", fails=True).output
    call("score")
    params = trained / "params.yaml"
    params.write_text(params.read_text().replace("experiment: tiny", "experiment: other"))
    assert "score of 'tiny', params.yaml is the suite of 'other'" in call("publish", fails=True).output
    assert not OUT.exists()


@pytest.mark.parametrize("folder", OURS, ids=lambda folder: folder.name)
def test_the_scores_of_what_is_published_here_follow_from_its_records_and_these_from_its_answers(folder: Path) -> None:
    files, origin, _ = read_scored(folder)  # which refuses tables that do not follow from each other
    suite = parse_suite((folder / "params.yaml").read_text(), "params.yaml")
    assert (suite.suite, suite.experiment) == (folder.name, origin.experiment)
    cells = set(suite.cells())
    absent = cells - {record.cell for record in files.records}
    assert len(files.records) == len(cells) - len(absent)
    said_absent = f"{len(absent)} of the suite's {len(cells)} cells have no run: " in (folder / "README.md").read_text()
    assert said_absent is bool(absent)
    said = {}
    for dataset in suite.datasets:
        with np.load(folder / f"answers/{dataset}.npz", allow_pickle=False) as answers:
            right = (answers["said"] == answers["truth"]).mean(axis=1)
            said |= dict(zip(answers["run_ids"].tolist(), right.tolist(), strict=True))
    assert said == pytest.approx({record.run_id: record.metrics["top1"] for record in files.records}, abs=1e-12)
    wanted = {(c.model, c.dataset): suite.protocol.recipe_hash_for(c.model, c.dataset) for c in suite.cells()}
    assert all(record.recipe_hash == wanted[record.model, record.dataset] for record in files.records)
    sums = dict(reversed(line.split("  ")) for line in (folder / "SHA256SUMS").read_text().splitlines())
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    assert set(found) - {"SHA256SUMS"} == set(sums)
    assert {name: hashlib.sha256(found[name].read_bytes()).hexdigest() for name in sums} == sums
