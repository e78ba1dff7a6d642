"""What differs by rounding alone is equal, and a number of equal values is undefined: no 0, no 1, no first place."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mobilebench.analysis.compare import compare
from mobilebench.config.parsing import digest
from mobilebench.errors import UserError
from mobilebench.report.analysis import subset_findings
from mobilebench.scoring import Matrix, compute_scores
from mobilebench.scoring.correlation import fit, pearson, spearman
from mobilebench.scoring.effects import element_effects, lambda_swaps, pareto_front
from mobilebench.scoring.proxy import all_proxies, proxy_fit
from mobilebench.scoring.subsets import Subset, all_subsets, place, predict_new
from mobilebench.scoring.xscore import xscore
from mobilebench.search.trials import TrialRow
from mobilebench.sensitivity.analysis import Probe, forest_r2, regret
from mobilebench.studies.beyond_imagenet import published

RNG = np.random.default_rng(0)
TENTH = np.array([0.1, 0.2, 0.3])  # the mean of these three in other orders differs in the last bit
FLAT = np.array([0.3, 0.1 + 0.2, 0.3, 0.1 + 0.2, 0.3])  # equal but for rounding


def matrix(top1: np.ndarray) -> Matrix:
    models, datasets = top1.shape
    names = tuple(f"m{i}" for i in range(models))
    return Matrix(names, tuple(f"d{j}" for j in range(datasets)), (0,), top1[..., None], np.full(datasets, 1000))


def with_flat_column() -> Matrix:
    top1 = RNG.uniform(0.3, 0.9, (5, 5))
    top1[:, 2] = FLAT
    return matrix(top1)


def test_a_span_of_rounding_is_no_scale() -> None:
    assert FLAT.min() != FLAT.max()
    assert np.isnan(xscore(with_flat_column().mean).score).all()
    assert any("No scale on d2" in note for note in compute_scores(with_flat_column()).notes)


def test_a_correlation_with_a_constant_is_undefined() -> None:
    other = np.array([1.0, 2, 3, 4, 6])
    for statistic in (pearson, spearman):
        assert math.isnan(statistic(FLAT, other)), statistic
        assert math.isnan(statistic(other, FLAT)), statistic
    with pytest.raises(UserError, match="models that differ"):
        fit(FLAT, other)
    with pytest.raises(UserError, match="some have no score"):
        fit(other, np.array([1.0, math.nan, 3, 4, 5]))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_correlation_does_not_depend_on_scale(scale: float) -> None:
    from scipy import stats

    x, y = RNG.normal(size=(2, 9))
    assert pearson(scale * x, y) == pytest.approx(stats.pearsonr(x, y)[0])


def test_subsets_of_a_flat_grid_are_refused_with_its_dataset() -> None:
    with pytest.raises(UserError, match="same value on d2, so no xScore exists"):
        all_subsets(with_flat_column(), 3)


def test_nothing_undefined_has_a_place() -> None:
    nothing = Subset(("a", "b"), math.nan, math.nan, math.nan, math.nan, math.nan)
    with pytest.raises(UserError, match="spearman is undefined"):
        place([nothing], ("a", "b"), "spearman")


def test_proxies_of_a_flat_grid_are_none() -> None:
    assert all_proxies(with_flat_column()) == ()
    with pytest.raises(UserError, match="no score"):
        proxy_fit(with_flat_column(), "d0")


def test_a_prediction_from_a_flat_reference_is_refused_and_of_an_absent_cell_undefined() -> None:
    reference = matrix(RNG.uniform(0.3, 0.9, (9, 5)))
    new = Matrix(("new", "half"), ("d0", "d1"), (0,), np.array([[[0.5], [0.6]], [[0.5], [math.nan]]]), np.zeros(2, int))
    with pytest.raises(UserError, match="same value on d2"):
        predict_new(new, with_flat_column())
    found = predict_new(new, reference)
    assert np.isfinite(found.predicted).tolist() == np.isfinite(found.direct).tolist() == [True, False]


def test_an_effect_on_equal_scores_has_no_p() -> None:
    elements = {"a": {f"m{i}": i < 2 for i in range(5)}, "b": {f"m{i}": i < 3 for i in range(5)}}
    models = [f"m{i}" for i in range(5)]
    for effect in element_effects(models, FLAT, elements):
        assert math.isnan(effect.p)
        assert math.isnan(effect.smallest_p)
        assert math.isnan(effect.p_holm)
    assert all(0 < effect.p <= 1 for effect in element_effects(models, np.arange(5.0), elements))


def test_equal_models_share_the_front_and_never_swap() -> None:
    cost = np.ones(5)
    assert pareto_front(cost, FLAT).all()
    rows = np.stack([np.tile(TENTH, 2), np.tile(TENTH[::-1], 2)])
    result = xscore(np.concatenate([rows, np.zeros((1, 6)), np.ones((1, 6))]))
    assert result.g[0] == pytest.approx(result.g[1], abs=1e-15)
    assert not [s for s in lambda_swaps("abcd", result) if {s.before, s.after} == {"a", "b"}]


def test_a_comparison_of_rounding_is_of_nothing() -> None:
    top1 = RNG.uniform(0.3, 0.9, (3, 4))
    found = compare(matrix(top1), matrix((top1 * 3) / 3))
    assert {row.difference for row in found.rows} == {0.0}


def test_findings_on_a_grid_where_noise_is_undefined_give_no_verdict() -> None:
    tied = matrix(np.array([[0.1, 0.1, 0.1], [0.1, 0.1, 0.1], [0.1, 0.1, 0.1], [0.9, 0.9, 0.9]]))
    words, (choice, every) = subset_findings(tied, 2, lam=0.5)
    assert "more than noise explains" not in words
    assert "nan" not in words + "".join(f.text for table in (choice, every) for row in table.rows for f in row)


def probe(rows: dict[float, tuple[float, ...]]) -> Probe:
    own = {"lr": 1e-3}
    trials = tuple(
        TrialRow(number, seed, {"lr": lr}, "grid", "complete", top1)
        for number, (lr, found) in enumerate(rows.items())
        for seed, top1 in enumerate(found)
    )
    assert digest(own) in {trial.key for trial in trials}
    return Probe("net", "data", tuple(range(len(next(iter(rows.values()))))), own, own, 100, 50, trials)


def test_a_gain_of_rounding_is_none_and_without_noise_nothing_is_beyond_it() -> None:
    found = regret(probe({1e-3: (0.3, 0.3), 1e-2: (0.1 + 0.2, 0.1 + 0.2)}))
    assert found is not None
    assert found.gain == 0
    assert found.best_key == digest({"lr": 1e-3})
    assert found.beyond_noise is None
    better = regret(probe({1e-3: (0.3, 0.3), 1e-2: (0.4, 0.4)}))
    assert better is not None
    assert better.gain == pytest.approx(0.1)
    assert better.beyond_noise is None


def test_a_forest_on_equal_accuracies_explains_nothing_rather_than_all() -> None:
    rows = [{"lr": 10.0**-k, "batch": 8 * k} for k in range(1, 12)]
    assert math.isnan(forest_r2(rows, [0.3, 0.1 + 0.2] * 5 + [0.3], ("lr", "batch")))


def test_the_published_grid_is_as_it_was() -> None:
    """Rounding is far below any difference of a real grid."""
    found = all_subsets(published.matrix(), 4)
    _, own = place(found, published.PAPER_FOUR, "whole_spearman")
    assert own.whole_spearman == pytest.approx(0.982, abs=5e-4)
