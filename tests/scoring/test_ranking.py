"""A ranking of one dataset: against Dunnett's published table, scipy, the paired difference, and simulated grids."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from scipy import stats

import mobilebench
from benchmarks.best_group import Case, rates
from benchmarks.paired import answers
from mobilebench.errors import UserError
from mobilebench.evaluation.metrics import METRICS
from mobilebench.evaluation.predictions import Predictions
from mobilebench.scoring import Matrix
from mobilebench.scoring.paired import difference_in, with_predictions
from mobilebench.scoring.ranking import RankingRow, _noise, _p_best, difference_of, rank_models, wilson
from mobilebench.studies.beyond_imagenet import published

RNG = np.random.default_rng(0)


def measured(values: list[list[float]], n: int = 400, metric: str = "top1") -> Matrix:
    """A matrix of one dataset without predictions: a list of runs for each model."""
    runs = max(map(len, values))
    padded = np.array([[*row, *[np.nan] * (runs - len(row))] for row in values])[:, None]
    return Matrix(
        tuple(f"m{i}" for i in range(len(values))), ("x",), tuple(range(runs)), padded, np.array([n]), (metric,)
    )


def predicted(truth: list[float], n: int, seeds: int, noise: float = 0.0) -> tuple[Matrix, dict]:
    """A matrix of one dataset with the predictions of its runs."""
    right = answers(np.array(truth), n, 0.5, noise, seeds, RNG)
    targets = RNG.integers(0, 5, n)
    ids = np.array([f"{i}.png" for i in range(n)])
    kept = {}
    for m in range(len(truth)):
        for s in range(seeds):
            said = np.where(right[m, s] > 0, targets, (targets + 1) % 5)
            logits = np.eye(5, dtype=np.float32)[said] + 0.1 * RNG.standard_normal((n, 5)).astype(np.float32)
            kept[f"m{m}", "x", s] = Predictions.of_logits("single_label", targets, logits, ids)
    return with_predictions(
        Matrix.from_cells({k: METRICS["top1"].value(p) for k, p in kept.items()}, {"x": n}), kept
    ), kept


def test_the_best_stands_first_by_the_metrics_own_direction() -> None:
    up = rank_models(measured([[0.5], [0.7], [0.6]]), "x")
    assert [row.model for row in up.rows] == ["m1", "m2", "m0"]
    assert [row.rank for row in up.rows] == [1, 2, 3]
    assert [row.behind for row in up.rows] == pytest.approx([0, -0.1, -0.2])
    down = rank_models(measured([[0.5], [0.7], [0.6]], metric="nll"), "x")
    assert [row.model for row in down.rows] == ["m0", "m2", "m1"]
    assert [row.behind for row in down.rows] == pytest.approx([0, 0.1, 0.2])


def test_what_is_not_known_is_not_said() -> None:
    """A loss of single runs without predictions: no noise, so no interval, no probability and no group."""
    found = rank_models(measured([[0.5], [0.7]], metric="nll"), "x")
    assert found.source is None
    assert np.isnan([[row.low, row.high, row.behind_low, row.above_next, row.p_best] for row in found.rows]).all()
    assert found.best_group == ("m0", "m1")
    difference = difference_of(measured([[0.5], [0.7]], metric="nll"), "x", "m0", "m1")
    assert difference.source is None
    assert difference.difference == pytest.approx(0.2)


@pytest.mark.parametrize(("value", "n"), [(0.5, 44), (1.0, 44), (0.0, 10), (0.93, 400)])
def test_a_single_runs_accuracy_has_wilsons_interval(value: float, n: int) -> None:
    """(p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n), of whole images."""
    z, p = stats.norm.ppf(0.975), round(value * n) / n
    centre, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    expected = (centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n)
    row = rank_models(measured([[p], [0.2]], n), "x").rows[0 if p > 0.2 else 1]
    assert (row.low, row.high) == pytest.approx(expected, abs=1e-12)
    assert wilson(p, n, 0.95) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("seeds", "noise"), [(1, 0.0), (3, 0.02)])
def test_differences_are_those_of_the_predictions(seeds: int, noise: float) -> None:
    """The tables that `score` keeps give what the predictions themselves give."""
    matrix, kept = predicted([0.6, 0.7, 0.75, 0.8], 150, seeds, noise)
    found = rank_models(matrix, "x")
    best = found.rows[0].model
    assert found.paired
    assert found.source == ("test" if seeds == 1 else "seeds+test")
    for row in found.rows[1:]:
        exact = difference_in(matrix, kept, "x", best, row.model)
        assert exact is not None
        assert (row.behind, row.behind_low, row.behind_high) == pytest.approx(
            (exact.difference, exact.low, exact.high), rel=1e-9
        )
        again = difference_of(matrix, "x", best, row.model)
        assert (again.low, again.high, again.p_better) == pytest.approx((exact.low, exact.high, exact.p_better))


def test_intervals_of_several_runs_are_students_where_images_are_many() -> None:
    """With a billion test images the training is all the noise: the t interval, its variance pooled over the models."""
    runs = [[0.60, 0.62, 0.61], [0.70, 0.69, 0.74]]
    row = rank_models(measured(runs, 10**9), "x").rows[1]
    pooled = np.var(runs, axis=1, ddof=1).mean()
    half = stats.t.ppf(0.975, 4) * np.sqrt(pooled / 3)
    assert (row.low, row.high) == pytest.approx((0.61 - half, 0.61 + half), rel=2e-3)
    oracle = stats.ttest_ind(runs[0], runs[1]).confidence_interval(0.95)
    assert (row.behind_low, row.behind_high) == pytest.approx((oracle.low, oracle.high), rel=2e-3)


# Dunnett (1955), Table 1a: one-sided 5 % points of p treatments against a control, df infinite (0) or 20.
DUNNETT = {(2, 0): 1.92, (3, 0): 2.06, (9, 0): 2.42, (2, 20): 2.03, (3, 20): 2.19, (5, 20): 2.39}


@pytest.mark.parametrize(("others", "df"), DUNNETT)
def test_the_correction_is_dunnetts_table(others: int, df: int) -> None:
    """A model that stands exactly Dunnett's distance behind one of equals has a p-value of 5 %."""
    count = others + 1
    distance = DUNNETT[others, df]
    if df:  # runs alone: df = count (S - 1) needs not be whole, so the pooled variance is given by hand
        noise = _noise(measured([[0.5, 0.5]] * count, 0, "top1"), "x", None)
        object.__setattr__(noise, "training", (0.01**2, float(df)))
        spread = 0.01 * np.sqrt(2 / 2)
    else:
        noise = _noise(measured([[0.5]] * count, 10_000), "x", None)
        spread = float(np.sqrt(2 * noise.images[0, 0]))
    upward = np.full(count, 0.5)
    upward[0] -= distance * spread
    assert _p_best(noise, upward, 200_000)[0] == pytest.approx(0.05, abs=0.0025)


