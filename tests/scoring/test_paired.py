"""Noise that models share over their test images: against numpy, closed forms, bootstraps and hand-worked tables."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from benchmarks.paired import answers
from mobilebench.errors import UserError
from mobilebench.evaluation.metrics import METRICS, Metric
from mobilebench.evaluation.predictions import Predictions
from mobilebench.scoring import Matrix, compute_scores
from mobilebench.scoring.paired import (
    DifferenceNoise,
    difference,
    difference_in,
    difference_noise,
    mcnemar,
    paired_covariance,
    pooled_over_runs,
    with_predictions,
)
from mobilebench.scoring.uncertainty import best_source, cell_noise, score_errors, truths_behind, within_noise
from mobilebench.scoring.xscore import Anchors

RNG = np.random.default_rng(0)


def said(targets: np.ndarray, right: np.ndarray, *, target: str = "single_label", classes: int = 5) -> Predictions:
    """Predictions that are right where `right` is 1, else one class too high."""
    predicted = np.where(right > 0, targets, (targets + 1) % classes)
    logits = np.eye(classes, dtype=np.float32)[predicted]
    return Predictions.of_logits(target, targets, logits, np.array([f"{i}.png" for i in range(len(targets))]))


def test_the_covariance_of_single_runs_is_numpys_of_a_mean() -> None:
    pseudo = {(name, 0): RNG.normal(size=50) for name in "abc"}
    found = paired_covariance(pseudo, ["c", "a", "absent"])
    assert found[:2, :2] == pytest.approx(np.cov(pseudo["c", 0], pseudo["a", 0]) / 50)
    assert np.isnan(found[2]).all()
    assert np.isnan(found[:, 2]).all()


def test_seeds_are_averaged_before_the_covariance() -> None:
    runs = RNG.normal(size=(2, 3, 40))
    pseudo = {(name, s): runs[m, s] for m, name in enumerate("ab") for s in range(3)}
    assert paired_covariance(pseudo, "ab") == pytest.approx(np.cov(runs.mean(axis=1)) / 40)
    between = paired_covariance(pseudo, "ab", between_runs=True)
    pairs = np.cov(runs[0])[np.triu_indices(3, 1)]
    assert between[0, 0] == pytest.approx(max(pairs.mean(), 0) / 40)
    assert between[0, 1] == pytest.approx(np.cov(runs.mean(axis=1))[0, 1] / 40)


def test_what_runs_share_and_what_they_do_not_add_up() -> None:
    """The variance of a mean over 2 runs, images and runs drawn anew: that over runs / 2 plus what they share."""
    truth, means, over_runs, shared = np.array([0.7]), [], [], []
    for _ in range(600):
        right = answers(truth, 500, 0.0, 0.0, 2, RNG)[0]
        means.append(right.mean())
        over_runs.append(right.mean(axis=1).var(ddof=1))
        shared.append(paired_covariance({("a", 0): right[0], ("a", 1): right[1]}, "a", between_runs=True)[0, 0])
    assert np.mean(over_runs) / 2 + np.mean(shared) == pytest.approx(np.var(means), rel=0.15)
    assert np.mean(shared) == pytest.approx(0.85 * 0.21 / 500, rel=0.05)


@pytest.mark.parametrize("sizes", [(5, 6), (1, 1)])
def test_pseudo_values_of_other_images_are_refused(sizes: tuple[int, int]) -> None:
    with pytest.raises(UserError, match="same test images"):
        paired_covariance({("a", 0): np.zeros(sizes[0]), ("b", 0): np.zeros(sizes[1])}, "ab")


TARGETS = RNG.integers(0, 5, 300)
RIGHT = answers(np.array([0.6, 0.7, 0.8]), 300, 0.5, 0.0, 1, RNG)[:, 0]
KEPT = {(f"m{m}", "x", 0): said(TARGETS, RIGHT[m]) for m in range(3)}
GRID = Matrix.from_cells(
    {**{key: METRICS["top1"].value(kept) for key, kept in KEPT.items()}, **{(f"m{m}", "y", 0): 0.5 for m in range(3)}},
    {"x": 300, "y": 50},
)


def test_datasets_whose_predictions_are_all_kept_are_paired() -> None:
    for kept in (KEPT, KEPT.get):
        whole = with_predictions(GRID, kept)
        assert whole.paired.tolist() == [True, False]
        assert whole.test_covariance[0] == pytest.approx(np.cov(RIGHT) / 300)
    some = {key: kept for key, kept in KEPT.items() if key[0] != "m1"}
    assert with_predictions(GRID, some).test_covariance is None


def test_predictions_of_other_images_are_refused() -> None:
    other = said(RNG.integers(0, 5, 300), RIGHT[0])
    with pytest.raises(UserError, match=r"m2\.x\.0 and another run on x are of different test images"):
        with_predictions(GRID, {**KEPT, ("m2", "x", 0): other})


def test_grids_of_several_runs_get_what_the_runs_share() -> None:
    right = answers(np.array([0.6, 0.8]), 400, 0.5, 0.0, 2, RNG)
    targets = RNG.integers(0, 5, 400)
    kept = {(f"m{m}", "x", s): said(targets, right[m, s]) for m in range(2) for s in range(2)}
    matrix = Matrix.from_cells({key: METRICS["top1"].value(p) for key, p in kept.items()}, {"x": 400})
    pseudo = {(f"m{m}", s): right[m, s] for m in range(2) for s in range(2)}
    expected = paired_covariance(pseudo, matrix.models, between_runs=True)
    assert with_predictions(matrix, kept).test_covariance[0] == pytest.approx(expected)
    del kept["m0", "x", 1]
    values = matrix.values.copy()
    values[0, 0, 1] = np.nan
    one = with_predictions(replace(matrix, values=values), kept)
    del pseudo["m0", 1]
    assert one.test_covariance[0] == pytest.approx(paired_covariance(pseudo, matrix.models))


COVARIANCE = np.array([[4.0, 3.0, 1.0, 0.0], [3.0, 4.0, 1.0, 0.0], [1.0, 1.0, 2.0, 0.0], [0.0, 0.0, 0.0, 1.0]]) * 1e-4
PAIRED = Matrix(
    tuple("abcd"), ("x", "y"), (0,), np.array([[0.4, 0.6], [0.5, 0.7], [0.65, 0.5], [0.8, 0.9]])[..., None],
    np.array([500, 500]), (), np.stack([COVARIANCE, COVARIANCE / 2]),
)  # fmt: skip


def test_errors_are_drawn_with_the_covariance_of_the_predictions() -> None:
    noise = cell_noise(PAIRED, source="test", draws=40_000, rng=np.random.default_rng(0))
    drawn = noise.draw(np.random.default_rng(1))
    assert np.cov(drawn[:, :, 0], rowvar=False) == pytest.approx(COVARIANCE, abs=1.5e-5)
    # Two successes and two failures more in 500 add 1 to 2 % of the variance of an accuracy of one half.
    assert noise.variance[0, :, 0] == pytest.approx(np.diag(COVARIANCE), rel=0.1)


def test_the_error_of_a_difference_is_the_closed_form() -> None:
    """At lambda 0 with fixed anchors a score is a mean of accuracies over their ranges; covariances cancel in part."""
    anchors = Anchors(np.full(2, 0.2), np.full(2, 0.9))
    errors = score_errors(PAIRED, source="test", lam=0.0, anchors=anchors, draws=40_000)
    expected = (4 + 4 - 2 * 3) * 1e-4 * 1.5 / 4 / 0.7**2
    assert (errors[:, 0] - errors[:, 1]).var() == pytest.approx(expected, rel=0.05)


def test_true_values_are_the_textbook_posterior_under_shared_noise() -> None:
    """Truths of known spread about a known mean: E = m + t^2 (t^2 + C)^-1 (y - m) (Lindley and Smith 1972).

    With 200 models the spread and the mean are known well.
    """
    count, spread, own, common = 200, 0.05, 0.02, 0.03
    truth = 0.5 + spread * RNG.standard_normal(count)
    seen = truth + common * RNG.standard_normal() + own * RNG.standard_normal(count)
    covariance = np.full((1, count, count), common**2) + own**2 * np.eye(count)
    matrix = Matrix(
        tuple(f"m{i}" for i in range(count)), ("x",), (0,), seen[:, None, None], np.array([10_000]), (), covariance
    )
    noise = cell_noise(matrix, source="test", draws=600, rng=np.random.default_rng(0))
    drawn = truths_behind(matrix.upward, noise, np.random.default_rng(1))[:, :, 0]
    gain = spread**2 / (spread**2 + own**2)
    middle = drawn.mean(axis=0)
    assert np.polyfit(seen, middle, 1)[0] == pytest.approx(gain, abs=0.05)
    # The common error moves all models alike: it is in the draws of each, and in no difference.
    assert drawn.mean(axis=1).std() == pytest.approx(common, rel=0.15)
    within = (drawn - drawn.mean(axis=1, keepdims=True)).std(axis=0).mean()
    assert within == pytest.approx(own * np.sqrt(gain), rel=0.1)


def test_equal_models_that_share_their_errors_are_told_from_unequal_ones() -> None:
    """Their common error cancels: one point between models is no noise when 95 % of their errors are common."""
    top1 = 0.5 + 0.01 * np.arange(5)[:, None, None]
    apart = Matrix(tuple("abcde"), ("x",), (0,), top1, np.array([1000]))
    shared = 0.25 / 1000 * (0.95 + 0.05 * np.eye(5))[None]
    assert within_noise(apart, source="test") == ("x",)
    assert within_noise(replace(apart, test_covariance=shared), source="test") == ()


def test_without_predictions_another_metric_has_no_test_noise() -> None:
    cells = {(m, "x", s): 0.3 + 0.1 * i + 0.01 * s for i, m in enumerate("abcd") for s in range(2)}
    once = Matrix.from_cells({k: v for k, v in cells.items() if not k[2]}, {"x": 100}, {"x": "qwk"})
    assert best_source(once) is None
    notes = compute_scores(once, lam=0.0).notes
    assert any("No interval can be given" in note and "needs the predictions" in note for note in notes)
    assert not any("interval" in note for note in compute_scores(once).notes)  # no score, so none to be had of it
    twice = Matrix.from_cells(cells, {"x": 100}, {"x": "qwk"})
    assert best_source(twice) == "seeds"
    with pytest.raises(UserError, match="the noise over test images of x is unknown"):
        cell_noise(twice, source="seeds+test", draws=10, rng=RNG)
    table = compute_scores(twice, lam=0.0, draws=50)
    assert any("too narrow" in note and "x (qwk) needs the predictions" in note for note in table.notes)
    paired = replace(twice, test_covariance=1e-6 * np.eye(4)[None])
    assert best_source(paired) == "seeds+test"
    assert "test images (paired)" in compute_scores(paired, lam=0.0, draws=50).interval_over


def test_a_table_says_where_models_were_taken_for_tested_apart() -> None:
    one = replace(PAIRED, test_covariance=np.stack([COVARIANCE, np.full((4, 4), np.nan)]))
    assert compute_scores(one, draws=50).interval_over.startswith("test images (paired; binomial on y)")
    assert compute_scores(PAIRED, draws=50).interval_over.startswith("test images (paired)")
    none = replace(PAIRED, test_covariance=None)
    assert compute_scores(none, draws=50).interval_over.startswith("test images (binomial)")


@pytest.mark.parametrize(("tables", "p"), [((1, 9), 22 / 1024), ((5, 0), 2 / 32), ((5, 5), 1.0), ((0, 0), 1.0)])
def test_mcnemars_test_of_tables_worked_by_hand(tables: tuple[int, int], p: float) -> None:
    """Twice the tail of the binomial of one half: (1 + 10) / 1024 for 1 of 10, 1 / 32 for 0 of 5."""
    assert mcnemar(*tables) == pytest.approx(p)


def test_the_difference_of_single_runs_is_the_paired_one() -> None:
    """8 images right by A alone and 20 by B alone of 300: variance (28 - 12^2 / 300) / 300 / 299, plus eight more."""
    right = np.ones((2, 300))
    right[1, :8], right[0, 8:28] = 0, 0
    found = difference([said(TARGETS, right[0])], [said(TARGETS, right[1])], METRICS["top1"])
    assert found.difference == pytest.approx(12 / 300)
    assert (found.only_right, found.mcnemar_p) == ((8, 20), pytest.approx(stats.binomtest(8, 28).pvalue))
    p, more = np.array([280, 292]) / 300, np.array([282, 294]) / 304
    sd = np.sqrt((28 - 144 / 300) / 300 / 299 + (more * (1 - more) - p * (1 - p)).sum() / 300)
    assert (found.low, found.high) == pytest.approx((0.04 - 1.959964 * sd, 0.04 + 1.959964 * sd), rel=1e-4)
    assert found.p_better == pytest.approx(stats.norm.cdf(0.04 / sd))
    assert found.source == "test"
    assert found.correlation == pytest.approx(np.corrcoef(right)[0, 1])


def test_two_models_of_a_grid_are_compared_by_its_metric_and_its_training_noise() -> None:
    right = answers(np.array([0.6, 0.7, 0.8]), 300, 0.5, 0.01, 2, RNG)
    kept = {(f"m{m}", "x", s): said(TARGETS, right[m, s]) for m in range(3) for s in range(2)}
    matrix = Matrix.from_cells({key: METRICS["top1"].value(p) for key, p in kept.items()}, {"x": 300})
    found = difference_in(matrix, kept.get, "x", "m0", "m2")
    sides = ([kept[name, "x", s] for s in range(2)] for name in ("m0", "m2"))
    assert found == difference(*sides, METRICS["top1"], training=pooled_over_runs(list(matrix.values[:, 0])))
    assert (found.runs, found.source) == ((2, 2), "seeds+test")
    assert found.p_better > 0.9
    assert difference_in(matrix, {**kept, ("m2", "x", 1): None}.get, "x", "m0", "m2") is None
    with pytest.raises(UserError, match="no model m9"):
        difference_in(matrix, kept, "x", "m0", "m9")


def test_a_lower_loss_is_better() -> None:
    logits = RNG.normal(size=(300, 5)).astype(np.float32)
    ids = np.array([f"{i}.png" for i in range(300)])
    worse, better = (
        Predictions.of_logits("single_label", TARGETS, logits + step * np.eye(5, dtype=np.float32)[TARGETS], ids)
        for step in (0, 0.5)
    )
    found = difference([worse], [better], METRICS["nll"])
    assert found.difference < 0
    assert found.p_better > 0.99
    assert found.only_right is None
    assert difference([better], [worse], METRICS["nll"]).p_better < 0.01


def kappa(p: Predictions) -> float:
    """Quadratic weighted kappa of equal margins, in numpy: scikit-learn's is too slow for a bootstrap."""
    apart = np.square(p.targets[:, None] - p.predicted[None]).mean()
    return float(1 - np.square(p.targets - p.predicted).mean() / apart)


