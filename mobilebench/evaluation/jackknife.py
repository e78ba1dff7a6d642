"""The jackknife over blocks of test images: a metric without each block, by counting and ranks where that is possible.

A score asks for the noise of some hundred cells, and leaving 200 blocks out of each by 200 calls of scikit-learn takes
seconds a cell. What is here gives the same numbers (tests hold both together to 1e-12) in milliseconds.

Every function takes the block of each image, [N] from 0 to B - 1, and returns [B + 1] values: that of the predictions
without each block, then that of all of them. NaN is an undefined value.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import numpy as np

from mobilebench.evaluation.predictions import Predictions

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

BLOCKS = 200
_ENTRIES = 1 << 18  # confusion counts that are held at a time, 8 bytes each: as many as a core's cache takes


def image_blocks(n: int) -> Ints:
    """Return the block, from 0, that each of n images falls into: the same for the same n, sizes differing by 1."""
    return np.random.default_rng(n).permutation(n) % min(BLOCKS, n)


def influences(without: Floats, blocks: Ints) -> Floats:
    """Return [B] values whose mean is the metric and whose mean's standard error is the metric's.

    without: [B + 1], as the functions here return it. The jackknife's pseudo-values of blocks of n_b of N images
    (Efron and Tibshirani 1993, chapter 11), `m + B (N - n_b) / N (m - m without b)`, moved so that their mean is m: the
    jackknife's own estimate of bias is left out, because the metric is reported as it is.
    """
    sizes = np.bincount(blocks)
    raw = len(sizes) * (1 - sizes / len(blocks)) * (without[-1] - without[:-1])
    return cast("Floats", without[-1] + raw - raw.mean())


def by_calls(compute: Callable[[Predictions], float], p: Predictions, blocks: Ints) -> Floats:
    """Call a metric once for each block, on the predictions without it: for metrics that nothing is known about."""
    left = []
    for block in range(int(blocks.max()) + 1):
        kept = blocks != block
        left.append(
            compute(Predictions(p.target, p.targets[kept], p.predicted[kept], p.logits[kept], p.ids[kept]))
            if kept.any()
            else math.nan
        )
    return np.array([*left, compute(p)])


def of_confusions(metric: Callable[[Floats], Floats], p: Predictions, blocks: Ints) -> Floats:
    """Give a metric the confusion counts without each block, [..., C, C]: rows are the truth, columns what was said."""
    classes, count = p.classes, int(blocks.max()) + 2
    pair = p.targets.astype(np.int64) * classes + p.predicted
    whole = np.bincount(pair, minlength=classes**2)
    order = np.argsort(blocks, kind="stable")
    ends = np.searchsorted(blocks[order], np.arange(count + 1))
    step = max(1, _ENTRIES // classes**2)
    values = []
    for first in range(0, count, step):
        last = min(first + step, count)
        images = order[ends[first] : ends[last]]
        out = np.bincount((blocks[images] - first) * classes**2 + pair[images], minlength=(last - first) * classes**2)
        left = (whole - out.reshape(last - first, -1)).astype(np.float64)
        values.append(metric(left.reshape(-1, classes, classes)))
    return np.concatenate(values)


def macro_f1_of_labels(p: Predictions, blocks: Ints) -> Floats:
    """Macro F1 of several labels."""
    truth, said = p.targets == 1, p.predicted == 1
    order = np.argsort(blocks, kind="stable")
    starts = np.searchsorted(blocks[order], np.arange(int(blocks.max()) + 1))
    rows = np.concatenate([truth & said, truth, said], axis=1)
    sums = np.add.reduceat(rows[order], starts, axis=0, dtype=np.int64)
    left = sums.sum(axis=0) - np.vstack([sums, np.zeros_like(sums[:1])])
    right, true, predicted = np.split(left.astype(np.float64), 3, axis=1)
    return mean_defined(2 * right, true + predicted)


def calibration_error(gaps: Floats, bins: Ints, count_bins: int, blocks: Ints) -> Floats:
    """Expected calibration error. gaps: [N] hit minus confidence; bins: [N] the bin of each image's confidence."""
    count = int(blocks.max()) + 2
    sums = np.bincount(blocks * count_bins + bins, weights=gaps, minlength=count * count_bins)
    sums = sums.reshape(count, count_bins)
    kept = len(blocks) - np.bincount(blocks, minlength=count)
    with np.errstate(invalid="ignore"):
        return cast("Floats", np.abs(sums.sum(axis=0) - sums).sum(axis=1) / kept)


