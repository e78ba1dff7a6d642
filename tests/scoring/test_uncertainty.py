"""Errors, intervals and orders against closed forms, scipy and small simulations (test_coverage.py has larger ones)."""

import numpy as np
import pytest
from scipy import stats

from mobilebench.errors import UserError
from mobilebench.scoring import Matrix, compute_scores, xscore
from mobilebench.scoring.uncertainty import (
    best_source,
    cell_noise,
    dataset_bootstrap,
    interval,
    leave_one_dataset_out,
    order_probability,
    pivotal,
    places_of,
    ranks_of,
    score_errors,
    shrunk,
    within_noise,
)
from mobilebench.scoring.xscore import Anchors
from mobilebench.studies.beyond_imagenet import published as reference

TABLE = reference.matrix()


def matrix_of(top1: object, n_test: int = 400) -> Matrix:
    values = np.array(top1, dtype=float)
    models, datasets = tuple(f"m{i}" for i in range(values.shape[0])), tuple(f"d{j}" for j in range(values.shape[1]))
    return Matrix(models, datasets, tuple(range(values.shape[2])), values, np.full(values.shape[1], n_test))


THREE = matrix_of(np.random.default_rng(0).uniform(0.3, 0.9, (4, 3, 3)))


def variance(matrix: Matrix, source: str, draws: int = 4000, **more: float) -> np.ndarray:
    return cell_noise(matrix, source=source, draws=draws, rng=np.random.default_rng(0), **more).variance


def test_the_noise_of_single_runs_is_binomial() -> None:
    single = matrix_of([[[0.9], [0.5]], [[0.6], [0.7]]], n_test=2500)
    assert variance(single, "test")[0] == pytest.approx(single.mean * (1 - single.mean) / 2500, rel=0.01)


def test_an_assumed_training_noise_is_what_it_says_at_one_half() -> None:
    single = matrix_of([[[0.5], [0.9]], [[0.6], [0.7]]], n_test=2500)
    more = variance(single, "test", training_noise=0.01)[0] - variance(single, "test")[0]
    assert np.sqrt(more[0]) == pytest.approx([0.01, 0.006])  # 2 sqrt(0.9 * 0.1) = 0.6


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_the_noise_of_training_is_pooled_over_models(seeds: int) -> None:
    """Eleven models of one training noise: near its square / S, though each cell alone says little."""
    rng = np.random.default_rng(seeds)
    values = 0.5 + 0.02 * rng.standard_normal((11, 7, seeds))
    drawn = variance(matrix_of(values), "seeds")
    usual = np.median(drawn, axis=0)
    assert usual.mean() == pytest.approx(0.02**2 / seeds, rel=0.2)
    assert usual.std() < 0.5 * (values.var(axis=2, ddof=1) / seeds).std()


def test_a_model_that_trains_more_noisily_than_the_others_keeps_its_noise() -> None:
    spread = np.array([0.03] + [0.01] * 10)[:, None, None]
    values = 0.5 + spread * np.random.default_rng(0).standard_normal((11, 7, 3))
    sd = np.sqrt(np.median(variance(matrix_of(values), "seeds"), axis=0).mean(axis=1) * 3)
    seen = np.sqrt(values.var(axis=2, ddof=1).mean(axis=1))
    assert sd[0] == pytest.approx(seen[0], rel=0.15)
    assert sd[0] > 1.4 * sd[1:].max()


def test_both_sources_add_their_variances() -> None:
    both, seeds, test = (variance(THREE, source).mean(axis=0) for source in ("seeds+test", "seeds", "test"))
    assert both == pytest.approx(seeds + test)


def test_the_source_follows_from_the_matrix() -> None:
    assert best_source(THREE) == "seeds+test"
    assert best_source(TABLE) == "test"
    assert best_source(matrix_of(THREE.values, n_test=0)) == "seeds"
    assert best_source(matrix_of(THREE.values[:, :, :1], n_test=0)) is None