def test_two_models_are_told_apart_as_by_a_one_sided_test() -> None:
    matrix, kept = predicted([0.6, 0.72], 200, 1)
    last = rank_models(matrix, "x", draws=200_000).rows[1]
    exact = difference_in(matrix, kept, "x", last.model, "m1" if last.model == "m0" else "m0")
    assert exact is not None
    assert last.p_best == pytest.approx(1 - exact.p_better, abs=0.002)


@pytest.mark.parametrize(
    "case",
    [
        Case("six equal models, 44 images", (0.7,) * 6, 44),
        Case("six equal models, 400 images", (0.8,) * 6, 400, correlation=0.5),
        Case("one better than five, three runs", (0.82, *(0.8,) * 5), 400, correlation=0.5, seeds=3, noise=0.01),
        Case("two runs of four equal models", (0.7,) * 4, 300, correlation=0.5, seeds=2, noise=0.02),
    ],
    ids=lambda case: case.name,
)
def test_the_group_holds_the_best_in_95_of_100_grids(case: Case) -> None:
    """In 250 grids 95 % has a standard error of 1.4 points; 91 % is three of these below."""
    held, size, _ = rates(case, 250, seed=3)
    assert held >= 0.91
    assert size <= len(case.truth)


def test_clearly_worse_models_are_told_apart() -> None:
    held, size, width = rates(Case("far", (0.9, 0.6, 0.6, 0.6), 400, correlation=0.5), 50, seed=4)
    assert held == 1
    assert size == 1
    assert width > 0