def test_the_noise_of_a_metric_that_is_no_mean_is_the_bootstraps() -> None:
    metric = Metric("kappa", "Kappa", (-1, 1), kappa)
    grades = np.clip(TARGETS + RNG.integers(-1, 2, (2, 300)), 0, 4)
    ids = np.array([f"{i}.png" for i in range(300)])
    runs = [Predictions.of_logits("ordinal", TARGETS, np.eye(5, dtype=np.float32)[grade], ids) for grade in grades]
    assert kappa(runs[0]) == pytest.approx(METRICS["qwk"].value(runs[0]))
    found = difference([runs[0]], [runs[1]], replace(metric, targets=frozenset({"ordinal"})))
    drawn = []
    for _ in range(600):
        pick = RNG.integers(0, 300, 300)
        parts = (Predictions("ordinal", r.targets[pick], r.predicted[pick], r.logits[pick], r.ids[pick]) for r in runs)
        a, b = map(kappa, parts)
        drawn.append(b - a)
    assert (found.high - found.low) / 2 / 1.96 == pytest.approx(np.std(drawn), rel=0.15)


def test_training_alone_is_students_t() -> None:
    """Without noise over images the interval of 3 and 3 runs is scipy's pooled t interval."""
    runs = np.array([[0.5, 0.52, 0.51], [0.55, 0.56, 0.6]])
    training = pooled_over_runs(list(runs))
    assert training == (pytest.approx(runs.var(axis=1, ddof=1).mean()), 4)
    noise = difference_noise(*(np.repeat(side[:, None], 10, axis=1) for side in runs), training)
    low, high = noise.interval(float(runs[1].mean() - runs[0].mean()), 0.95)
    oracle = stats.ttest_ind(runs[1], runs[0])
    interval = oracle.confidence_interval(0.95)
    assert (low, high) == pytest.approx((interval.low, interval.high), rel=2e-3)
    assert 2 * (1 - noise.above_zero(float(runs[1].mean() - runs[0].mean()))) == pytest.approx(oracle.pvalue, rel=0.02)


