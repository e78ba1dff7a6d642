"""Differences of two matrices, against scipy's paired t test and the score itself; what a run_set can be."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, ttest_rel

from mobilebench.analysis.compare import compare, jackknife
from mobilebench.analysis.named_runs import _of_revision, _resolve, load_run_set
from mobilebench.analysis.run_sets import RunSet, changes, match_models, unknown
from mobilebench.cli.runs import _far_outside
from mobilebench.config.protocol import Override
from mobilebench.config.suite import Cell, parse_suite, preset_text
from mobilebench.errors import UserError
from mobilebench.evaluation.predictions import Predictions
from mobilebench.execution.suites import open_suite
from mobilebench.report.slope_chart import slopes
from mobilebench.runs.records import Record
from mobilebench.scoring import Matrix, xscore
from mobilebench.scoring.xscore import Anchors
from mobilebench.tracking import Details

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.config.suite import Suite

GRID = """
{suite: s, experiment: first, models: [m, n, o], datasets: [digits], seeds: [0], protocol: {epochs: 9}}
"""
MODELS, DATASETS = ("m", "n"), ("d", "e")


def matrix(top1: np.ndarray, seeds: tuple[int, ...] = (0, 1, 2)) -> Matrix:
    return Matrix(MODELS, DATASETS, seeds, top1, np.array([10, 20]))


def drawn(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.3, 0.9, (2, 2, 3))


def test_a_datasets_interval_is_the_paired_t_tests() -> None:
    a, b = drawn(0), drawn(1)
    row = compare(matrix(a), matrix(b)).of("dataset")[0]
    oracle = ttest_rel(b[:, 0].mean(axis=0), a[:, 0].mean(axis=0)).confidence_interval(0.95)
    assert (row.low, row.high) == pytest.approx((oracle.low, oracle.high))
    assert row.difference == pytest.approx(b[:, 0].mean() - a[:, 0].mean())
    assert (row.seeds, row.cells) == (3, 6)


@settings(max_examples=30)
@given(st.lists(st.floats(-1, 1), min_size=2, max_size=6))
def test_the_jackknife_of_a_mean_is_the_t_interval(values: list[float]) -> None:
    x = np.array(values)
    without = [float(np.delete(x, i).mean()) for i in range(len(x))]
    low, high = jackknife(float(x.mean()), without, 0.9)
    oracle = ttest_rel(x, np.zeros_like(x)).confidence_interval(0.9)
    if np.isfinite(oracle.low):
        assert (low, high) == pytest.approx((oracle.low, oracle.high), abs=1e-9)


def test_both_sides_are_scored_on_one_scale() -> None:
    a, b = drawn(0), drawn(1)
    rows = {row.name: row for row in compare(matrix(a), matrix(b)).of("xscore")}
    both = np.concatenate([a.mean(axis=2), b.mean(axis=2)])
    scale = Anchors(both.min(axis=0), both.max(axis=0))
    for number, name in enumerate(MODELS):
        assert rows[name].a == pytest.approx(xscore(a.mean(axis=2), anchors=scale).score[number])
        assert rows[name].b == pytest.approx(xscore(b.mean(axis=2), anchors=scale).score[number])


def test_equal_sides_differ_by_nothing() -> None:
    found = compare(matrix(drawn(0)), matrix(drawn(0)))
    assert {(row.difference, row.low, row.high) for row in found.rows} == {(0.0, 0.0, 0.0)}


def test_a_single_seed_has_no_interval() -> None:
    found = compare(matrix(drawn(0)[:, :, :1], (0,)), matrix(drawn(1)[:, :, :1], (0,)))
    assert all(np.isnan([row.low, row.high]).all() for row in found.rows)
    assert "no interval" in slopes(found, "a", "b").caption


def test_only_cells_of_both_count_and_the_others_are_told() -> None:
    a, b = drawn(0), drawn(1)
    a[0, 0, 0] = np.nan
    found = compare(matrix(a), matrix(b, (1, 2, 3)))
    assert found.seeds == (1, 2)
    assert found.only == (3, 4)
    cut = compare(matrix(a), matrix(b))
    assert cut.of("dataset")[0].cells == 5
    assert cut.of("dataset")[0].a == pytest.approx(np.nanmean(a[:, 0]))


@pytest.mark.parametrize(("change", "message"), [("seeds", "no cell in common"), ("n_test", "10 test images in A")])
def test_what_cannot_be_compared_is_refused(change: str, message: str) -> None:
    other = matrix(drawn(1))
    other = Matrix(MODELS, DATASETS, (7, 8, 9), other.values, other.n_test) if change == "seeds" else Matrix(
        MODELS, DATASETS, other.seeds, other.values, np.array([11, 20])
    )  # fmt: skip
    with pytest.raises(UserError, match=message):
        compare(matrix(drawn(0)), other)


def test_the_csv_and_the_chart_say_every_row(tmp_path: Path) -> None:
    found = compare(matrix(drawn(0)), matrix(drawn(1)))
    lines = found.to_csv(tmp_path / "differences.csv").read_text().splitlines()
    assert lines[0] == "what,name,metric,a,b,difference,low,high,p_better,interval_over,seeds,cells,level"
    assert len(lines) == 1 + 2 + 2 + 1
    chart = slopes(found, "before", "after")
    assert all(name in chart.svg() for name in ("before", "after", "m  ", "n  "))


def run_set(model: str, **settings: str) -> RunSet:
    cell = Cell(model, "d", 0)
    return RunSet(
        model, {cell: 0.5}, {"d": 10}, {}, {cell: settings}, {cell: {"d digest": "x"}}, {cell: {"torch": "2"}}
    )


def test_changes_name_what_differs_and_silence_is_told() -> None:
    (change,) = changes(run_set("m", lr="0.1", epochs="3"), run_set("m", lr="0.2", epochs="3"))
    assert (change.kind, change.name, change.a, change.b, change.count) == ("protocol", "lr", "0.1", "0.2", 1)
    bare = RunSet("m", {Cell("m", "d", 0): 0.5}, {"d": 10})
    assert unknown(run_set("m"), bare) == ["protocol", "data", "code"]
    assert unknown(run_set("m", lr="1"), run_set("m", lr="1")) == []


def test_two_models_are_compared_under_both_names() -> None:
    a, b = match_models(run_set("m"), run_set("n"))
    assert a.matrix.models == b.matrix.models == ("m > n",)
    assert compare(a.matrix, b.matrix).of("dataset")[0].cells == 1


@pytest.fixture
def repository(project: Path) -> Path:
    (project / "results").mkdir()
    matrix(drawn(0)).to_csv(project / "results/accuracy.csv")
    (project / "params.yaml").write_text(preset_text("demo"))
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b.c")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"], ["tag", "first"]):
        subprocess.run([*git, *command], check=True)
    return project


def test_a_git_revision_has_the_metric_of_its_table_alone(repository: Path) -> None:
    assert _of_revision("first", "top1").metrics == {"d": "top1", "e": "top1"}
    with pytest.raises(UserError, match="keeps a table of top1 and no predictions, so macro_f1 cannot be computed"):
        _of_revision("first", "macro_f1")


def test_a_git_revision_is_a_side(repository: Path) -> None:
    first = _of_revision("first")
    np.testing.assert_array_equal(first.matrix.values, drawn(0))
    assert first.settings[Cell("m", "d", 0)]["epochs"] == str(open_suite().protocol.epochs)


@pytest.mark.parametrize("name", ["--output=x", "-h", "first; ls", "$(ls)", "a b", ""])
def test_a_name_cannot_be_an_option_or_a_command_of_git(repository: Path, name: str) -> None:
    assert _resolve(name) is None
    assert sorted(path.name for path in repository.iterdir()) == [".git", "params.yaml", "results"]


def finished(protocol: str, count: int, recipe: str = "") -> list[Details]:
    recipe = recipe or f"recipe of {protocol}"
    records = (
        Record(f"{protocol}{i}", "m", "d", i, protocol, "digest", 1, "FINISHED", {"top1": 0.5}, 100, recipe_hash=recipe)
        for i in range(count)
    )
    return [Details(record, {}, {}, "") for record in records]


class Store:
    """An experiment with two runs of one protocol and one of another."""

    store = "made"

    def experiments(self) -> list[str]:
        return ["mine"]

    def runs(self, name: str) -> list[Details]:
        return [*finished("bbb", 2), *finished("aaa", 1)]

    def artifact(self, run_id: str, name: str, folder: Path) -> Path | None:
        return None


def test_of_two_protocols_without_a_suite_none_is_taken_silently(project: Path) -> None:
    with pytest.raises(UserError, match=r"aaa \(1 run\), bbb \(2 runs\).*experiment:mine@aaa"):
        load_run_set("experiment:mine", Store)
    with pytest.raises(UserError, match=r"aaa \(1 run\), bbb \(2 runs\); none of protocol ccc"):
        load_run_set("experiment:mine@ccc", Store)
    assert len(load_run_set("experiment:mine@bbb", Store).cells) == 2
    assert len(load_run_set("experiment:mine@aaa", Store).cells) == 1


def test_a_protocol_of_params_yaml_that_has_no_run_is_no_answer_either(project: Path) -> None:
    text = preset_text("demo").replace("experiment: demo", "experiment: mine")
    (project / "params.yaml").write_text(text)
    suite = open_suite()
    assert suite.experiment == "mine"
    with pytest.raises(UserError, match=f"none of params.yaml's, {suite.protocol.hash}"):
        load_run_set("experiment:mine", Store)
    one = Store()
    ours = suite.protocol.recipe_hash_for("m", "d")
    one.runs = lambda name: [*finished("aaa", 1), *finished("bbb", 2, ours)]  # type: ignore[method-assign]
    assert len(load_run_set("mine", lambda: one).cells) == 2


def test_protocols_that_give_each_cell_one_recipe_are_one(project: Path) -> None:
    """As after an override for another network: the protocol has another hash, these cells are what they were."""
    both = Store()
    both.runs = lambda name: [*finished("aaa", 3, "r")[2:], *finished("bbb", 2, "r")]  # type: ignore[method-assign]
    assert len(load_run_set("experiment:mine", lambda: both).cells) == 3


def kept(right: np.ndarray) -> dict[tuple[str, str, int], Predictions]:
    """Predictions of two classes, all images truly of the second, right where [models, datasets, seeds, n] is 1."""
    targets, ids = np.ones(right.shape[-1], dtype=np.int64), np.array([f"{i}.png" for i in range(right.shape[-1])])
    return {
        (m, d, s): Predictions.of_logits("single_label", targets, np.eye(2, dtype=np.float32)[right[i, j, s]], ids)
        for i, m in enumerate(MODELS)
        for j, d in enumerate(DATASETS)
        for s in range(right.shape[2])
    }


def of_predictions(right: np.ndarray) -> Matrix:
    size = np.full(2, right.shape[-1])
    return Matrix(MODELS, DATASETS, tuple(range(right.shape[2])), right.mean(axis=-1), size)


def shared_answers(seeds: int, gain: float) -> np.ndarray:
    difficulty = np.random.default_rng(3).random((1, 2, 1, 400))
    own = np.random.default_rng(int(1000 * gain) + seeds).random((2, 2, seeds, 400))
    level = np.array([0.5, 0.7])[:, None, None, None] + gain
    return (0.7 * difficulty + 0.3 * own < level).astype(np.int64)


def test_single_runs_are_compared_image_by_image() -> None:
    a, b = shared_answers(1, 0.0), shared_answers(1, 0.05)
    found = compare(of_predictions(a), of_predictions(b), predictions=(kept(a), kept(b)))
    row = found.of("dataset")[0]
    step = (b - a)[:, 0, 0].mean(axis=0)
    sd = step.std(ddof=1) / 20
    assert (row.low, row.high) == pytest.approx((step.mean() - 1.959964 * sd, step.mean() + 1.959964 * sd))
    assert row.p_better == pytest.approx(norm.cdf(step.mean() / sd))
    assert {row.interval_over for row in found.rows} == {"test"}
    assert "no interval" not in slopes(found, "a", "b").caption


def test_a_scores_interval_over_images_is_the_bootstraps() -> None:
    """Of other images on a fixed scale, each dataset's drawn anew and the same for A and B."""
    a, b = shared_answers(1, 0.0), shared_answers(1, 0.05)
    scale = {"d": (0.2, 0.9), "e": (0.3, 0.95)}
    rows = compare(of_predictions(a), of_predictions(b), anchors=scale, predictions=(kept(a), kept(b))).of("xscore")
    rng, anchors, drawn = np.random.default_rng(0), Anchors(np.array([0.2, 0.3]), np.array([0.9, 0.95])), []
    for _ in range(1500):
        picks = [rng.integers(0, 400, 400) for _ in DATASETS]
        left, right = (np.stack([x[:, j, 0, p].mean(axis=1) for j, p in enumerate(picks)], axis=1) for x in (a, b))
        drawn.append(xscore(right, anchors=anchors).score - xscore(left, anchors=anchors).score)
    for row, sd in zip(rows, np.std(drawn, axis=0), strict=True):
        assert (row.high - row.low) / 2 / 1.96 == pytest.approx(sd, rel=0.1)


