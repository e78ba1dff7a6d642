"""How often what is said of a predictor is wrong: a short run of `benchmarks.prediction`, which has more grids."""

import pytest

from benchmarks.prediction import coverage, gains, verdicts
from mobilebench.scoring.correlation import HALF


@pytest.mark.parametrize("population", ["normal", "skewed"])
def test_intervals_hold_the_truth(population: str) -> None:
    found = coverage(population, 11, 0.5, 150)
    assert found["r, Fisher"] >= 0.9
    assert found["slope, t"] >= 0.9
    # The bootstrap is no better with so few models, which is why it is not used.
    assert found["r, percentile"] <= found["r, Fisher"]


@pytest.mark.parametrize(("r", "wrong"), [(HALF - 1e-9, "predicts"), (HALF + 1e-9, "does not predict")])
@pytest.mark.parametrize("images", [500, 5000])
def test_a_verdict_at_the_bound_is_seldom_wrong(r: float, wrong: str, images: int) -> None:
    given = verdicts("skewed", 11, 6, r, 60, images=images)
    assert sum(given[name] for name in ("predicts", "does not predict", "undecided")) == 360
    assert given[wrong] <= 0.05 * 360


def test_unrelated_results_are_found_out_unless_noise_hides_them() -> None:
    much, little = (verdicts("normal", 19, 6, 0.0, 20, images=images)["does not predict"] for images in (5000, 100))
    assert much > 60
    assert little < much / 2


def test_others_are_seldom_said_to_explain_what_they_do_not() -> None:
    assert gains("skewed", 11, 6, 0.0, 150, permutations=200)["all together"] <= 0.05
    assert gains("skewed", 11, 6, 0.5, 50, permutations=200)["all together"] >= 0.7