def test_equal_predictions_do_not_differ() -> None:
    one = DifferenceNoise(0.0)
    assert one.interval(0.0, 0.95) == (0.0, 0.0)
    assert one.above_zero(0.0) == 0.5
    same = difference([said(TARGETS, RIGHT[0])] * 2, [said(TARGETS, RIGHT[0])] * 2, METRICS["top1"])
    assert same.p_better == 0.5
    assert same.low < 0 < same.high


def test_a_dataset_by_a_loss_scores_as_its_mirror() -> None:
    """Eq. 1 has the best at 1 whatever the direction: 1 - x by a loss is x by a score, noise included."""
    top1 = np.array([[0.4, 0.6], [0.5, 0.7], [0.65, 0.5], [0.8, 0.9]])[..., None]
    mirrored = np.concatenate([top1[:, :1], 1 - top1[:, 1:]], axis=1)
    covariance = np.stack([COVARIANCE, COVARIANCE])
    plain = Matrix(tuple("abcd"), ("x", "y"), (0,), top1, np.array([500, 500]), ("top1", "roc_auc"), covariance)
    loss = Matrix(tuple("abcd"), ("x", "y"), (0,), mirrored, np.array([500, 500]), ("top1", "ece"), covariance)
    one, other = compute_scores(plain, draws=200), compute_scores(loss, draws=200)
    assert [row.model for row in one.rows] == [row.model for row in other.rows]
    assert [row.score for row in one.rows] == pytest.approx([row.score for row in other.rows])
    assert [row.low for row in one.rows] == pytest.approx([row.low for row in other.rows])
    assert other.anchors.low == pytest.approx([0.4, 0.5])
    assert other.anchors.high == pytest.approx([0.8, 0.1])


def test_fixed_anchors_of_another_metric_are_refused() -> None:
    matrix = Matrix.from_cells({("a", "x", 0): 0.5}, {}, {"x": "qwk"})
    with pytest.raises(UserError, match=r"fixed anchors are top-1 accuracies, and another metric measures x \(qwk\)"):
        compute_scores(matrix, anchors={"x": (0.1, 0.9)})
