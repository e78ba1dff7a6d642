"""Friedman and Nemenyi against scipy, Demsar's table of critical values, and equal models."""

import math

import numpy as np
import pytest
from scipy import stats

from mobilebench.errors import UserError
from mobilebench.scoring.rank_tests import rank_test

# Demsar 2006, Table 5(a): two-tailed Nemenyi, level 0.05, for 2 to 10 classifiers.
Q_05 = {3: 2.343, 4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102, 10: 3.164}
Q_10 = {3: 2.052, 4: 2.291, 5: 2.459, 6: 2.589, 7: 2.693, 8: 2.780, 9: 2.855, 10: 2.920}


@pytest.mark.parametrize(("level", "table"), [(0.95, Q_05), (0.90, Q_10)])
def test_the_critical_difference_is_that_of_the_published_table(level: float, table: dict[int, float]) -> None:
    for models, q in table.items():
        found = rank_test(np.random.default_rng(0).random((models, 14)), level)
        assert found.difference == pytest.approx(q * math.sqrt(models * (models + 1) / (6 * 14)), abs=0.001)


def test_demsars_example_of_four_classifiers_on_fourteen_datasets() -> None:
    """Section 3.2.2: CD = 1.25 at 0.05, mean ranks 3.143, 2.000, 2.893, 1.964."""
    found = rank_test(np.random.default_rng(0).random((4, 14)))
    assert found.difference == pytest.approx(1.25, abs=0.005)


def test_friedman_and_ranks_are_scipys() -> None:
    values = np.random.default_rng(3).integers(0, 8, size=(5, 9)) / 8
    found = rank_test(values)
    assert found.p == pytest.approx(float(stats.friedmanchisquare(*values).pvalue))
    assert found.ranks == pytest.approx(stats.rankdata(-values, axis=0).mean(axis=1))


def test_a_pairs_p_is_the_level_where_it_is_the_critical_difference_apart() -> None:
    values = np.random.default_rng(4).random((6, 12))
    found = rank_test(values)
    for a in range(6):
        for b in range(6):
            apart = bool(abs(found.ranks[a] - found.ranks[b]) > found.difference)
            assert bool(found.p_pairs[a, b] < 0.05) is apart
    assert (np.diagonal(found.p_pairs) == 1).all()


def test_groups_are_the_largest_without_a_difference() -> None:
    step = np.array([0.9, 0.8, 0.5, 0.2, 0.1])
    values = np.tile(step[:, None], (1, 12))  # ranks 1 to 5; critical difference 1.76
    found = rank_test(values)
    assert 1 < found.difference < 2
    assert found.groups() == ((0, 1), (1, 2), (2, 3), (3, 4))
    wide = rank_test(np.tile(step[:, None], (1, 4)))  # critical difference 3.05
    assert wide.groups() == ((0, 1, 2, 3), (1, 2, 3, 4))


def test_models_that_all_differ_are_in_no_group() -> None:
    assert rank_test(np.tile(np.array([0.9, 0.5, 0.1])[:, None], (1, 40))).groups() == ()


@pytest.mark.slow
def test_equal_models_differ_in_a_twentieth_of_grids() -> None:
    rng, grids = np.random.default_rng(5), 600
    some = sum(bool(np.ptp((found := rank_test(rng.random((6, 15)))).ranks) > found.difference) for _ in range(grids))
    assert stats.binomtest(some, grids, 0.05).pvalue > 0.001


def test_what_cannot_be_tested_is_refused() -> None:
    with pytest.raises(UserError, match="needs 3 models and 2 datasets; found 2 and 5"):
        rank_test(np.zeros((2, 5)))
    with pytest.raises(UserError, match="some are absent"):
        rank_test(np.array([[1.0, np.nan], [0.5, 0.5], [0.1, 0.2]]))
