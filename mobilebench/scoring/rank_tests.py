"""Do models differ over many datasets? Friedman's test, and Nemenyi's critical difference of two mean ranks.

Both take the datasets for a random sample of independent ones (Demsar 2006). Datasets of one kind, as four
magnifications of the same slides, are no such sample, and the tests are then too sure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.errors import UserError
from mobilebench.scoring.uncertainty import ranks_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RankTest:
    """Mean ranks of models over datasets and which of them differ."""

    ranks: Floats
    """[M] mean ranks, 1 = best; equal results share their mean rank."""
    datasets: int
    """Number of datasets."""
    p: float
    """Friedman's p-value of "all models are equal" (by the chi-squared distribution)."""
    difference: float
    """Nemenyi's critical difference: two models whose mean ranks are further apart than this differ."""
    p_pairs: Floats
    """[M, M] Nemenyi's p-values of each pair, 1 on the diagonal."""
    level: float = 0.95
    """Confidence level of the critical difference, for all pairs together."""

    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Return the largest groups of models, best first, in which no two differ; positions, best first in each.

        A model that differs from all others is in none.
        """
        order = [int(i) for i in np.argsort(self.ranks, kind="stable")]
        found: list[tuple[int, ...]] = []
        reached = 0
        for start in range(len(order)):
            end = start
            while end < len(order) and self.ranks[order[end]] - self.ranks[order[start]] < self.difference:
                end += 1
            if end - start > 1 and end > reached:
                found.append(tuple(order[start:end]))
                reached = end
        return tuple(found)


def rank_test(values: Floats, level: float = 0.95) -> RankTest:
    """Return the tests of results [M, D], of which the higher is the better.

    Raises UserError for fewer than 3 models or 2 datasets, and for an absent result.
    """
    from scipy import stats

    models, datasets = values.shape
    if models < 3 or datasets < 2:
        raise UserError(f"Friedman's test needs 3 models and 2 datasets; found {models} and {datasets}")
    if not np.isfinite(values).all():
        raise UserError("Friedman's test needs every model's result on every dataset, and some are absent")
    ranks = ranks_of(np.round(values, 12).T).mean(axis=0)
    error = math.sqrt(models * (models + 1) / (6 * datasets))  # of a difference of two mean ranks
    # The studentised range with infinite degrees of freedom is of the errors of single means, sqrt(2) apart.
    critical = _range(level, models) / math.sqrt(2) * error
    apart = np.abs(ranks[:, None] - ranks[None, :]) / error * math.sqrt(2)
    p_pairs = np.asarray(stats.studentized_range.sf(apart, models, np.inf))
    np.fill_diagonal(p_pairs, 1.0)
    p = float(stats.friedmanchisquare(*np.round(values, 12)).pvalue)
    return RankTest(ranks, datasets, p, critical, p_pairs, level)


@cache
def _range(level: float, models: int) -> float:
    """Return the quantile of the studentised range of so many normal numbers of known variance."""
    from scipy import stats

    return float(stats.studentized_range.ppf(level, models, np.inf))
