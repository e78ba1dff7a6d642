"""Intervals and orders against the truth they were measured on: a short run of `benchmarks.coverage`."""

import numpy as np
import pytest

from benchmarks.coverage import Tally, World, drawn_world, simulate, table_3
from benchmarks.paired import Shared, differences
from benchmarks.paired import simulate as simulate_shared
from benchmarks.paired import table_3 as table_3_shared

GRIDS = 80


@pytest.fixture(scope="module", params=[(1, 0.0, False), (2, 0.5, False), (3, 0.5, False), (2, 0.5, True)], ids=str)
def on_table_3(request: pytest.FixtureRequest) -> Tally:
    seeds, noise, fixed = request.param
    return simulate(table_3(seeds, (noise,)), fixed=fixed, grids=GRIDS, draws=300)


def test_intervals_hold_the_truth(on_table_3: Tally) -> None:
    """The bounds are 0.93 on average and 0.90 for the worst model; three standard errors of 80 grids are 0.1."""
    assert on_table_3.outside == 0
    assert on_table_3.coverage.mean() >= 0.93
    assert on_table_3.coverage.min() >= 0.90 - 0.1
    assert on_table_3.relative_width <= 1.3


def test_an_order_called_probable_is_true_as_often(on_table_3: Tally) -> None:
    said, true, n = on_table_3.order(0.85, 0.95)
    assert n > 60
    assert true == pytest.approx(said, abs=0.07)


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize(
    "world", [drawn_world(0, 3, 330), drawn_world(0, 7, 3000, seeds=2, noise=0.7)], ids=["demo", "two_seeds"]
)
def test_the_best_of_equal_models_is_not_said_to_beat_the_worst(world: World, *, fixed: bool) -> None:
    assert simulate(world, fixed=fixed, grids=80, draws=200).false_extremes <= 0.10 + 0.03


@pytest.mark.parametrize("world", [table_3_shared(0.5), table_3_shared(0.8, seeds=2, noise=0.5)], ids=["runs", "seeds"])
def test_intervals_of_models_that_share_their_images_hold_the_truth_and_are_narrower(world: Shared) -> None:
    """Bounds as above, three standard errors of 40 grids further; a narrower interval must hold the truth as often."""
    paired, apart = simulate_shared(world, fixed=False, grids=40, draws=300)
    assert paired.tally.coverage.mean() >= 0.93
    assert paired.tally.coverage.min() >= 0.90 - 0.14
    assert paired.tally.relative_width <= 1.35
    assert 0.93 <= np.mean(paired.inside) <= 0.99
    assert np.mean(paired.width) < 0.85 * np.mean(apart.width)


def test_an_order_called_probable_is_true_as_often_where_models_share_their_images() -> None:
    paired, _ = simulate_shared(table_3_shared(0.5), fixed=True, grids=60, draws=300)
    said, true, n = paired.tally.order(0.85, 0.99)
    assert n > 80
    assert true == pytest.approx(said, abs=0.09)


@pytest.mark.parametrize(
    ("correlation", "seeds", "noise", "bound"),
    [(0.0, 1, 0.0, 0.06), (0.8, 1, 0.0, 0.06), (0.8, 2, 0.005, 0.04), (0.0, 3, 0.005, 0.05)],
)
def test_equal_models_are_said_to_differ_in_one_of_twenty_cases(
    correlation: float, seeds: int, noise: float, bound: float
) -> None:
    """n = 1,000 pairs: the standard error of 0.05 is 0.007. Two runs give wide intervals, see the benchmark."""
    found = differences(correlation, seeds=seeds, noise=noise, step=0.0, n=300, pairs=1000)
    assert 1 - np.mean(found.inside) <= bound
    if seeds == 1:
        assert np.mean(np.array(found.mcnemar) <= 0.05) <= 0.05


def test_a_shared_image_narrows_the_interval_of_a_difference() -> None:
    """By sqrt(1 - correlation) for single runs."""
    found = differences(0.5, seeds=1, noise=0.0, step=0.01, n=2000, pairs=200)
    assert np.mean(found.width) / np.mean(found.width_apart) == pytest.approx(np.sqrt(0.5), rel=0.02)
