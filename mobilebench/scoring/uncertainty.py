"""How sure an xScore is: draws of the accuracy matrix, and of the suite of datasets.

Each function takes ONE matrix, says what it resamples, and leaves everything else fixed:

- `draw_accuracies(source="test")`: the test images. Each accuracy becomes Binomial(n_test, p) / n_test. All models of
  a dataset share its test images in truth, which ties their errors together; drawing them apart overstates the noise
  of a difference, so these intervals and order probabilities err towards caution. Training is not rerun: what
  another seed would change is not in it. Available for single runs.
- `source="seeds"`: the training seeds, n >= 2 in every cell. n - 1 of the n seeds of each cell are drawn with
  replacement (Rao and Wu 1988), so that the variance of the mean is s^2 / n; the plain bootstrap of so few values
  understates it by (n - 1) / n.
- `source="seeds+test"`: both, one after the other.
- `dataset_bootstrap` and `leave_one_dataset_out`: the datasets, as if the suite were a sample of visual domains. With
  seven datasets this is wide by nature and says how much the verdict hangs on the choice of the suite.

Anchors taken from the grid are taken again from each draw, fixed anchors stay. A model that holds an anchor in every
draw is 0 or 1 there by construction, so under grid anchors its interval is narrow: it is about its place in this grid.
The extremes of noisy columns lie further apart than the true ones, so draws sit slightly below the score itself (by
about 0.01 on the published table); the percentile intervals are not shifted back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from mobilebench.errors import UserError
from mobilebench.scoring.xscore import Anchors, anchors_from_matrix, combine, normalise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mobilebench.scoring.matrix import Matrix

    Floats = NDArray[np.float64]

Source = Literal["seeds", "test", "seeds+test"]
RESAMPLED = {
    "seeds": "training seeds within each cell",
    "test": "test images (binomial), training not rerun",
    "seeds+test": "training seeds within each cell, then test images (binomial)",
}


def best_source(matrix: Matrix) -> Source | None:
    """Return what this matrix allows to resample: both, one, or None (single runs and unknown test sizes)."""
    present = matrix.counts[matrix.counts > 0]
    seeds = bool(present.size) and int(present.min()) >= 2
    sizes = bool((matrix.n_test > 0).all())
    if seeds:
        return "seeds+test" if sizes else "seeds"
    return "test" if sizes else None


def draw_accuracies(matrix: Matrix, *, source: Source, draws: int, seed: int = 0) -> Floats:
    """Return [draws, M, D] mean accuracies (fractions) with `source` resampled; absent cells stay NaN.

    Raises UserError where the matrix does not allow the source (see the module).
    """
    rng = np.random.default_rng(seed)
    means = _draw_seeds(matrix, draws, rng) if "seeds" in source else matrix.mean[None]
    return _draw_test(means, matrix, draws, rng) if "test" in source else means


def scores_of(accuracy: Floats, *, lam: float, anchors: Anchors | None) -> Floats:
    """Return xScore [..., M] of a stack of matrices [..., M, D]; without anchors each matrix gives its own."""
    used = anchors_from_matrix(accuracy) if anchors is None else anchors
    return combine(normalise(accuracy, used), lam)[2]


def interval(scores: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
    """Percentile interval over the first axis of [draws, ...]: (low, high); NaN where a draw is NaN."""
    tail = (1 - level) / 2
    low, high = np.quantile(scores, [tail, 1 - tail], axis=0)
    return low, high


def order_probability(scores: Floats, first: int, second: int) -> float:
    """Share of draws [draws, M] in which model `first` beats `second`; a tie counts one half."""
    a, b = scores[:, first], scores[:, second]
    if np.isnan(a).any() or np.isnan(b).any():
        return float("nan")
    return float(np.mean(a > b) + np.mean(a == b) / 2)


def ranks_of(scores: Floats) -> Floats:
    """Rank 1 = best along the last axis of [..., M]; ties share the mean rank; NaN stays NaN."""
    above = scores[..., None, :] > scores[..., :, None]
    equal = scores[..., None, :] == scores[..., :, None]
    ranks = above.sum(axis=-1) + (equal.sum(axis=-1) + 1) / 2
    return np.where(np.isnan(scores), np.nan, ranks)


def leave_one_dataset_out(matrix: Matrix, *, lam: float, anchors: Anchors | None = None) -> Floats:
    """Return [D, M]: row j is the xScore of every model without dataset j. Needs at least three datasets."""
    normalised = _normalised(matrix, anchors)
    count = normalised.shape[1]
    if count < 3:
        raise UserError(f"leaving one dataset out needs at least 3 datasets; this matrix has {count}")
    return np.stack([combine(np.delete(normalised, j, axis=1), lam)[2] for j in range(count)])


def dataset_bootstrap(
    matrix: Matrix,
    *,
    lam: float,
    anchors: Anchors | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> Floats:
    """Return [draws, M] xScores of suites made by drawing D datasets with replacement; the accuracies stay fixed.

    A dataset drawn twice counts twice in G and in V, so V of a draw is smaller on average than V of the suite.
    """
    normalised = _normalised(matrix, anchors)
    count = normalised.shape[1]
    if count < 2:
        raise UserError("resampling datasets needs at least 2 datasets; this matrix has 1")
    picks = np.random.default_rng(seed).integers(0, count, size=(draws, count))
    return combine(np.moveaxis(normalised[:, picks], 0, 1), lam)[2]


def _normalised(matrix: Matrix, anchors: Anchors | None) -> Floats:
    mean = matrix.mean
    return normalise(mean, anchors_from_matrix(mean) if anchors is None else anchors)


def _draw_seeds(matrix: Matrix, draws: int, rng: np.random.Generator) -> Floats:
    counts = matrix.counts
    few = np.argwhere((counts < 2) & (counts > 0))
    if few.size:
        model, dataset = matrix.models[few[0][0]], matrix.datasets[few[0][1]]
        raise UserError(f"{model} on {dataset} has a single run; resampling seeds needs 2 or more in every cell")
    # Present seeds first, so that a draw below the cell's count always meets one.
    values = np.sort(matrix.top1, axis=2)
    total = np.zeros((draws, *counts.shape))
    for turn in range(int(counts.max()) - 1):
        pick = (rng.random(total.shape) * counts).astype(np.int64)
        drawn = np.take_along_axis(values, np.moveaxis(pick, 0, -1), axis=2)
        total += np.where(turn < counts - 1, np.moveaxis(drawn, -1, 0), 0.0)
    return np.where(counts > 0, total / np.maximum(counts - 1, 1), np.nan)


def _draw_test(means: Floats, matrix: Matrix, draws: int, rng: np.random.Generator) -> Floats:
    unknown = [name for name, size in zip(matrix.datasets, matrix.n_test, strict=True) if size == 0]
    if unknown:
        raise UserError(f"test size of {', '.join(unknown)} is unknown (n_test 0); no test-sample interval without it")
    absent = np.isnan(means)
    correct = rng.binomial(matrix.n_test, np.where(absent, 0.0, means), size=(draws, *means.shape[1:]))
    return np.where(absent, np.nan, correct / matrix.n_test)