def test_a_source_the_matrix_lacks_is_refused() -> None:
    with pytest.raises(UserError, match="single run"):
        variance(TABLE, "seeds")
    with pytest.raises(UserError, match="unknown"):
        variance(matrix_of(THREE.values, n_test=0), "test")


def test_under_fixed_anchors_the_error_of_a_mean_is_the_closed_form() -> None:
    """At lambda 0 the score is a mean of D accuracies over their ranges, so its variance is a sum of binomial ones."""
    anchors = Anchors(np.full(7, 0.2), np.full(7, 0.9))
    errors = score_errors(TABLE, source="test", lam=0.0, anchors=anchors, draws=20_000)
    expected = np.sqrt((TABLE.mean * (1 - TABLE.mean) / TABLE.n_test).sum(axis=1)) / 7 / 0.7
    assert errors.std(axis=0) == pytest.approx(expected, rel=0.03)
    assert errors.mean(axis=0) == pytest.approx(0, abs=4 * expected.max() / np.sqrt(20_000))
    low, high = pivotal(np.zeros(11), errors)
    assert high == pytest.approx(1.96 * expected, rel=0.05)
    assert low == pytest.approx(-1.96 * expected, rel=0.05)


def test_a_pivotal_interval_turns_the_errors_round_and_holds_the_score() -> None:
    """Errors of 0 to 1 say that the score is too high: the truth lies below it, and the score is its upper end."""
    low, high = pivotal(np.array([5.0]), np.linspace(0, 1, 1001)[:, None], 0.9)
    assert (low[0], high[0]) == pytest.approx((4.05, 5.0))


def test_true_scores_are_the_textbook_posterior() -> None:
    """Independent errors of variance s^2 pull a score to the mean by s^2 / (s^2 + spread^2) (Lindley and Smith 1972).

    With 200 models the spread is known well, and so is the mean.
    """
    rng = np.random.default_rng(0)
    score = rng.normal(0.4, 0.1, 200)
    drawn = shrunk(score, 0.05 * rng.standard_normal((8000, 200)))
    gain = 1 - 0.05**2 / score.var(ddof=1)
    assert np.polyfit(score, drawn.mean(axis=0), 1)[0] == pytest.approx(gain, abs=0.03)
    assert drawn.std(axis=0).mean() == pytest.approx(0.05 * np.sqrt(gain), rel=0.05)


def test_two_models_are_not_pulled_together() -> None:
    errors = np.random.default_rng(0).normal(0, 0.1, (4000, 2))
    assert shrunk(np.array([0.3, 0.5]), errors) == pytest.approx(np.array([0.3, 0.5]) - errors)


def test_datasets_within_noise_are_those_of_cochrans_q() -> None:
    """Against the chi-squared law: equal models are found in 19 of 20 cases, and a spread of 10 points never."""
    rng, found = np.random.default_rng(0), []
    for _ in range(100):
        equal = rng.binomial(1000, 0.5, (8, 2, 1)) / 1000
        equal[:, 1] += np.linspace(-0.1, 0.1, 8)[:, None]
        matrix = matrix_of(equal, n_test=1000)
        names = within_noise(matrix, source="test", draws=1000)
        assert "d1" not in names
        found.append("d0" in names)
        q = np.square(equal[:, 0, 0] - equal[:, 0, 0].mean()).sum() / (0.25 / 1000)
        assert ("d0" in names) == (stats.chi2.sf(q, 7) >= 0.05) or abs(stats.chi2.sf(q, 7) - 0.05) < 0.03
    assert np.mean(found) == pytest.approx(0.95, abs=0.07)


