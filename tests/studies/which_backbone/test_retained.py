"""Orders that stay, against scipy."""

import numpy as np
import pytest
from scipy import stats

from mobilebench.scoring.correlation import HALF
from mobilebench.studies.which_backbone.retained import expected_rho, retained


def test_correlations_are_scipys() -> None:
    rng = np.random.default_rng(0)
    above, below = rng.random((11, 3)), rng.random((11, 3))
    each = [stats.spearmanr(above[:, k], below[:, k]).statistic for k in range(3)]
    found = retained(above, below)
    assert found.each == pytest.approx(each)
    assert found.rho == pytest.approx(np.mean(each))


@pytest.mark.slow
def test_the_interval_and_p_of_one_dataset_are_about_scipys() -> None:
    rng = np.random.default_rng(1)
    x = rng.random(11)
    y = x + 0.4 * rng.random(11)

    def rho(a: np.ndarray, b: np.ndarray) -> float:
        return float(stats.spearmanr(a, b).statistic)

    found = retained(x[:, None], y[:, None], draws=4000)
    ours = stats.bootstrap((x, y), rho, paired=True, vectorized=False, method="percentile", n_resamples=2000, rng=2)
    assert (found.low, found.high) == pytest.approx(tuple(ours.confidence_interval), abs=0.08)
    other = stats.permutation_test((x,), lambda a: rho(a, y), permutation_type="pairings", alternative="greater",
                                   n_resamples=2000, rng=3)  # fmt: skip
    assert found.p == pytest.approx(float(other.pvalue), abs=0.01)


def test_models_are_resampled_in_all_datasets_at_once() -> None:
    """Twelve copies of one dataset are no more evidence than one."""
    rng = np.random.default_rng(2)
    x, y = rng.random((11, 1)), rng.random((11, 1))
    one, twelve = retained(x, y), retained(np.tile(x, 12), np.tile(y, 12))
    assert (one.low, one.high, one.p) == pytest.approx((twelve.low, twelve.high, twelve.p))


@pytest.mark.parametrize("models", [6, 11])
def test_the_expected_correlation_of_a_small_sample(models: int) -> None:
    rng = np.random.default_rng(4)
    r = 2 * np.sin(np.pi * HALF / 6)
    x = rng.standard_normal((20_000, models))
    y = r * x + np.sqrt(1 - r * r) * rng.standard_normal(x.shape)
    ranks = [stats.rankdata(values, axis=1) for values in (x, y)]
    rho = 1 - 6 * np.square(ranks[0] - ranks[1]).sum(axis=1) / (models * (models**2 - 1))
    assert expected_rho(models) == pytest.approx(rho.mean(), abs=0.01)


def test_the_same_order_and_the_reverse() -> None:
    x = np.arange(8.0)[:, None]
    same, reverse = retained(x, x**3), retained(x, -x)
    assert (same.rho, same.low, same.high) == pytest.approx((1, 1, 1))
    assert same.p < 0.005
    assert reverse.rho == pytest.approx(-1)
    assert reverse.p > 0.99