def test_a_filter_of_models_keeps_the_training_noise_of_all() -> None:
    whole = measured([[0.6, 0.62], [0.7, 0.71], [0.5, 0.9]])
    some = rank_models(whole, "x", models=["m0", "m1"])
    alone = rank_models(whole.select(models=["m0", "m1"]), "x")
    assert [row.model for row in some.rows] == ["m1", "m0"]
    assert some.rows[0].high - some.rows[0].low > 2 * (alone.rows[0].high - alone.rows[0].low)


def test_the_order_of_neighbours_is_pulled_together() -> None:
    """Of equal models the first is not said to be better as surely as in a pair named beforehand."""
    matrix, _ = predicted([0.7] * 8, 200, 1)
    found = rank_models(matrix, "x")
    first, second = found.rows[0], found.rows[1]
    flat = difference_of(matrix, "x", second.model, first.model).p_better
    assert 0.5 <= first.above_next < flat
    assert np.isnan(found.rows[-1].above_next)


def test_a_model_without_a_run_there_is_not_ranked() -> None:
    matrix = Matrix.from_cells({("a", "x", 0): 0.5, ("b", "y", 0): 0.5}, {"x": 9, "y": 9})
    assert [row.model for row in rank_models(matrix, "x").rows] == ["a"]
    assert rank_models(matrix, "x").best_group == ("a",)
    with pytest.raises(UserError, match="no run of b on x"):
        rank_models(matrix, "x", models=["b"])
    with pytest.raises(UserError, match="b has no run on x"):
        difference_of(matrix, "x", "a", "b")


def test_models_that_say_the_same_are_tied() -> None:
    targets = RNG.integers(0, 5, 60)
    logits = np.eye(5, dtype=np.float32)[(targets + (RNG.random(60) < 0.3)) % 5]
    same = Predictions.of_logits("single_label", targets, logits, np.array([f"{i}.png" for i in range(60)]))
    kept = {(name, "x", 0): same for name in "abc"}
    for metric in ("top1", "nll"):
        value = METRICS[metric].value(same)
        matrix = Matrix.from_cells(dict.fromkeys(kept, value), {"x": 60}, {"x": metric})
        found = rank_models(with_predictions(matrix, kept), "x")
        assert [row.rank for row in found.rows] == [1, 1, 1]
        assert found.best_group == ("a", "b", "c")
        assert found.rows[1].behind == 0


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((0.9, 0.5), "m0 is told apart from the other one: with 95 % confidence it is the better of these two trained"),
        ((0.9, 0.9), "Cannot be told apart from the best, with 95 % confidence: both models ("),
        ((0.9, 0.5, 0.4), "m0 is told apart from all 2 others: with 95 % confidence it is the best of these 3 trained"),
        ((0.9, 0.9, 0.9), "Cannot be told apart from the best, with 95 % confidence: all 3 models ("),
    ],
)
def test_the_verdict_counts_models_as_people_do(values: tuple[float, ...], said: str) -> None:
    matrix = Matrix.from_cells({(f"m{i}", "x", 0): value for i, value in enumerate(values)}, {"x": 1000})
    assert rank_models(matrix, "x").verdict.startswith(said)


def test_a_ranking_is_a_frame_best_first() -> None:
    found = mobilebench.rank(published.matrix(), "dogs").to_frame()
    assert found["model"].iloc[0] == "efficientnet"
    assert found["value"].is_monotonic_decreasing
    assert list(found.columns) == [field.name for field in fields(RankingRow)]