def test_grid_anchors_within_noise_give_no_interval_and_name_the_dataset() -> None:
    rng = np.random.default_rng(1)
    top1 = np.stack([np.linspace(0.3, 0.8, 6), np.full(6, 0.5) + 0.001 * rng.standard_normal(6)], axis=1)[..., None]
    grid = compute_scores(matrix_of(top1), draws=300)
    assert all(np.isnan([row.low, row.rank_low, row.above_next]).all() for row in grid.rows)
    assert grid.draws is None
    assert grid.source is None
    assert any("on d1 the models differ no more than noise" in note for note in grid.notes)
    fixed = compute_scores(matrix_of(top1), draws=300, anchors={"d0": (0.2, 0.9), "d1": (0.2, 0.9)})
    assert all(np.isfinite(row.low) for row in fixed.rows)


def test_an_absent_cell_leaves_its_model_alone_without_interval() -> None:
    top1 = TABLE.values.copy()
    top1[4, 2] = np.nan
    table = compute_scores(Matrix(TABLE.models, TABLE.datasets, TABLE.seeds, top1, TABLE.n_test), draws=200)
    assert [row.rank for row in table.rows] == [*range(1, 11), None]
    assert table.rows[-1].absent == ("cifar100",)
    assert np.isnan(table.rows[-1].low)
    assert all(np.isfinite(row.low) for row in table.rows[:-1])
    assert any("1 of 77 cells" in note for note in table.notes)


def test_undefined_draws_are_left_out_up_to_one_in_twenty() -> None:
    values = np.tile(np.arange(100.0)[:, None], (1, 2))
    values[:4, 0], values[:6, 1] = np.nan, np.nan
    low, high = interval(values, 0.9)
    assert (low[0], high[0]) == pytest.approx(tuple(np.quantile(np.arange(4, 100), [0.05, 0.95])))
    assert np.isnan([low[1], high[1]]).all()
    pair = np.column_stack([values[:, 0], np.full(100, 51.5)])
    assert order_probability(pair, 0, 1) == pytest.approx(48 / 96)
    assert np.isnan(order_probability(values, 1, 0))


@pytest.mark.parametrize(("undefined", "words"), [(40, "40 of 1000 draws"), (60, "No interval is given: 60 of 1000")])
def test_a_table_says_how_many_draws_are_undefined(undefined: int, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = np.random.default_rng(0).normal(0, 0.01, (1000, 11))
    errors[:undefined] = np.nan
    monkeypatch.setattr("mobilebench.scoring.table.score_errors", lambda *_, **__: errors)
    table = compute_scores(TABLE)
    assert any(words in note for note in table.notes)
    given = [np.isfinite(value) for row in table.rows for value in (row.low, row.rank_low, row.high)]
    assert all(given) if undefined < 50 else not any(given)
    assert np.isfinite(table.rows[0].above_next) == (undefined < 50)


def test_noise_that_is_known_to_be_none_hides_no_difference() -> None:
    top1 = np.repeat(np.linspace(0.3, 0.9, 5)[:, None, None] * np.ones((5, 3, 1)), 2, axis=2)
    assert within_noise(matrix_of(top1, n_test=0), source="seeds", draws=100) == ()
    assert within_noise(matrix_of(np.full((5, 3, 2), 0.5), n_test=0), source="seeds", draws=100) == ("d0", "d1", "d2")


def test_undefined_errors_do_not_erase_the_order() -> None:
    errors = np.random.default_rng(0).normal(0, 0.01, (1000, 4))
    errors[:30, 1] = np.nan
    drawn = shrunk(np.array([0.2, 0.4, 0.6, 0.8]), errors)
    assert np.isfinite(drawn).all()
    assert order_probability(drawn, 3, 0) == 1


def test_ranks_equal_scipys() -> None:
    values = np.random.default_rng(1).integers(0, 4, (30, 6)).astype(float)
    assert np.array_equal(ranks_of(values), stats.rankdata(-values, axis=1))
    assert np.array_equal(places_of(values), stats.rankdata(-values, axis=1, method="min"))


def test_equal_models_share_a_rank_in_the_table() -> None:
    top1 = np.array([[0.9, 0.8], [0.7, 0.6], [0.7, 0.6], [0.5, 0.4]])[..., None]
    table = compute_scores(matrix_of(top1), draws=400)
    assert [row.rank for row in table.rows] == [1, 2, 2, 4]
    assert table.rows[1].above_next == pytest.approx(0.5, abs=0.1)
    assert all(row.rank_low <= (row.rank or 0) <= row.rank_high for row in table.rows)


def test_order_probability_counts_ties_half() -> None:
    draws = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [2.0, 1.0]])
    assert order_probability(draws, 0, 1) == pytest.approx(0.625)
    assert order_probability(draws, 1, 0) == pytest.approx(0.375)