def test_seeds_and_images_make_a_wider_interval_than_seeds_alone() -> None:
    a, b = shared_answers(3, 0.0), shared_answers(3, 0.05)
    both = compare(of_predictions(a), of_predictions(b), predictions=(kept(a), kept(b)))
    seeds = compare(of_predictions(a), of_predictions(b))
    for row, other in zip(both.rows, seeds.rows, strict=True):
        assert row.difference == other.difference
        assert row.high - row.low > other.high - other.low
    assert {row.interval_over for row in both.rows} == {"seeds+test"}
    assert {row.interval_over for row in seeds.rows} == {"seeds"}
    some = {key: value for key, value in kept(b).items() if key[1] == "d"}
    part = compare(of_predictions(a), of_predictions(b), predictions=(kept(a), some))
    assert [row.interval_over for row in part.rows] == ["seeds+test", "seeds", "seeds", "seeds", "seeds"]


def test_a_lower_loss_is_better_and_two_metrics_do_not_compare() -> None:
    a, b = drawn(0), drawn(0) - 0.2
    b[..., 0] -= 0.01
    losses = [Matrix(MODELS, DATASETS, (0, 1, 2), x, np.array([10, 20]), ("nll", "nll")) for x in (a, b)]
    row = compare(*losses).of("dataset")[0]
    assert row.difference < 0
    assert row.p_better > 0.99
    scores = compare(*losses).of("mean xscore")[0]
    assert scores.difference > 0
    with pytest.raises(UserError, match="d is measured by nll in A and by top1 in B"):
        compare(losses[0], matrix(drawn(1)))


