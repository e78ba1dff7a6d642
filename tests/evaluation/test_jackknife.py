"""The noise of a metric: the fast jackknife against scikit-learn without each block, and against the bootstrap."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from evaluation.made import drawn, predictions
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.jackknife import bootstrap, two_models
from mobilebench.evaluation import jackknife
from mobilebench.evaluation.metrics import METRICS, Metric, MetricError, metrics_for
from mobilebench.evaluation.predictions import Predictions
from mobilebench.evaluation.target import TARGETS

if TYPE_CHECKING:
    from mobilebench.evaluation.target import Target

BLOCKWISE = {
    target: [metric.id for metric in metrics_for(target) if metric.resample == "jackknife"] for target in TARGETS
}


def part(p: Predictions, kept: np.ndarray) -> Predictions:
    return Predictions(p.target, p.targets[kept], p.predicted[kept], p.logits[kept], p.ids[kept])


def or_nan(metric: Metric, p: Predictions) -> float:
    try:
        return metric.value(p)
    except MetricError:
        return math.nan


@settings(max_examples=8)
@given(
    target=st.sampled_from(TARGETS),
    n=st.integers(2, 60),
    classes=st.integers(1, 7),
    blocks=st.integers(2, 5),
    seed=st.integers(0, 99),
    ties=st.booleans(),
)
def test_without_a_block_the_value_is_that_of_the_other_images(
    target: Target, n: int, classes: int, blocks: int, seed: int, ties: bool
) -> None:
    """Each fast way against scikit-learn on the images that are left, to 1e-12, undefined where that is."""
    p = drawn(target, n, classes, seed, ties=ties)
    block = np.random.default_rng(seed).permutation(n) % min(blocks, n)
    for name in BLOCKWISE[target]:
        metric = METRICS[name]
        expected = [or_nan(metric, part(p, block != b)) for b in range(block.max() + 1)] + [or_nan(metric, p)]
        np.testing.assert_allclose(metric._without_blocks(p, block), expected, rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("name", ["balanced_accuracy", "macro_f1", "qwk"])
def test_confusion_counts_of_any_shape_give_the_value(name: str) -> None:
    """[2, 3, C, C] at once, each the counts of other predictions."""
    metric = METRICS[name]
    made = [drawn("ordinal", 40, 5, seed) for seed in range(6)]
    counts = np.zeros((6, 5, 5))
    for at, p in enumerate(made):
        np.add.at(counts[at], (p.targets, p.predicted), 1)
    assert metric.of_confusion is not None
    found = metric.of_confusion(counts.reshape(2, 3, 5, 5))
    np.testing.assert_allclose(found.ravel(), [metric.value(p) for p in made], rtol=0, atol=1e-12)


def test_many_classes_are_counted_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    p = drawn("ordinal", 90, 12)
    expected = {name: METRICS[name].pseudo_values(p) for name in ("balanced_accuracy", "macro_f1", "qwk")}
    monkeypatch.setattr(jackknife, "_ENTRIES", 1)  # one block at a time
    for name, found in expected.items():
        np.testing.assert_array_equal(METRICS[name].pseudo_values(p), found)


@pytest.mark.parametrize("target", TARGETS)
def test_the_mean_of_the_pseudo_values_is_the_metric(target: Target) -> None:
    p = drawn(target, 250, 6)  # 200 blocks of one image or two
    for metric in metrics_for(target):
        values = metric.pseudo_values(p)
        assert values.shape == (250 if metric.resample == "mean" else 200,)
        assert values.mean() == pytest.approx(metric.value(p), abs=1e-12)


@pytest.mark.parametrize("n", [30, 250, 1999])
def test_of_a_mean_the_jackknife_has_the_binomial_error(n: int) -> None:
    """Top-1 as any function: to the last digit where every block is one image, else on average over networks."""
    jackknifed = Metric("again", "Top-1 again", (0, 1), lambda p: float((p.predicted == p.targets).mean()))
    ratios = []
    for seed in range(6):
        p = drawn("single_label", n, 4, seed)
        values, share = jackknifed.pseudo_values(p), METRICS["top1"].value(p)
        ratios.append(values.var(ddof=1) / len(values) / (share * (1 - share) / (n - 1)))
    if n <= jackknife.BLOCKS:
        np.testing.assert_allclose(ratios, 1, rtol=1e-9)
    assert np.mean(ratios) == pytest.approx(1, abs=0.1)


def test_top1_has_the_binomial_error() -> None:
    p = drawn("single_label", 500, 4)
    share, values = METRICS["top1"].value(p), METRICS["top1"].pseudo_values(p)
    assert values.var() / len(values) == pytest.approx(share * (1 - share) / 500, rel=1e-12)


@pytest.mark.parametrize("target", ["ordinal", "multi_label"])
def test_errors_and_covariances_are_those_of_the_bootstrap(target: Target) -> None:
    """Two models on the same 2,000 images of five classes. `benchmarks.jackknife` has small and rare ones, and the
    bootstrap by calls of scikit-learn."""
    pair = two_models(target, 2000, 5, seed=1)
    names = BLOCKWISE[target]
    drawn_values = bootstrap(pair, names, draws=400, seed=2)
    for name in names:
        first, second = (METRICS[name].pseudo_values(p) for p in pair)
        found = np.cov(first, second) / len(first)
        expected = np.cov(drawn_values[name])
        np.testing.assert_allclose(np.sqrt(np.diag(found)), np.sqrt(np.diag(expected)), rtol=0.15, err_msg=name)
        correlation = [c[0, 1] / math.sqrt(c[0, 0] * c[1, 1]) for c in (found, expected)]
        assert correlation[0] == pytest.approx(correlation[1], abs=0.15), name
        assert correlation[1] > 0.2, name  # the images are hard or easy for both, so there is something to find


@pytest.mark.parametrize("target", ["ordinal", "multi_label"])
def test_the_bootstrap_it_is_held_to_is_that_of_scikit_learn(target: Target) -> None:
    """Its weighted formulas against scikit-learn on the drawn images, one after the other."""
    pair = two_models(target, 120, 4, seed=3)
    names = BLOCKWISE[target]
    found = bootstrap(pair, names, draws=3, seed=4)
    for draw, counts in enumerate(np.random.default_rng(4).multinomial(120, np.full(120, 1 / 120), 3)):
        images = np.repeat(np.arange(120), counts)
        for name in names:
            expected = [METRICS[name].value(part(p, images)) for p in pair]
            np.testing.assert_allclose(found[name][:, draw], expected, rtol=0, atol=1e-12, err_msg=name)


def test_blocks_are_the_same_for_every_network_and_of_equal_size() -> None:
    blocks = jackknife.image_blocks(1234)
    assert np.array_equal(blocks, jackknife.image_blocks(1234))
    assert set(np.bincount(blocks)) == {6, 7}
    assert not np.array_equal(blocks, np.arange(1234) % 200)  # neighbours in the data are often of one class
    assert sorted(jackknife.image_blocks(3)) == [0, 1, 2]


def test_the_noise_of_one_image_is_unknown() -> None:
    p = drawn("single_label", 1, 3)
    assert METRICS["top1"].pseudo_values(p).shape == (1,)
    with pytest.raises(MetricError, match=r"the noise of macro_f1 cannot be had of these 1 predictions: .* undefined"):
        METRICS["macro_f1"].pseudo_values(p)


def test_noise_is_unknown_where_the_metric_hangs_on_one_image() -> None:
    p = predictions("single_label", [0, 1, 1, 1], np.eye(2)[[0, 1, 1, 1]])
    assert METRICS["roc_auc"].value(p) == 1
    with pytest.raises(MetricError, match="without 1 of 4 blocks of images it is undefined; more test images"):
        METRICS["roc_auc"].pseudo_values(p)


def test_an_undefined_metric_has_no_noise() -> None:
    p = predictions("ordinal", [1, 1, 1], np.eye(3)[[1, 1, 1]])
    for name in ("qwk", "roc_auc", "map"):
        with pytest.raises(MetricError, match=f"{name} is undefined for these 3 predictions"):
            METRICS[name].pseudo_values(p)