def test_order_probability_of_normal_scores_is_the_closed_form() -> None:
    draws = np.random.default_rng(2).normal([0.1, 0.0], 0.2, (200_000, 2))
    assert order_probability(draws, 0, 1) == pytest.approx(stats.norm.cdf(0.1 / (0.2 * 2**0.5)), abs=0.005)


def test_leaving_a_dataset_out_is_scoring_the_rest() -> None:
    left = leave_one_dataset_out(TABLE, lam=0.5)
    for j, name in enumerate(TABLE.datasets):
        rest = TABLE.select(datasets=[d for d in TABLE.datasets if d != name])
        assert left[j] == pytest.approx(xscore(rest.mean).score)


def test_dataset_bootstrap_centres_on_g_and_is_wider_than_the_test_sample() -> None:
    drawn = dataset_bootstrap(TABLE, lam=0.0, draws=20_000)
    result = xscore(TABLE.mean, lam=0.0)
    assert drawn.mean(axis=0) == pytest.approx(result.g, abs=0.005)
    assert drawn.var(axis=0) == pytest.approx(result.v * 6 / 7 / 7, rel=0.05)
    low, high = interval(dataset_bootstrap(TABLE, lam=0.5))
    row = {r.model: r for r in compute_scores(TABLE).rows}["tinynet"]
    i = TABLE.models.index("tinynet")
    assert high[i] - low[i] > 3 * (row.high - row.low)


def test_scores_are_reproducible_and_every_one_has_an_interval() -> None:
    first, second = compute_scores(TABLE), compute_scores(TABLE)
    assert [r.low for r in first.rows] == [r.low for r in second.rows]
    assert all(row.low < row.score < row.high <= 1 for row in first.rows)
    assert all(0.5 <= row.above_next <= 1 for row in first.rows[:-1])


def test_what_the_order_of_neighbours_is_worth_is_in_its_name() -> None:
    """A probability needs repeated training and known test sizes."""
    assert compute_scores(TABLE, draws=50).above_next_name == "share of test draws above next"
    repeated = np.linspace(0.3, 0.9, 5)[:, None, None] + 0.01 * np.random.default_rng(0).standard_normal((5, 3, 3))
    assert compute_scores(matrix_of(repeated), draws=50).above_next_name == "P(above next)"
    unknown = compute_scores(matrix_of(repeated, n_test=0), draws=50)
    assert unknown.above_next_name == "share of seed draws above next"
    assert any("test split is unknown" in note for note in unknown.notes)
    assert any("training was not repeated" in note for note in compute_scores(TABLE, draws=50).notes)


def test_unknown_datasets_have_no_fixed_anchors() -> None:
    with pytest.raises(UserError, match="no fixed anchors for digits"):
        compute_scores(Matrix.from_cells({("a", "digits", 0): 0.5}, {}), anchors=reference.paper_anchors())


def test_a_new_model_beyond_the_anchors_is_marked() -> None:
    cells = {("new", d, 0): 0.99 for d in reference.paper_anchors()}
    table = compute_scores(
        Matrix.from_cells(cells, dict.fromkeys(reference.paper_anchors(), 1000)), anchors=reference.paper_anchors()
    )
    assert set(table.rows[0].outside) == set(reference.paper_anchors())
    assert table.rows[0].score > 1
    assert table.rows[0].low < table.rows[0].high
