"""What a probe concludes, on hand-made trials."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mobilebench.config.recipe import Recipe
from mobilebench.report.sensitivity import _moves
from mobilebench.search.space import SETTINGS, protocol_values
from mobilebench.search.trials import TrialRow
from mobilebench.sensitivity.analysis import Probe, noise_gain, ranking, regret, slice_of

OWN = protocol_values(Recipe())


def probe(
    accuracies: dict[float, list[float]], *, model: str = "alpha", dataset: str = "blobs", failed: int = 0
) -> Probe:
    """A probe of learning rates: {lr: accuracy by seed}."""
    seeds = tuple(range(len(next(iter(accuracies.values())))))
    trials = [
        TrialRow(number, seed, OWN | {"lr": lr}, "grid", "complete", values[seed])
        for number, (lr, values) in enumerate(accuracies.items())
        for seed in seeds
    ]
    trials += [TrialRow(90 + n, 0, OWN | {"lr": 9.0 + n}, "grid", "failed", None, "it diverged") for n in range(failed)]
    return Probe(model, dataset, seeds, OWN, OWN, 80, 100, tuple(trials))


def test_regret_is_the_best_found_minus_the_protocol() -> None:
    found = regret(probe({1e-3: [0.5], 3e-3: [0.7], 1e-4: [0.2]}, failed=2))
    assert found is not None
    assert (found.protocol, found.best, found.candidates) == (0.5, 0.7, 3)
    assert found.gain == pytest.approx(0.2)
    assert found.held_out is None
    assert found.beyond_noise


def test_a_protocol_that_is_best_has_no_regret() -> None:
    found = regret(probe({1e-3: [0.5], 3e-3: [0.5], 1e-4: [0.2]}))
    assert found is not None
    assert found.gain == 0
    assert not found.beyond_noise


def test_no_regret_without_the_protocols_own_trial() -> None:
    assert regret(probe({3e-3: [0.5], 1e-4: [0.2]})) is None


@pytest.mark.parametrize(("candidates", "mean"), [(2, 1 / math.sqrt(math.pi)), (3, 3 / (2 * math.sqrt(math.pi)))])
def test_chance_gain_is_the_expected_largest_of_normals(candidates: int, mean: float) -> None:
    """E max of 2 and 3 standard normals: 1/sqrt(pi) and 3/(2 sqrt(pi)) (Jones 1948)."""
    assert noise_gain(candidates, 1.0)[0] == pytest.approx(mean, abs=0.02)


def test_more_candidates_raise_the_bar() -> None:
    assert noise_gain(20, 0.05)[1] > noise_gain(3, 0.05)[1] > 0


def test_the_held_out_gain_chooses_on_the_other_seeds() -> None:
    """3e-3 wins on seed 0, the protocol on seed 1: each choice is read on the seed it did not see."""
    found = regret(probe({1e-3: [0.5, 0.6], 3e-3: [0.8, 0.4]}))
    assert found is not None
    assert found.best == pytest.approx(0.6)
    # left out 0: chosen on seed 1 is the protocol, gain 0; left out 1: chosen on seed 0 is 3e-3, gain 0.4 - 0.6
    assert found.held_out == pytest.approx((0 + (0.4 - 0.6)) / 2)


def test_a_setting_with_a_missing_seed_is_no_candidate() -> None:
    whole = probe({1e-3: [0.5, 0.6], 3e-3: [0.8, 0.9]})
    found = regret(Probe("alpha", "blobs", (0, 1), OWN, OWN, 80, 100, whole.trials[:-1]))
    assert found is None


def test_a_slice_goes_through_the_protocols_point_in_the_order_of_the_axis() -> None:
    one = probe({1e-2: [0.3], 1e-3: [0.5], 1e-4: [0.4]})
    beside = TrialRow(9, 0, OWN | {"lr": 5e-3, "batch_size": 8, "batch": 8}, "sample", "complete", 0.9)
    points = slice_of(Probe("alpha", "blobs", (0,), OWN, OWN, 80, 100, (*one.trials, beside)), "lr")
    assert [(p.value, p.mean) for p in points] == [(1e-4, 0.4), (1e-3, 0.5), (1e-2, 0.3)]
    assert [p.is_protocol for p in points] == [False, True, False]


def test_the_ranking_turns_round_when_the_loser_gets_its_setting() -> None:
    probes = [
        probe({1e-3: [0.5], 1e-2: [0.9]}, model="alpha", dataset="one"),
        probe({1e-3: [0.4], 1e-2: [0.8]}, model="alpha", dataset="two"),
        probe({1e-3: [0.6], 1e-2: [0.1]}, model="beta", dataset="one"),
        probe({1e-3: [0.7], 1e-2: [0.1]}, model="beta", dataset="two"),
    ]
    found = ranking(probes, 0.5)
    assert found is not None
    assert found.rank["protocol"].tolist() == [2, 1]
    assert found.rank["best per model"].tolist() == [1, 2]
    assert found.settings == {"alpha": "lr=0.01", "beta": "as the protocol"}
    assert np.allclose(found.accuracy["best per cell"], [[0.9, 0.8], [0.6, 0.7]])


def test_one_setting_for_all_datasets_is_not_the_best_of_each() -> None:
    probes = [
        probe({1e-3: [0.5], 1e-2: [0.9]}, model=m, dataset="one") for m in ("alpha", "beta")
    ] + [probe({1e-3: [0.8], 1e-2: [0.5]}, model=m, dataset="two") for m in ("alpha", "beta")]  # fmt: skip
    found = ranking(probes, 0.5)
    assert found is not None
    assert found.accuracy["best per model"][0].tolist() == [0.9, 0.5]
    assert found.accuracy["best per cell"][0].tolist() == [0.9, 0.8]


def test_no_ranking_of_one_model() -> None:
    assert ranking([probe({1e-3: [0.5], 1e-2: [0.9]})], 0.5) is None


def test_a_setting_that_was_not_probed_is_one_point_of_its_slice() -> None:
    one = probe({1e-2: [0.3], 1e-3: [0.5]})
    assert [len(slice_of(one, name)) for name in SETTINGS] == [2, 1, 1, 1, 1, 1, 1]
    assert one.varied() == ("lr",)


def test_a_dataset_on_which_all_tie_is_said_to_leave_no_score() -> None:
    probes = [
        probe({1e-3: [low], 1e-2: [0.9]}, model=model, dataset=dataset)
        for model, low in (("alpha", 0.5), ("beta", 0.6))
        for dataset in ("one", "two")
    ]
    found = ranking(probes, 0.5)
    assert found is not None
    assert np.isnan(found.rank["best per cell"]).all()
    words = _moves(found, "best per cell")
    assert "no xScore" in words
    assert "change rank" not in words
    assert "0 of 2 orders" in words
