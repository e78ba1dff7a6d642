"""What a probe concludes, on hand-made trials."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from mobilebench.config.recipe import Recipe
from mobilebench.report.sensitivity import _moves, _regret
from mobilebench.search.space import SETTINGS, protocol_values
from mobilebench.search.trials import TrialRow
from mobilebench.sensitivity.analysis import (
    Probe,
    deviation,
    forest_r2,
    noise_gain,
    over_seeds,
    ranking,
    regret,
    slice_of,
)
from mobilebench.sensitivity.results import Findings

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
    assert found.beyond_noise is None, "one seed cannot say, however large the gain"


def test_a_protocol_that_is_best_has_no_regret() -> None:
    found = regret(probe({1e-3: [0.5], 3e-3: [0.5], 1e-4: [0.2]}))
    assert found is not None
    assert found.gain == 0
    assert found.beyond_noise is None


def test_no_regret_without_the_protocols_own_trial() -> None:
    assert regret(probe({3e-3: [0.5], 1e-4: [0.2]})) is None


@pytest.mark.parametrize(("candidates", "mean"), [(2, 1 / math.sqrt(math.pi)), (3, 3 / (2 * math.sqrt(math.pi)))])
def test_chance_gain_is_the_expected_largest_of_normals(candidates: int, mean: float) -> None:
    """E max of 2 and 3 standard normals: 1/sqrt(pi) and 3/(2 sqrt(pi)) (Jones 1948)."""
    assert noise_gain(candidates, 1.0)[0] == pytest.approx(mean, abs=0.02)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_for_two_settings_the_bar_is_that_of_the_paired_t_test(seeds: int) -> None:
    """Gain beyond noise exactly where scipy's one-sided paired t test over seeds has p < 0.05."""
    for table in np.random.default_rng(0).normal(0.5, 0.01, (200, 2, seeds)):
        p = stats.ttest_rel(table[1], table[0], alternative="greater").pvalue
        found = regret(probe({1e-3: list(table[0]), 3e-3: list(table[1])}))
        assert found is not None
        if abs(p - 0.05) > 0.003:
            assert found.beyond_noise == (p < 0.05)


@pytest.mark.parametrize(("others", "freedom", "printed"), [(3, 10, 2.34), (4, 10, 2.47), (3, 20, 2.19), (4, 20, 2.30)])
def test_for_more_settings_the_bar_is_dunnetts(others: int, freedom: int, printed: float) -> None:
    """Dunnett 1955, table 1a: one-sided 5 % points for several means against one, in units of the difference's sd."""
    assert noise_gain(1 + others, 1.0, freedom)[1] / math.sqrt(2) == pytest.approx(printed, abs=0.02)


@pytest.mark.parametrize(("settings", "seeds", "sd"), [(5, 2, 0.01), (5, 3, 0.005), (20, 2, 0.01), (20, 5, 0.0)])
def test_equal_settings_pass_for_better_in_at_most_one_of_twenty_probes(settings: int, seeds: int, sd: float) -> None:
    """10,000 validation images, training noise `sd`; 400 probes: a rate of 0.05 exceeds 0.078 in 1 of 100."""
    rng = np.random.default_rng(settings + seeds)
    accuracy = np.clip(0.7 + rng.normal(0, sd, (400, settings, seeds)), 0, 1)
    found = 0
    for table in rng.binomial(10_000, accuracy) / 10_000:
        means = table.mean(axis=1)
        found += means.max() - means[0] > noise_gain(settings, *deviation(table, 10_000, 0))[1]
    assert found / 400 < 0.078


def test_a_seed_that_lifts_all_settings_alike_is_no_noise_of_a_gain() -> None:
    table = np.array([[0.5, 0.7], [0.52, 0.72], [0.51, 0.71]])
    assert deviation(table, 100, 0) == (pytest.approx(0, abs=1e-12), 2)


def test_a_combination_under_several_seeds_is_one_point_of_a_forest() -> None:
    """Noise only: under five seeds each the same points would find themselves out of their bags."""
    rng = np.random.default_rng(0)
    lrs = np.geomspace(1e-4, 1e-1, 16)
    noise = rng.normal(0.5, 0.05, 16)
    trials = [
        TrialRow(5 * i + seed, seed, OWN | {"lr": lr, "warmup": i}, "sample", "complete", value + 0.001 * seed)
        for i, (lr, value) in enumerate(zip(lrs, noise, strict=True))
        for seed in range(5)
    ]
    rows, top1 = over_seeds(trials)
    assert len(rows) == 16
    assert top1 == pytest.approx(noise + 0.002)
    each = [trial.values for trial in trials], [trial.val_top1 or 0.0 for trial in trials]
    assert forest_r2(*each, ("lr",)) > 0.9
    assert forest_r2(rows, top1, ("lr",)) < 0.2


def findings_of(*probes: Probe) -> Findings:
    regrets = {p.name: found for p in probes if (found := regret(p)) is not None}
    return Findings("s", "e", "h", 1, 32, 0.5, 2, 1, (), probes, regrets, None)


def test_no_gain_of_a_single_run_is_marked_or_counted() -> None:
    single = probe({1e-3: [0.5], 3e-3: [0.9]})
    several = probe({1e-3: [0.5, 0.53], 3e-3: [0.9, 0.91], 1e-4: [0.2, 0.21]}, model="beta")
    section = _regret(findings_of(single, several))
    gains = {row[0].text: row[5] for row in section.tables[0].rows}
    assert (gains["alpha"].strong, gains["beta"].strong) == (False, True)
    assert "in 1 of 1 cells probed with two or more seeds: beta on blobs" in section.words[0]
    assert "1 of 2 cells were probed with one seed" in section.words[1]
    assert "was found, beyond" not in " ".join(_regret(findings_of(single)).words)


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
