"""Intervals and orders against the truth they were measured on: a short run of `benchmarks.coverage`."""

import numpy as np
import pytest

from benchmarks.coverage import Tally, World, drawn_world, simulate, table_3
from benchmarks.paired import Shared
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
