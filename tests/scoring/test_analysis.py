"""Correlations, subsets, elements, Pareto and lambda against scipy, scikit-learn and hand-worked answers."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import LeaveOneOut

from mobilebench.errors import UserError
from mobilebench.scoring import Matrix, xscore
from mobilebench.scoring.correlation import fisher_interval, fit, kendall, spearman
from mobilebench.scoring.effects import element_effects, lambda_swaps, lambda_sweep, pareto_front
from mobilebench.scoring.proxy import all_proxies, proxy_fit
from mobilebench.scoring.subsets import (
    all_subsets,
    complete,
    direct_scores,
    place,
    place_without_each_model,
    predict_new,
    predicted_scores,
)
from mobilebench.studies.beyond_imagenet import published as reference

TABLE = reference.matrix()
FULL = xscore(TABLE.mean).score
PAIRS = hnp.arrays(np.float64, (2, 9), elements=st.integers(0, 5).map(float))


@given(PAIRS)
def test_rank_correlations_equal_scipys(pair: np.ndarray) -> None:
    x, y = pair
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        assert np.isnan(spearman(x, y))
        assert np.isnan(kendall(x, y))
        return
    assert float(spearman(x, y)) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert float(kendall(x, y)) == pytest.approx(stats.kendalltau(x, y).statistic)


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


def test_the_fisher_interval_covers_the_true_correlation() -> None:
    rng = np.random.default_rng(5)
    pairs = rng.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], size=(2000, 11))
    hits = [low < 0.6 < high for p in pairs for low, high in [fisher_interval(stats.pearsonr(*p.T).statistic, 11)]]
    assert 0.93 < np.mean(hits) < 0.97


def test_there_is_every_subset_once_and_the_whole_agrees_with_itself() -> None:
    assert len({s.datasets for s in all_subsets(TABLE, 4)}) == 35
    (whole,) = all_subsets(TABLE, 7)
    assert (whole.spearman, whole.kendall, whole.top_k) == pytest.approx((1, 1, 1))
    assert (whole.rmse, whole.held_out_rmse) == pytest.approx((0, 0), abs=1e-12)


def test_a_subset_is_judged_as_scipy_would() -> None:
    _, found = place(all_subsets(TABLE, 4), reference.PAPER_FOUR, "spearman")
    direct = xscore(TABLE.select(datasets=reference.PAPER_FOUR).mean).score
    assert found.spearman == pytest.approx(stats.spearmanr(direct, FULL).statistic)
    assert found.rmse == pytest.approx(np.sqrt(np.mean((direct - FULL) ** 2)))
    assert found.top_k == pytest.approx(2 / 3)


def test_the_papers_four_are_first_by_order_and_far_behind_by_value() -> None:
    subsets = all_subsets(TABLE, 4)
    assert place(subsets, reference.PAPER_FOUR, "spearman")[0] == 1
    assert place(subsets, reference.PAPER_FOUR, "rmse")[0] == 24
    places = place_without_each_model(TABLE, reference.PAPER_FOUR)
    assert [name for name, _, _ in places] == list(TABLE.models)
    assert all((winner == reference.PAPER_FOUR) <= (at == 1) for _, winner, at in places)


def test_the_prediction_equals_scikit_learns_regression() -> None:
    part = xscore(TABLE.mean).normalised[:, [TABLE.datasets.index(d) for d in reference.PAPER_FOUR]]
    ours = predicted_scores(TABLE, reference.PAPER_FOUR, held_out=False)
    assert ours == pytest.approx(LinearRegression().fit(part, FULL).predict(part))


def test_a_held_out_model_is_scored_on_the_scale_and_the_line_of_the_others() -> None:
    accuracy = TABLE.mean
    columns = [TABLE.datasets.index(d) for d in reference.PAPER_FOUR]
    expected, direct, full = [], [], []
    for seen, (left,) in LeaveOneOut().split(accuracy):
        low, high = accuracy[seen].min(axis=0), accuracy[seen].max(axis=0)
        scaled = (accuracy - low) / (high - low)
        target = scaled.mean(axis=1) - 0.5 * scaled.var(axis=1, ddof=1)
        line = LinearRegression().fit(scaled[np.ix_(seen, columns)], target[seen])
        expected.append(line.predict(scaled[[left]][:, columns])[0])
        direct.append(scaled[left, columns].mean() - 0.5 * scaled[left, columns].var(ddof=1))
        full.append(target[left])
    assert predicted_scores(TABLE, reference.PAPER_FOUR) == pytest.approx(expected)
    found = place(all_subsets(TABLE, 4), reference.PAPER_FOUR, "spearman")[1]
    assert found.held_out_rmse == pytest.approx(np.sqrt(np.mean(np.subtract(direct, full) ** 2)))


def test_too_few_models_have_no_prediction_but_a_direct_score() -> None:
    small = TABLE.select(models=TABLE.models[:5])
    assert np.isnan(predicted_scores(small, reference.PAPER_FOUR)).all()
    assert np.isfinite(direct_scores(small, reference.PAPER_FOUR)).all()


def test_impossible_subsets_are_refused() -> None:
    with pytest.raises(UserError, match="2 to 7"):
        all_subsets(TABLE, 8)
    with pytest.raises(UserError, match="not among"):
        place(all_subsets(TABLE, 3), reference.PAPER_FOUR, "rmse")
    cells = {(f"m{i}", d, 0): 0.5 + i / 100 for i in range(5) for d in "xy" if (i, d) != (2, "y")}
    assert complete(Matrix.from_cells(cells, {})).models == ("m0", "m1", "m3", "m4")
    with pytest.raises(UserError, match="found 3"):
        complete(Matrix.from_cells({k: v for k, v in cells.items() if k[0] != "m4"}, {}))


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
    assert own.rest.rho == pytest.approx(stats.spearmanr(own.accuracy, rest).statistic)
    assert own.whole.r > own.rest.r


def test_new_models_are_predicted_by_the_references_regression() -> None:
    seen = TABLE.select(models=[m for m in TABLE.models if m != "starnet"])
    new = TABLE.select(models=["starnet"], datasets=reference.PAPER_FOUR)
    found = predict_new(new, seen)
    at = TABLE.models.index("starnet")
    assert found.predicted == pytest.approx(predicted_scores(TABLE, reference.PAPER_FOUR)[[at]])
    columns = [TABLE.datasets.index(d) for d in reference.PAPER_FOUR]
    scaled = xscore(TABLE.mean).normalised[at, columns]  # starnet holds no anchor, so the scale is the same
    assert found.direct == pytest.approx([scaled.mean() - 0.5 * scaled.var(ddof=1)])
    assert 0 < found.error < 1
    with pytest.raises(UserError, match="digits, which the reference grid lacks"):
        predict_new(Matrix.from_cells({("a", "digits", 0): 0.5}, {}), TABLE)
    with pytest.raises(UserError, match="too few"):
        predict_new(new, TABLE.select(models=TABLE.models[:5]))
