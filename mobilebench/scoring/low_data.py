"""Results with fewer train images: which datasets hold how many, and whether models keep their order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.scoring.correlation import spearman

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from mobilebench.scoring.matrix import Matrix

    Floats = NDArray[np.float64]

DRAWS = 2000  # resamples of the models, and relabellings of them


@dataclass(frozen=True, eq=False)
class LowData:
    """Results on datasets with all of their train images and with fewer."""

    matrix: Matrix
    """The results on them all."""
    shares: Mapping[str, Mapping[str, int]]
    """{dataset with all its train images: {it and each that has fewer of them: number of train images}}."""
    source: str = ""
    """One sentence on what the results are, where they are not those of the rest of a report."""
    marked: tuple[str, ...] = ()
    """Models that stand out in the figure; () for the best ones."""


@dataclass(frozen=True, eq=False)
class Retained:
    """How well the order of models with fewer train images agrees with that with all, over some datasets."""

    rho: float
    """Mean over the datasets of Spearman's correlation."""
    low: float
    """Lower end of the 95 % interval over models (percentile bootstrap)."""
    high: float
    """Upper end."""
    p: float
    """Permutation p-value of "the orders have nothing to do with each other", against a positive correlation."""
    each: Floats
    """[K] Spearman's correlation on each of the datasets."""


def retained(above: Floats, below: Floats, *, draws: int = DRAWS, seed: int = 0) -> Retained:
    """Return how well the orders agree: results with all [M, K] and with fewer images [M, K], higher is better.

    Models are resampled, and relabelled, in all datasets at once: how well a model does on one dataset is no
    independent evidence of the others.
    """
    models, rng = len(above), np.random.default_rng(seed)
    picks = rng.integers(0, models, size=(draws, models))
    resampled = spearman(above.T[:, picks], below.T[:, picks]).mean(axis=0)
    # A resample of equal models has no order.
    low, high = np.quantile(resampled[np.isfinite(resampled)], [0.025, 0.975])
    each = spearman(above.T, below.T)
    labels = rng.permuted(np.tile(np.arange(models), (draws, 1)), axis=1)
    chance = spearman(above.T[:, None], below.T[:, labels]).mean(axis=0)
    p = (1 + int((chance >= each.mean() - 1e-12).sum())) / (1 + draws)
    return Retained(float(each.mean()), float(low), float(high), p, each)
