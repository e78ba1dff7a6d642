"""Each way of aggregating against an example worked by hand, and against pandas on grids drawn at random."""

import numpy as np
import pandas as pd
import pytest

from mobilebench.errors import UserError
from mobilebench.scoring import Matrix, xscore
from mobilebench.scoring.aggregation import TITLES, aggregated, in_domains, overall

DOMAINS = {"a": "near", "b": "near", "c": "far", "d": "far", "e": "sky"}
LABELS = list(DOMAINS.values())


def grid(values: list[list[float]], metrics: tuple[str, ...] = ()) -> Matrix:
    array = np.array(values)
    models = tuple(f"m{k}" for k in range(len(array)))
    sizes = np.full(array.shape[1], 100)
    return Matrix(models, tuple(DOMAINS)[: array.shape[1]], (0,), array[..., None], sizes, metrics)


HAND = [  # a, b | c, d | e
    [0.90, 0.80, 0.10, 0.20, 0.50],  # near 0.85, far 0.15, sky 0.50
    [0.70, 0.80, 0.30, 0.20, 0.60],  # near 0.75, far 0.25, sky 0.60
    [0.50, 0.60, 0.90, 0.80, 0.50],  # near 0.55, far 0.85, sky 0.50
    [0.10, 0.10, 0.10, 0.10, 0.10],  # near 0.10, far 0.10, sky 0.10
]
BY_HAND = {
    "mean_result": [2.5 / 5, 2.6 / 5, 3.3 / 5, 0.5 / 5],
    # ranks: a 1 2 3 4; b 1.5 1.5 3 4; c 3.5 2 1 3.5; d 2.5 2.5 1 4; e 2.5 1 2.5 4
    "mean_rank": [-11 / 5, -9 / 5, -10.5 / 5, -19.5 / 5],
    "domain_mean": [1.5 / 3, 1.6 / 3, 1.9 / 3, 0.3 / 3],
    # near 1 2 3 4; far 3 2 1 4; sky 2.5 1 2.5 4
    "domain_rank": [-6.5 / 3, -5 / 3, -6.5 / 3, -12 / 3],
    "top_3": [3, 3, 3, 0],
}


@pytest.mark.parametrize("way", BY_HAND)
def test_worked_by_hand(way: str) -> None:
    assert aggregated(np.array(HAND), LABELS, way) == pytest.approx(BY_HAND[way])


def test_ways_disagree_on_the_best_of_the_example() -> None:
    best = {found.id: found.best(1) for found in overall(grid(HAND), DOMAINS)}
    assert best["mean_result"] == (("m2",),)
    assert best["mean_rank"] == best["domain_rank"] == (("m1",),)
    assert best["top_3"] == (("m0", "m1", "m2"),)
    assert set(best) == set(TITLES)


def test_places_and_what_is_shown() -> None:
    found = {entry.id: entry for entry in overall(grid(HAND), DOMAINS)}
    assert found["domain_rank"].places.tolist() == [2, 1, 2, 4]
    assert found["domain_rank"].shown == pytest.approx([6.5 / 3, 5 / 3, 6.5 / 3, 4])
    assert found["domain_rank"].best() == (("m1",), ("m0", "m2"))
    assert found["top_3"].shown.tolist() == [3, 3, 3, 0]


def test_equals_pandas_on_random_grids() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        values = rng.integers(0, 6, size=(7, 5)) / 5  # with ties
        frame = pd.DataFrame(values, columns=list(DOMAINS))
        ranks = frame.rank(ascending=False)
        domain = frame.T.groupby(LABELS, sort=False).mean().T.round(12)
        assert aggregated(values, LABELS, "mean_result") == pytest.approx(frame.mean(axis=1).to_numpy())
        assert aggregated(values, LABELS, "mean_rank") == pytest.approx(-ranks.mean(axis=1).to_numpy())
        assert aggregated(values, LABELS, "domain_mean") == pytest.approx(domain.mean(axis=1).to_numpy())
        by_rank = domain.rank(ascending=False).mean(axis=1)
        assert aggregated(values, LABELS, "domain_rank") == pytest.approx(-by_rank.to_numpy())
        top = (domain.rank(ascending=False, method="min") <= 3).sum(axis=1)
        assert aggregated(values, LABELS, "top_3").tolist() == top.tolist()
        assert aggregated(values, LABELS, "xscore", lam=0.3) == pytest.approx(xscore(values, lam=0.3).score)