def mean_of_classes(
    of_class: Callable[[NDArray[np.bool_], Floats, Ints], Floats],
    truth: NDArray[np.bool_],
    scores: Floats,
    blocks: Ints,
) -> Floats:
    """Average a metric of one class against the rest over the classes of [N, K] for which it is defined."""
    total = np.zeros(int(blocks.max()) + 2)
    defined = np.zeros_like(total)
    for positive, score in zip(np.ascontiguousarray(truth.T), np.ascontiguousarray(scores.T), strict=True):
        value = of_class(positive, score, blocks)
        found = np.isfinite(value)
        total[found] += value[found]
        defined += found
    with np.errstate(invalid="ignore"):
        return total / defined


def roc_auc(positive: NDArray[np.bool_], scores: Floats, blocks: Ints) -> Floats:
    """Area under the ROC curve of one class: the share of pairs of a positive and a negative in order, ties a half."""
    if 2 * positive.sum() > len(positive):  # it is the same from the other side, and the table has a row a positive
        positive, scores = ~positive, -scores
    count = int(blocks.max()) + 2
    thresholds, at = np.unique(scores[positive], return_inverse=True)
    place = np.searchsorted(thresholds, scores[~positive], side="right")
    block, negative = blocks[positive], blocks[~positive]
    above = _reached(place, negative, len(thresholds), count)
    tied = (place > 0) & (thresholds[place - 1] == scores[~positive])
    below = above[0] - above[1:]  # [K, B + 1] negatives of each block that a positive of this threshold is above of
    below = below.astype(np.float64)
    if tied.any():
        np.add.at(below, (place[tied] - 1, negative[tied]), 0.5)
    n_positive, n_negative = np.bincount(block, minlength=count), np.bincount(negative, minlength=count)
    over = below.sum(axis=1)
    pairs = (
        over[at].sum()
        - np.bincount(at, minlength=len(thresholds)) @ below
        - np.bincount(block, weights=over[at], minlength=count)
        + np.bincount(block, weights=below[at, block], minlength=count)
    )
    with np.errstate(invalid="ignore"):
        return cast("Floats", pairs / ((n_positive.sum() - n_positive) * (n_negative.sum() - n_negative)))


def average_precision(positive: NDArray[np.bool_], scores: Floats, blocks: Ints) -> Floats:
    """Average precision of one class: the precision at each positive's score, averaged over the positives.

    NaN too where no negative is left, as the mean over classes leaves such a class out.
    """
    count = int(blocks.max()) + 2
    thresholds, at = np.unique(scores[positive], return_inverse=True)
    place = np.searchsorted(thresholds, scores, side="right")
    block = blocks[positive]
    images = _others(_reached(place, blocks, len(thresholds), count)[1:])
    right = _others(_reached(at + 1, block, len(thresholds), count)[1:])
    n_positive = len(block) - np.bincount(block, minlength=count)
    n_negative = len(blocks) - np.bincount(blocks, minlength=count) - n_positive
    precision = right / np.maximum(images, 1)
    over = np.bincount(at) @ precision - np.bincount(block, weights=precision[at, block], minlength=count)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = over / n_positive
    return np.where((n_positive > 0) & (n_negative > 0), value, np.nan)


def mean_defined(above: Floats, below: Floats) -> Floats:
    """Return the mean over the last axis of above / below, of the classes whose `below` is not 0; NaN for none."""
    defined = below > 0
    ratios = np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=defined)
    with np.errstate(invalid="ignore"):
        return cast("Floats", ratios.sum(axis=-1) / defined.sum(axis=-1))


def _reached(place: Ints, blocks: Ints, thresholds: int, count: int) -> Ints:
    """Return [thresholds + 1, count]: the images of each block at or above each threshold, row 0 being all of them.

    place: how many thresholds are at or below each image's score.
    """
    table = np.bincount(place * count + blocks, minlength=(thresholds + 1) * count).reshape(thresholds + 1, count)
    return cast("Ints", table[::-1].cumsum(axis=0)[::-1])


def _others(table: Ints) -> Ints:
    """Return what is left of counts [K, B + 1] without each block."""
    return cast("Ints", table.sum(axis=1, keepdims=True) - table)
