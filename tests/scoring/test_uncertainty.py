"""Draws against closed forms and scipy: what is resampled has the right spread, what is not stays fixed."""

import numpy as np
import pytest
from scipy import stats

from mobilebench.errors import UserError
from mobilebench.scoring import Matrix, compute_scores, xscore
from mobilebench.scoring.uncertainty import (
    best_source,
    dataset_bootstrap,
    draw_accuracies,
    interval,
    leave_one_dataset_out,
    order_probability,
    ranks_of,
)
from mobilebench.studies.beyond_imagenet import published as reference


def matrix_of(top1: object, n_test: int = 400) -> Matrix:
    values = np.array(top1, dtype=float)
    models, datasets = tuple(f"m{i}" for i in range(values.shape[0])), tuple(f"d{j}" for j in range(values.shape[1]))
    return Matrix(models, datasets, tuple(range(values.shape[2])), values, np.full(values.shape[1], n_test))


THREE = matrix_of(np.random.default_rng(0).uniform(0.3, 0.9, (4, 3, 3)))


def test_test_sample_draws_are_binomial() -> None:
    single = matrix_of([[[0.9], [0.5]], [[0.6], [0.7]]], n_test=250)
    drawn = draw_accuracies(single, source="test", draws=20_000)
    assert drawn.shape == (20_000, 2, 2)
    assert drawn.mean(axis=0) == pytest.approx(single.mean, abs=0.002)
    assert drawn.std(axis=0) == pytest.approx(np.sqrt(single.mean * (1 - single.mean) / 250), rel=0.03)
    low, high = interval(drawn)
    expected = stats.binom(250, 0.9).interval(0.95)
    assert (low[0, 0] * 250, high[0, 0] * 250) == pytest.approx(expected, abs=1)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_seed_draws_have_the_variance_of_a_mean(seeds: int) -> None:
    matrix = matrix_of(np.random.default_rng(seeds).uniform(0.3, 0.9, (3, 2, seeds)))
    drawn = draw_accuracies(matrix, source="seeds", draws=40_000)
    assert drawn.mean(axis=0) == pytest.approx(matrix.mean, abs=0.005)
    assert drawn.var(axis=0) == pytest.approx(matrix.top1.var(axis=2, ddof=1) / seeds, rel=0.05)


def test_seeds_may_differ_in_number_from_cell_to_cell() -> None:
    top1 = THREE.top1.copy()
    top1[0, 0, 1] = np.nan
    uneven = matrix_of(top1)
    drawn = draw_accuracies(uneven, source="seeds", draws=20_000)
    assert drawn[:, 0, 0].var() == pytest.approx(np.nanvar(top1[0, 0], ddof=1) / 2, rel=0.05)
    assert set(np.unique(drawn[:, 0, 0])) == {top1[0, 0, 0], top1[0, 0, 2]}


def test_both_sources_add_their_variances() -> None:
    both = draw_accuracies(THREE, source="seeds+test", draws=40_000).var(axis=0)
    alone = THREE.top1.var(axis=2, ddof=1) / 3
    assert np.all(both > alone)
    assert both == pytest.approx(alone + THREE.mean * (1 - THREE.mean) / 400, rel=0.1)


def test_the_source_follows_from_the_matrix() -> None:
    assert best_source(THREE) == "seeds+test"
    assert best_source(reference.matrix()) == "test"
    assert best_source(matrix_of(THREE.top1, n_test=0)) == "seeds"
    assert best_source(matrix_of(THREE.top1[:, :, :1], n_test=0)) is None


def test_a_source_the_matrix_lacks_is_refused() -> None:
    with pytest.raises(UserError, match="single run"):
        draw_accuracies(reference.matrix(), source="seeds", draws=10)
    with pytest.raises(UserError, match="unknown"):
        draw_accuracies(matrix_of(THREE.top1, n_test=0), source="test", draws=10)


def test_an_absent_cell_stays_absent_in_every_draw() -> None:
    top1 = THREE.top1.copy()
    top1[1, 2] = np.nan
    drawn = draw_accuracies(matrix_of(top1), source="seeds+test", draws=50)
    assert np.isnan(drawn[:, 1, 2]).all()
    assert np.isnan(drawn).sum() == 50
    table = compute_scores(matrix_of(top1), draws=50)
    assert [row.rank for row in table.rows] == [1, 2, 3, None]
    assert table.rows[-1].absent == ("d2",)
    assert any("1 of 12 cells" in note for note in table.notes)


def test_ranks_equal_scipys() -> None:
    values = np.random.default_rng(1).integers(0, 4, (30, 6)).astype(float)
    assert np.array_equal(ranks_of(values), stats.rankdata(-values, axis=1))


def test_order_probability_counts_ties_half() -> None:
    draws = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0], [2.0, 1.0]])
    assert order_probability(draws, 0, 1) == pytest.approx(0.625)
    assert order_probability(draws, 1, 0) == pytest.approx(0.375)


def test_order_probability_of_normal_scores_is_the_closed_form() -> None:
    draws = np.random.default_rng(2).normal([0.1, 0.0], 0.2, (200_000, 2))
    assert order_probability(draws, 0, 1) == pytest.approx(stats.norm.cdf(0.1 / (0.2 * 2**0.5)), abs=0.005)


def test_leaving_a_dataset_out_is_scoring_the_rest() -> None:
    table = reference.matrix()
    left = leave_one_dataset_out(table, lam=0.5)
    for j, name in enumerate(table.datasets):
        rest = table.select(datasets=[d for d in table.datasets if d != name])
        assert left[j] == pytest.approx(xscore(rest.mean).score)


def test_dataset_bootstrap_centres_on_g_and_is_wider_than_the_test_sample() -> None:
    table = reference.matrix()
    drawn = dataset_bootstrap(table, lam=0.0, draws=20_000)
    result = xscore(table.mean, lam=0.0)
    assert drawn.mean(axis=0) == pytest.approx(result.g, abs=0.005)
    assert drawn.var(axis=0) == pytest.approx(result.v * 6 / 7 / 7, rel=0.05)
    low, high = interval(dataset_bootstrap(table, lam=0.5))
    row = {r.model: r for r in compute_scores(table).rows}["tinynet"]
    i = table.models.index("tinynet")
    assert high[i] - low[i] > 3 * (row.high - row.low)


def test_scores_are_reproducible_and_every_one_has_an_interval() -> None:
    first, second = compute_scores(reference.matrix()), compute_scores(reference.matrix())
    assert [r.low for r in first.rows] == [r.low for r in second.rows]
    assert all(row.low < row.score < row.high for row in first.rows)
    assert all(0.5 <= row.p_above_next <= 1 for row in first.rows[:-1])


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