@pytest.mark.parametrize("way", TITLES)
def test_a_stack_gives_each_of_its_grids(way: str) -> None:
    stack = np.random.default_rng(1).random((4, 6, 5))
    found = aggregated(stack, LABELS, way)
    assert found.shape == (4, 6)
    for one, values in zip(found, stack, strict=True):
        assert one == pytest.approx(aggregated(values, LABELS, way))


@pytest.mark.parametrize("way", TITLES)
def test_a_model_with_an_absent_result_has_no_place(way: str) -> None:
    values = np.array(HAND)
    values[1, 2] = np.nan
    with np.errstate(invalid="ignore"):
        found = aggregated(values, LABELS, way)
    assert np.isnan(found).tolist() == [False, True, False, False]


def test_of_several_metrics_only_ranks_and_xscore_are_left() -> None:
    metrics = ("top1", "top1", "top1", "top1", "macro_f1")
    found = overall(grid(HAND, metrics), DOMAINS)
    assert [entry.id for entry in found] == ["mean_rank", "xscore"]
    assert found[0].upward == pytest.approx(BY_HAND["mean_rank"])
    assert [entry.id for entry in in_domains(grid(HAND, metrics), DOMAINS)["sky"]] == ["mean_result", "mean_rank"]


def test_domains_by_themselves() -> None:
    found = in_domains(grid(HAND), DOMAINS)
    assert list(found) == ["near", "far", "sky"]
    near = {entry.id: entry for entry in found["near"]}
    assert near["mean_result"].upward == pytest.approx([0.85, 0.75, 0.55, 0.10])
    assert near["mean_rank"].shown == pytest.approx([1.25, 1.75, 3, 4])
    assert "xscore" in near
    assert [entry.id for entry in found["sky"]] == ["mean_result", "mean_rank"]


def test_datasets_without_a_domain_are_left_out_and_none_at_all_is_refused() -> None:
    found = overall(grid(HAND), {"a": "near", "c": "far"})
    assert found[0].upward == pytest.approx([0.5, 0.5, 0.7, 0.1])
    with pytest.raises(UserError, match="none of a, b, c, d, e has a domain"):
        overall(grid(HAND), {})
    with pytest.raises(UserError, match="no way of aggregating is called 'median'; there are mean_result"):
        aggregated(np.array(HAND), LABELS, "median")


def test_within_domains_equal_results_share_their_rank_and_a_lower_loss_is_better() -> None:
    values = np.array([
        [0.90, 0.70, 0.50, 0.3],
        [0.90, 0.80, 0.60, 0.2],
        [0.60, 0.60, 0.55, 0.1],
        [0.80, np.nan, 0.40, 0.4],
    ])  # fmt: skip
    names = ("eyes", "skin", "cloth", "lungs")
    given = Matrix(("a", "b", "c", "d"), names, (0,), values[:, :, None], np.full(4, 100), ("top1",) * 3 + ("nll",))
    of = {"eyes": "medical", "skin": "medical", "cloth": "texture", "lungs": "chest"}
    found = {domain: {way.id: way for way in ways} for domain, ways in in_domains(given, of).items()}
    # eyes: a and b share 1.5, d 3, c 4; skin: b 1, a 2, c 3, and d has no result there
    np.testing.assert_allclose(found["medical"]["mean_rank"].shown, [1.75, 1.25, 3.5, np.nan])
    np.testing.assert_allclose(found["medical"]["mean_result"].upward, [0.80, 0.85, 0.60, np.nan])
    np.testing.assert_allclose(found["texture"]["mean_rank"].shown, [3, 1, 2, 4])
    np.testing.assert_allclose(found["chest"]["mean_rank"].shown, [3, 2, 1, 4])
    both = {way.id: way for way in in_domains(given, of | {"lungs": "medical"})["medical"]}
    assert "mean_result" not in both
    np.testing.assert_allclose(both["mean_rank"].shown, [6.5 / 3, 4.5 / 3, 8 / 3, np.nan])