def test_a_protocol_names_the_whole_grid_that_was_scored(project: Path) -> None:
    """An override for n made the protocol another one: only n was trained again, and m's run has the old hash."""
    before = parse_suite(GRID, "before")
    after = replace(before, protocol=replace(before.protocol, overrides=(Override({"lr": 0.5}, models=("n",)),)))
    hashes = [suite.protocol.hash for suite in (before, after)]
    kept = dict(zip(hashes, (before, after), strict=True))

    def run(suite: Suite, model: str, top1: float) -> Details:
        own = suite.protocol
        record = Record(
            f"{model}{top1}", model, "digits", 0, own.hash, "digest", 1, "FINISHED", {"top1": top1, "nll": 1.0}, 100,
            recipe_hash=own.recipe_hash_for(model, "digits"),
        )  # fmt: skip
        return Details(record, {}, {}, "")

    class Renamed(Store):
        def runs(self, name: str) -> list[Details]:
            return [run(before, "m", 0.1), run(before, "n", 0.2), run(after, "n", 0.3)]

        def artifact(self, run_id: str, name: str, folder: Path) -> Path | None:
            (found,) = [d.record.protocol_hash for d in self.runs("") if d.record.run_id == run_id]
            path = folder / name
            path.write_text(json.dumps(asdict(kept[found])), "utf-8")
            return path

    with pytest.raises(UserError, match=f"experiment:mine@{min(hashes)}"):
        load_run_set("experiment:mine", Renamed)
    scored = load_run_set(f"experiment:mine@{hashes[1]}", Renamed)
    assert scored.cells == {Cell("m", "digits", 0): 0.1, Cell("n", "digits", 0): 0.3}
    assert scored.notes == ("mine: 1 of 3 cells have no finished run (all of o)",)
    assert load_run_set(f"experiment:mine@{hashes[0]}", Renamed).cells[Cell("n", "digits", 0)] == 0.2


def test_models_that_only_one_side_has_are_named() -> None:
    more = Matrix(("m", "n", "o"), DATASETS, (0, 1, 2), np.full((3, 2, 3), 0.5), np.array([10, 20]))
    found = compare(matrix(drawn(0)), more)
    assert found.only == (0, 6)
    assert found.only_models == ((), ("o",))


def test_accuracies_far_outside_fixed_anchors_are_said_of_either_side() -> None:
    low = Matrix(("m",), DATASETS, (0,), np.full((1, 2, 1), 0.1), np.array([10, 20]))
    near = Matrix(("m",), DATASETS, (0,), np.full((1, 2, 1), 0.6), np.array([10, 20]))
    anchors = {"d": (0.5, 0.7), "e": (0.0, 1.0)}
    assert _far_outside(near, low, anchors).startswith(
        "Far outside the anchors: d (1 of 2 models; the furthest, m of B, 2.0 times the anchors' distance below"
    )
    assert _far_outside(near, near, anchors) == ""
