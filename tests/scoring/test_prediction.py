"""Oracles: scipy's own functions, regressions by least squares, and an F-test worked by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mobilebench.errors import UserError
from mobilebench.scoring.beyond import beyond, rival
from mobilebench.scoring.correlation import HALF
from mobilebench.scoring.matrix import Matrix
from mobilebench.scoring.prediction import Predictor, associations, of_counts


def matrix(values: np.ndarray, metrics: tuple[str, ...] = (), n_test: int = 1000) -> Matrix:
    """[M, D] values as single runs."""
    models, datasets = values.shape
    return Matrix(
        tuple(f"m{i}" for i in range(models)),
        tuple(f"d{i}" for i in range(datasets)),
        (0,),
        values[..., None].astype(float),
        np.full(datasets, n_test),
        metrics,
    )


def predictor(x: np.ndarray) -> Predictor:
    return Predictor("ImageNet top-1", {f"m{i}": float(v) for i, v in enumerate(x)})


RNG = np.random.default_rng(5)
X = np.round(RNG.uniform(57, 83, 12), 2)
Y = np.round(0.5 + (X - 70) / 100 + RNG.normal(0, 0.05, 12), 4)


def test_every_estimate_is_that_of_scipy() -> None:
    (found,) = associations(matrix(Y[:, None]), predictor(X))
    assert found.n == 12
    line = stats.linregress(X, Y)
    assert (found.slope.value, found.slope.p) == pytest.approx((line.slope, line.pvalue))
    half = stats.t.ppf(0.975, 10) * line.stderr
    assert (found.slope.low, found.slope.high) == pytest.approx((line.slope - half, line.slope + half))
    assert found.normalised.value == pytest.approx(stats.linregress(X, 100 * Y).slope)
    for ours, theirs in (
        (found.r, stats.pearsonr(X, Y)),
        (found.rho, stats.spearmanr(X, Y)),
        (found.tau, stats.kendalltau(X, Y)),
    ):
        assert (ours.value, ours.p) == pytest.approx((theirs.statistic, theirs.pvalue))
        assert ours.low < ours.value < ours.high
    ends = stats.pearsonr(X, Y).confidence_interval(0.95)
    assert (found.r.low, found.r.high) == pytest.approx((ends.low, ends.high))


def test_a_higher_level_widens_every_interval() -> None:
    (usual,), (wide,) = (associations(matrix(Y[:, None]), predictor(X), level=level) for level in (0.95, 0.99))
    ends = stats.pearsonr(X, Y).confidence_interval(0.99)
    assert (wide.r.low, wide.r.high) == pytest.approx((ends.low, ends.high))
    assert wide.slope.low < usual.slope.low < usual.slope.high < wide.slope.high


def test_the_slope_is_in_points_for_a_point_whatever_the_metric() -> None:
    values = np.column_stack([Y, 2 * Y - 1])  # a kappa may be below 0, and its highest value is 1 as well
    top1, qwk = associations(matrix(values, ("top1", "qwk")), predictor(X))
    assert qwk.normalised.value == pytest.approx(2 * top1.normalised.value)
    assert qwk.slope.value == pytest.approx(qwk.normalised.value / 100)


def test_a_lower_loss_is_a_better_result() -> None:
    (found,) = associations(matrix(1 - Y[:, None], ("nll",)), predictor(X))
    (same,) = associations(matrix(Y[:, None]), predictor(X))
    assert found.r.value == pytest.approx(same.r.value)
    assert math.isnan(found.normalised.value)  # a loss has no highest value


def test_logits_are_of_shares_alone_and_end_half_an_image_away() -> None:
    values = np.column_stack([Y, Y])
    values[3, 0] = 1.0
    (found,) = associations(matrix(values, ("top1", "qwk"), 200), predictor(X), logit=True)
    share = np.minimum(values[:, 0], 1 - 0.5 / 200)
    line = stats.linregress(np.log(X / (100 - X)), np.log(share / (1 - share)))
    assert (found.dataset, found.slope.value, found.r.value) == (
        "d0",
        pytest.approx(line.slope),
        pytest.approx(line.rvalue),
    )
    with pytest.raises(UserError, match="no logit"):
        associations(matrix(values), of_counts("parameters", {"m0": 10}), logit=True)


def test_fewer_than_five_models_have_no_interval() -> None:
    (found,) = associations(matrix(Y[:4, None]), predictor(X))
    assert math.isfinite(found.r.value)
    assert all(math.isnan(each) for e in (found.r, found.rho, found.tau, found.slope) for each in (e.low, e.high, e.p))
    assert found.verdict == "undecided"
    (two,) = associations(matrix(Y[:2, None]), predictor(X))
    assert math.isnan(two.r.value)


def test_models_without_either_number_are_left_out_and_a_threshold_leaves_out_more() -> None:
    values = Y[:, None].copy()
    values[0] = np.nan
    known = predictor(X[:-1])
    (found,) = associations(matrix(values), known)
    assert found.models == tuple(f"m{i}" for i in range(1, 11))
    (upper,) = associations(matrix(values), known.above(70))
    assert upper.models == tuple(f"m{i}" for i in range(1, 11) if X[i] > 70)


def test_constant_results_have_no_estimate() -> None:
    (found,) = associations(matrix(np.full((12, 1), 0.5)), predictor(X))
    assert math.isnan(found.r.value)
    assert found.verdict == "undecided"


def test_fractions_are_refused_as_percent() -> None:
    with pytest.raises(UserError, match=r"expected percent, as 76\.13"):
        predictor(X / 100)
    with pytest.raises(UserError, match="below 1"):
        of_counts("classes", {"d0": 0})


def test_a_verdict_needs_an_interval_beyond_a_half_and_results_that_differ_beyond_noise() -> None:
    x = np.linspace(57, 83, 19)
    noise = np.random.default_rng(1).normal(0, 0.03, 19)
    (strong,) = associations(matrix((0.6 + x / 1000 + noise / 40)[:, None], n_test=100_000), predictor(x))
    assert strong.r.low >= HALF
    assert strong.verdict == "predicts"
    unrelated = 0.6 + noise - np.polyval(np.polyfit(x, noise, 1), x)
    (none,) = associations(matrix(unrelated[:, None], n_test=100_000), predictor(x))
    assert none.verdict == "does not predict"
    # The same order of results that differ by less than 100 test images make them.
    (hidden,) = associations(matrix(unrelated[:, None], n_test=100), predictor(x))
    assert hidden.r.value == pytest.approx(none.r.value)
    assert hidden.verdict == "undecided"


def test_the_noise_of_shared_images_is_that_of_differences() -> None:
    values = np.array([0.5, 0.6, 0.7, 0.8, 0.9])
    own, shared = 0.0004, 0.0001
    covariance = (np.eye(5) * own + shared)[None]
    whole = Matrix(
        tuple(f"m{i}" for i in range(5)), ("d0",), (0, 1), np.repeat(values[:, None, None], 2, axis=2),
        np.array([100]), (), covariance,
    )  # fmt: skip
    (found,) = associations(whole, predictor(np.array([60.0, 65, 70, 75, 80])))
    assert found.noise == pytest.approx(own / values.var(ddof=1))


def f_by_least_squares(y: np.ndarray, x: np.ndarray, z: np.ndarray) -> tuple[float, float, float]:
    """Delta R^2, F and p of z beyond x, from the residual sums of two regressions."""

    def rss(*columns: np.ndarray) -> float:
        design = np.column_stack([np.ones(len(y)), *columns])
        return float(np.square(y - design @ np.linalg.lstsq(design, y)[0]).sum())

    small, large, total = rss(x), rss(x, z), float(np.square(y - y.mean()).sum())
    f = (small - large) / (large / (len(y) - 3))
    return (small - large) / total, f, float(stats.f.sf(f, 1, len(y) - 3))


@settings(deadline=None, max_examples=30)
@given(st.integers(5, 19), st.integers(3, 8), st.integers(0, 10_000))
def test_the_gain_is_that_of_two_regressions(n: int, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.uniform(57, 83, n)
    y = np.clip(0.5 + (x - 70)[:, None] * 0.01 + rng.normal(0, 0.05, (n, count)), 0, 1)
    found = beyond(matrix(y), predictor(x), permutations=20)
    scaled = (y - y.mean(axis=0)) / y.std(axis=0, ddof=1)
    for d, row in enumerate(found.rows):
        gain, f, p = f_by_least_squares(scaled[:, d], x, np.delete(scaled, d, axis=1).mean(axis=1))
        assert (row.gain, row.f, row.p) == pytest.approx((gain, f, p), rel=1e-6, abs=1e-9)
        assert row.r2 == pytest.approx(stats.pearsonr(x, y[:, d]).statistic ** 2)


def test_an_f_test_worked_by_hand() -> None:
    """Five models, x = 61 to 65; a and b are orthogonal to 1, to x and to each other, |a|^2 = 4 and |b|^2 = 10.

    Standardised, each column has the sum of squares 4: y0 = y1 = a, y2 = b sqrt(4 / 10). The others of y0 add up to
    a + b sqrt(4 / 10), with the sum of squares 4 + 4. So the partial correlation of y0 = a with them is
    4 / sqrt(4 * 8) = sqrt(1 / 2), the gain 1 / 2, and F = (1 / 2) / (1 / 2) * (5 - 3) = 2.
    """
    a, b = np.array([1, -1, 0, -1, 1]), np.array([1, -2, 0, 2, -1])
    x = np.array([61.0, 62, 63, 64, 65])
    found = beyond(matrix(0.5 + 0.1 * np.column_stack([a, a, b])), predictor(x), permutations=10)
    row = found.rows[0]
    assert (row.r2, row.gain, row.f) == pytest.approx((0, 0.5, 2))
    assert row.p == pytest.approx(1 - math.sqrt(0.5))  # of F with 1 and 2 degrees of freedom: 1 - sqrt(F / (F + 2))


def test_a_common_skill_beyond_the_predictor_is_found_and_none_is_not() -> None:
    rng = np.random.default_rng(3)
    x = rng.uniform(57, 83, 19)
    skill = rng.normal(0, 0.03, (19, 1))
    own = rng.normal(0, 0.02, (19, 6))
    common = beyond(matrix(0.5 + (x - 70)[:, None] / 200 + skill + own), predictor(x))
    assert common.explains
    assert sum(row.p_holm < 0.05 for row in common.rows) >= 4
    assert all(row.p_permutation == pytest.approx(row.p, abs=0.03) for row in common.rows)
    assert not beyond(matrix(0.5 + (x - 70)[:, None] / 200 + own), predictor(x)).explains


def test_too_small_a_matrix_is_refused() -> None:
    values = np.column_stack([Y, Y[::-1], Y**2])
    with pytest.raises(UserError, match="4 models have ImageNet top-1"):
        beyond(matrix(values[:4]), predictor(X))
    with pytest.raises(UserError, match="they differ on 2"):
        beyond(matrix(values[:, :2]), predictor(X))


def test_a_rival_is_a_rank_correlation_over_datasets() -> None:
    rng = np.random.default_rng(0)
    values = np.clip(Y[:, None] + rng.normal(0, 0.1, (12, 6)), 0, 1)
    found = associations(matrix(values), predictor(X))
    classes = {f"d{i}": float(v) for i, v in enumerate((15, 5, 28, 2, 5.5, 10))}
    said = rival("classes", classes, found)
    expected = stats.spearmanr(list(classes.values()), [each.r.value for each in found])
    assert (said.n, said.of_r.value, said.of_r.p) == (
        6,
        pytest.approx(expected.statistic),
        pytest.approx(expected.pvalue),
    )
    few = rival("classes", dict(list(classes.items())[:4]), found)
    assert math.isnan(few.of_r.low)
    assert few.n == 4
