"""How often verdicts on who leads and who is last are wrong: a short run of `benchmarks.verdicts`."""

import pytest

from benchmarks.verdicts import CASES, rates

PLACES = ("leaders", "last")


@pytest.mark.parametrize("seeds", [1, 3])
def test_equal_models_neither_support_nor_contradict_who_leads(seeds: int) -> None:
    found = rates(CASES[f"equal, {'single runs' if seeds == 1 else '3 seeds'}, noise 1"], 30, only=PLACES, draws=300)
    for name in PLACES:
        assert found[name].wrong("supported") == (0, 30)
        assert found[name].wrong("contradicted") == (0, 30)


def test_a_claim_that_is_barely_false_is_seldom_supported() -> None:
    """`benchmarks.verdicts` has all claims and more grids."""
    found = rates(CASES["barely false, 2 seeds, noise 0.5"], 60, only=["leaders"], draws=300)["leaders"]
    times, chances = found.wrong("supported")
    assert chances == 60
    assert times <= 0.05 * 60 + 2


def test_the_published_order_is_found_again_with_three_seeds() -> None:
    found = rates(CASES["Table 3, 3 seeds, noise 0.5"], 30, only=PLACES, draws=300)
    power = {name: found[name].right[0] / 30 for name in PLACES}
    assert power["leaders"] > 0.4
    assert power["last"] > 0.9
    assert all(found[name].wrong("contradicted") == (0, 30) for name in PLACES)
