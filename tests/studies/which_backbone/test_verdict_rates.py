"""How often verdicts on this study are wrong: a short run of `benchmarks.backbone_verdicts`."""

import pytest

from benchmarks.backbone_verdicts import CASES, CLAIMS, rates

GRIDS = 25


@pytest.mark.parametrize("case", ["equal, single runs, noise 1", "equal, 3 seeds, noise 1"])
def test_equal_models_seldom_get_a_verdict(case: str) -> None:
    found = rates(CASES[case], GRIDS, draws=200)
    assert set(found) == set(CLAIMS)
    for name, entry in found.items():
        if name != "imagenet":
            assert entry.wrong("supported")[0] + entry.wrong("contradicted")[0] <= 0.05 * GRIDS + 2
        else:
            assert entry.wrong("contradicted") == (0, GRIDS)


def test_models_that_are_equal_where_a_claim_looks_are_seldom_told_apart() -> None:
    names = ("natural", "astronomy", "lighter", "medical", "overall")
    for entry in rates(CASES["twins, single runs, noise 1"], GRIDS, only=names, draws=200).values():
        assert entry.wrong("supported")[0] + entry.wrong("contradicted")[0] <= 0.05 * GRIDS + 2


def test_what_is_plain_in_the_tables_is_found_again_with_three_seeds() -> None:
    found = rates(CASES["tables, 3 seeds, noise 0.5"], 10, only=("astronomy", "medical"), draws=200)
    assert all(entry.right == (10, 10) for entry in found.values())
