"""What a quantised file may lose, and signal to noise in decibels."""

import math

import numpy as np
import pytest

from mobilebench.evaluation.metrics import get_metric
from mobilebench.evaluation.predictions import Predictions
from mobilebench.export.check import Drop, agreement, drop, raise_if_far_off
from mobilebench.export.onnx_file import ExportError
from mobilebench.export.quantize import snr_db


def said(logits: np.ndarray, targets: np.ndarray) -> Predictions:
    ids = np.array([str(number) for number in range(len(logits))])
    return Predictions.of_logits("single_label", targets, logits.astype(np.float32), ids)


def drawn(n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, n)
    return rng.normal(size=(n, 3)) + 2 * np.eye(3)[targets], targets


def test_agreement_counts_what_both_say() -> None:
    logits, targets = drawn()
    other = logits.copy()
    other[:40, 0] = 9.0
    found = agreement(said(logits, targets), said(other, targets), get_metric("top1"))
    changed = int((logits[:40].argmax(axis=1) != 0).sum())
    assert found.same_label == pytest.approx(1 - changed / 400)
    assert found.largest_difference == pytest.approx(np.abs(9.0 - logits[:40, 0]).max(), rel=1e-6)
    assert found.largest_logit == pytest.approx(np.abs(logits).max(), rel=1e-6)


def test_the_interval_of_a_drop_is_paired() -> None:
    """It is narrower than that of two networks which were tested apart, whose variances add."""
    logits, targets = drawn()
    other = logits.copy()
    other[:20] = np.roll(other[:20], 1, axis=1)
    metric = get_metric("top1")
    found = drop(said(logits, targets), said(other, targets), metric)
    a, b = (float((one.argmax(axis=1) == targets).mean()) for one in (logits, other))
    assert found.difference == pytest.approx(b - a)
    apart = 2 * 1.96 * math.sqrt((a * (1 - a) + b * (1 - b)) / 400)
    assert 0 < found.high - found.low < 0.9 * apart


@pytest.mark.parametrize(
    ("metric", "values", "interval", "refused"),
    [
        ("top1", (0.90, 0.80), (-0.13, -0.07), True),
        ("top1", (0.90, 0.80), (-0.21, 0.01), False),  # of so few images that it may be chance
        ("top1", (0.90, 0.87), (-0.04, -0.019), False),
        ("top1", (0.90, 0.87), (None, None), True),
        ("top1", (0.80, 0.90), (0.07, 0.13), False),
        ("nll", (0.50, 0.60), (0.05, 0.15), True),  # without an upper bound: 2 % of the value
        ("nll", (0.50, 0.505), (0.001, 0.009), False),
        ("nll", (0.60, 0.50), (-0.15, -0.05), False),
        ("qwk", (0.80, 0.77), (-0.035, -0.025), False),  # its range is 2
    ],
)
def test_far_off_is_surely_worse_by_more_than_a_share_of_the_range(
    metric: str, values: tuple[float, float], interval: tuple[float | None, float | None], refused: bool
) -> None:
    found = Drop(metric, 100, *values, *interval, 0.9)
    if refused:
        with pytest.raises(ExportError, match=r"far off: .*--layers says which layers hurt"):
            raise_if_far_off(found, get_metric(metric), 0.02, "a.b.0")
    else:
        raise_if_far_off(found, get_metric(metric), 0.02, "a.b.0")


def test_signal_to_noise() -> None:
    logits = np.array([[3.0, 1.0], [2.0, 6.0]])  # 1, -1, -2, 2 around the means of the images: a power of 10
    assert snr_db(logits, logits) == math.inf
    assert snr_db(logits, logits + 0.5) == pytest.approx(10 * math.log10(10 / 1))
    assert snr_db(logits, logits * math.nan) == -math.inf
    assert snr_db(np.ones((2, 2)), np.zeros((2, 2))) == -math.inf
