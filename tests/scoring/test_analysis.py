"""Correlations, elements, Pareto and lambda against scipy, scikit-learn and hand-worked answers."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from mobilebench.scoring import xscore
from mobilebench.scoring.correlation import fisher_interval, fit, relatedness_p, spearman
from mobilebench.scoring.effects import element_effects, lambda_swaps, lambda_sweep, pareto_front
from mobilebench.scoring.proxy import all_proxies, proxy_fit
from mobilebench.studies.beyond_imagenet import published as reference

TABLE = reference.matrix()
FULL = xscore(TABLE.mean).score
PAIRS = hnp.arrays(np.float64, (2, 9), elements=st.integers(0, 5).map(float))


@given(PAIRS)
def test_rank_correlations_equal_scipys(pair: np.ndarray) -> None:
    x, y = pair
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        assert np.isnan(spearman(x, y))
        return
    assert float(spearman(x, y)) == pytest.approx(stats.spearmanr(x, y).statistic)


def test_the_fit_equals_scipys_and_its_residuals_a_fit_without_the_point() -> None:
    x = TABLE.mean[:, TABLE.datasets.index("imagenette")]
    line = fit(x, FULL)
    expected = stats.pearsonr(x, FULL)
    assert (line.r, line.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert (line.r_low, line.r_high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    for k in range(line.n):
        rest = np.arange(line.n) != k
        other = stats.linregress(x[rest], FULL[rest])
        error = FULL[k] - (other.slope * x[k] + other.intercept)
        noise = np.sqrt(np.square(FULL[rest] - other.slope * x[rest] - other.intercept).sum() / (line.n - 3))
        spread = np.sqrt(
            1 + 1 / (line.n - 1) + (x[k] - x[rest].mean()) ** 2 / np.square(x[rest] - x[rest].mean()).sum()
        )
        assert line.residuals[k] == pytest.approx(error / (noise * spread))


@pytest.mark.slow
def test_the_fisher_interval_covers_the_true_correlation() -> None:
    rng = np.random.default_rng(5)
    pairs = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], size=(2000, 11))
    hits = [low < 0.6 < high for p in pairs for low, high in [fisher_interval(stats.pearsonr(*p.T).statistic, 11)]]
    assert 0.93 < np.mean(hits) < 0.97


def test_element_p_values_equal_scipys_exact_permutation_test() -> None:
    for effect in element_effects(TABLE.models, FULL, reference.elements()):
        has = np.array([reference.elements()[effect.element][m] for m in TABLE.models])
        assert effect.effect == pytest.approx(FULL[has].mean() - FULL[~has].mean())
        if min(effect.n_with, effect.n_without) < 2:
            continue  # scipy refuses groups of one; the next test works that case by hand
        test = stats.permutation_test(
            (FULL[has], FULL[~has]), lambda a, b: abs(a.mean() - b.mean()), alternative="greater", n_resamples=np.inf,
        )  # fmt: skip
        assert effect.p == pytest.approx(test.pvalue)


def test_one_network_alone_cannot_be_significant() -> None:
    scores = np.array([0.9, 0.1, 0.2, 0.3, 0.4])
    has = dict.fromkeys("abcde", False) | {"a": True}
    (effect,) = element_effects("abcde", scores, {"x": has, "all": dict.fromkeys("abcde", True)})
    assert (effect.p, effect.smallest_p) == pytest.approx((0.2, 0.2))


def test_holm_by_hand() -> None:
    scores = np.arange(8.0)
    by_half = dict(zip("abcdefgh", [True] * 4 + [False] * 4, strict=True))
    mixed = dict(zip("abcdefgh", [True, False] * 4, strict=True))
    first, second = element_effects("abcdefgh", scores, {"half": by_half, "mixed": mixed})
    assert first.p == pytest.approx(2 / 70)
    assert (first.p_holm, second.p_holm) == pytest.approx((2 * first.p, max(2 * first.p, second.p)))


@given(hnp.arrays(np.float64, (2, 7), elements=st.integers(0, 4).map(float)))
def test_the_pareto_front_is_what_nothing_dominates(points: np.ndarray) -> None:
    cost, score = points
    front = pareto_front(cost, score)
    for i in range(7):
        dominated = any(
            cost[j] <= cost[i] and score[j] >= score[i] and (cost[j], score[j]) != (cost[i], score[i]) for j in range(7)
        )
        assert front[i] == (not dominated)


def test_lambda_moves_the_ranking_exactly_where_the_swaps_say() -> None:
    result = xscore(TABLE.mean)
    sweep = lambda_sweep(result)
    assert sweep.scores[50] == pytest.approx(FULL)
    swaps = lambda_swaps(TABLE.models, result)
    assert [(s.before, s.after) for s in swaps] == [("tinynet", "ghostnet"), ("tinynet", "mobileone")]
    for swap in swaps:
        i, j = TABLE.models.index(swap.before), TABLE.models.index(swap.after)
        assert swap.lam == pytest.approx((result.g[i] - result.g[j]) / (result.v[i] - result.v[j]))
    for (i, a), (j, b) in itertools.combinations(enumerate(TABLE.models), 2):
        moved = (sweep.scores[0, i] > sweep.scores[0, j]) != (sweep.scores[-1, i] > sweep.scores[-1, j])
        assert moved == any({s.before, s.after} == {a, b} for s in swaps)


def test_imagenette_is_the_best_single_proxy_in_table_3() -> None:
    proxies = all_proxies(TABLE)
    assert proxies[0].dataset == "imagenette"
    own = proxy_fit(TABLE, "imagenette")
    assert own.rest is not None
    rest = xscore(TABLE.select(datasets=[d for d in TABLE.datasets if d != "imagenette"]).mean).score
    assert own.rest.rho == pytest.approx(stats.spearmanr(own.values, rest).statistic)
    assert own.whole.r > own.rest.r


@pytest.mark.parametrize("columns", [2, 7])
def test_independent_orders_are_related_in_at_most_one_of_twenty_grids(columns: int) -> None:
    noise = np.random.default_rng(2).normal(size=(800, 11, columns))
    p = np.array([relatedness_p(grid) for grid in noise])
    assert (p < 0.05).mean() < 0.065  # 2.5 standard errors of 800 above 0.05


def test_one_order_or_two_groups_of_orders_are_related() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.permuted(np.tile(np.arange(11.0), (2, 1)), axis=1)
    assert relatedness_p(TABLE.mean) < 0.001
    assert relatedness_p(np.stack([one, one, one, one, other, other, other], axis=1)) < 0.001
    assert np.isnan(relatedness_p(np.ones((11, 1))))
