"""What keeping logits in 16 bits changes: nothing of the labels' metrics, and little of those of scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from evaluation.made import drawn, predictions
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilebench.evaluation.metrics import metrics_for, readings
from mobilebench.evaluation.target import TARGETS

if TYPE_CHECKING:
    from mobilebench.evaluation.predictions import Predictions
    from mobilebench.evaluation.target import Target

# What `Predictions.as_kept` says.
BOUNDS = {"nll": 1e-4, "roc_auc": 1e-5, "map": 1e-4, "ece": 1e-3, "top5": 1e-3}


def trained(target: Target, n: int, classes: int, seed: int, scale: float) -> Predictions:
    """As a network says that is mostly right: logits up to about 8 times the scale."""
    rng = np.random.default_rng([seed, n, classes])
    logits = rng.normal(size=(n, classes))
    if target == "multi_label":
        truth = (rng.random((n, classes)) < 0.2).astype(np.int64)
        logits += 2 * (2 * truth - 1)
    else:
        truth = rng.integers(0, classes, n)
        logits[np.arange(n), truth] += 4
    return predictions(target, truth, logits * scale)


@pytest.mark.parametrize("target", ["ordinal", "multi_label"])
@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0])
def test_metrics_of_trained_networks_change_little(target: Target, scale: float) -> None:
    for seed in range(2):
        p = trained(target, 1000, 10, seed, scale)
        before, after = readings(p), readings(p.as_kept())
        changed = {name: abs(after[name] - before[name]) for name in before if after[name] != before[name]}
        assert {name for name in changed if changed[name] > BOUNDS.get(name, 0)} == set()
        assert "nll" in changed  # there was something to round


@settings(max_examples=20)
@given(
    target=st.sampled_from(TARGETS),
    n=st.integers(1, 50),
    classes=st.integers(1, 12),
    seed=st.integers(0, 99),
    scale=st.floats(1e-6, 1e4),
)
def test_no_image_and_no_label_changes_more_than_rounding(
    target: Target, n: int, classes: int, seed: int, scale: float
) -> None:
    p = drawn(target, n, classes, seed, scale=scale)
    kept = p.as_kept()
    largest = np.abs(p.logits).max(axis=1).astype(np.float64)
    assert (np.abs(kept.log_loss - p.log_loss) <= largest / 1024 + 1e-7).all()
    assert np.array_equal(kept.predicted, p.predicted)
    of_labels = [metric for metric in metrics_for(target) if metric.needs == "labels"]
    assert readings(kept, of_labels) == readings(p, of_labels)
    assert kept.as_kept().digest == kept.digest == p.digest


def test_what_was_said_is_kept_where_rounding_makes_a_tie() -> None:
    """1000.1 and 1000.2 are both 1000 in 16 bits, and 1e-9 is 0: the label said stays."""
    one = predictions("single_label", [1], [[1000.1, 1000.2]]).as_kept()
    assert one.logits.tolist() == [[1000, 1000]]
    assert readings(one)["top1"] == 1
    several = predictions("multi_label", [[1, 0]], [[1e-9, -1e-9]]).as_kept()
    assert np.abs(several.logits).tolist() == [[0, 0]]
    assert readings(several)["macro_f1"] == 1


def test_logits_beyond_16_bits_are_kept_as_the_largest_number() -> None:
    p = predictions("single_label", [0, 1], [[70_000, 1], [-1e30, 3e38]]).as_kept()
    assert p.logits.tolist() == [[65504, 1], [-65504, 65504]]
