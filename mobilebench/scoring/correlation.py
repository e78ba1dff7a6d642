"""How two orders or two scales agree: rank correlations of whole stacks at once, and one fit with its intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.errors import UserError
from mobilebench.scoring.uncertainty import ranks_of
from mobilebench.scoring.xscore import ROUNDING

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

HALF = math.sqrt(0.5)  # the correlation from which one quantity carries half the variance of the other


def pearson(x: Floats, y: Floats) -> Floats:
    """Pearson r along the last axis of two broadcastable arrays [..., M].

    NaN where one of them is constant, or differs by no more than rounding.
    """
    a, b = _centred(x), _centred(y)
    scale = np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))
    return np.asarray((a * b).sum(axis=-1) / np.where(scale > 0, scale, np.nan))


def _centred(values: Floats) -> Floats:
    """Values less their mean along the last axis; exactly 0 where that is rounding."""
    away = values - values.mean(axis=-1, keepdims=True)
    rounding = ROUNDING * np.maximum(np.abs(values).max(axis=-1, keepdims=True), np.finfo(float).tiny)
    return np.asarray(np.where(np.abs(away).max(axis=-1, keepdims=True) > rounding, away, away * 0))


def spearman(x: Floats, y: Floats) -> Floats:
    """Spearman's rho along the last axis: Pearson r of the ranks, ties (up to rounding) at their mean rank."""
    return pearson(ranks_of(_tied(x)), ranks_of(_tied(y)))


def _tied(values: Floats) -> Floats:
    """Values with those that differ by rounding made equal."""
    return np.asarray(np.round(values, 12))


def relatedness_p(values: Floats) -> float:
    """Return the p-value of "the columns of [M, D] order the rows independently of each other".

    The smaller of two tests, doubled: Friedman's, which looks for one order common to all columns, and the sum of the
    squared Spearman correlations of all pairs of columns, which sees groups of columns too. Both against 4,000 grids of
    independent orders, so 0.0005 is the smallest value; needs two or more rows and columns, NaN otherwise.
    """
    rows, columns = values.shape
    if rows < 2 or columns < 2:
        return float("nan")
    drawn = _relatedness_of_noise(rows, columns)
    observed = _relatedness(ranks_of(values.T[None]))[:, 0]
    reached = (drawn >= observed[:, None] - 1e-9).sum(axis=1) + 1
    return float(min(1.0, 2 * reached.min() / (drawn.shape[1] + 1)))


@cache
def _relatedness_of_noise(rows: int, columns: int) -> Floats:
    orders = np.tile(np.arange(1.0, rows + 1), (4000, columns, 1))
    return _relatedness(np.random.default_rng(0).permuted(orders, axis=2))


def _relatedness(ranks: Floats) -> Floats:
    """Friedman's sum of squares and the sum of squared correlations, [2, draws], of ranks [draws, D, M]."""
    away = ranks - ranks.mean(axis=2, keepdims=True)
    norm = np.sqrt(np.square(away).sum(axis=2, keepdims=True))
    scaled = away / np.where(norm > 0, norm, 1)
    return np.stack(
        [np.square(scaled.sum(axis=1)).sum(axis=1), np.square(scaled @ np.swapaxes(scaled, 1, 2)).sum(axis=(1, 2))]
    )


@dataclass(frozen=True, eq=False)
class Fit:
    """A straight line y = slope x + intercept through n models, each counted as one independent point."""

    n: int
    """Number of models."""
    slope: float
    """Change of y per unit of x."""
    intercept: float
    """y at x = 0."""
    r: float
    """Pearson's correlation."""
    r_low: float
    """Lower end of the Fisher interval of `r`."""
    r_high: float
    """Upper end of the Fisher interval of `r`."""
    p: float
    """Two-sided p-value of `r`."""
    rho: float
    """Spearman's rank correlation."""
    rho_low: float
    """Lower end of the interval of `rho`: Fisher's with the 1.06 variance of Fieller, Hartley and Pearson (1957)."""
    rho_high: float
    """Upper end of the interval of `rho`."""
    residuals: Floats
    """[n], studentised with the point left out: beyond about 2 to 3 a model departs from the line."""

    def band(self, x: Floats, at: Floats, level: float = 0.95) -> Floats:
        """Half-width at `at` of the confidence band of the line fitted to `x` (the `x` given to `fit`)."""
        from scipy import stats

        spread = np.square(x - x.mean()).sum()
        noise = self._noise
        t = stats.t.ppf((1 + level) / 2, self.n - 2)
        return np.asarray(t * noise * np.sqrt(1 / self.n + np.square(at - x.mean()) / spread))

    _noise: float = 0.0


def fit(x: Floats, y: Floats, level: float = 0.95) -> Fit:
    """Fit y on x, both [n]; raises UserError for fewer than 4 points, a constant x or y, and a value that is undefined.

    What differs by rounding alone is constant.
    """
    from scipy import stats

    n = len(x)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise UserError("a correlation needs a number of every model, and some have no score here")
    if n < 4 or np.ptp(x) <= ROUNDING or np.ptp(y) <= ROUNDING:
        raise UserError(f"a correlation needs at least 4 models that differ; found {n}")
    line = stats.linregress(x, y)
    rho = float(spearman(x, y))
    r_low, r_high = fisher_interval(float(line.rvalue), n, level=level)
    rho_low, rho_high = fisher_interval(rho, n, level=level, variance=1.06)
    residual = y - (line.slope * x + line.intercept)
    left = np.maximum(1 - (1 / n + np.square(x - x.mean()) / np.square(x - x.mean()).sum()), 1e-12)
    total = np.square(residual).sum()
    without = np.sqrt(np.maximum(total - np.square(residual) / left, 1e-30) / (n - 3))
    return Fit(
        n, float(line.slope), float(line.intercept), float(line.rvalue), r_low, r_high, float(line.pvalue),
        rho, rho_low, rho_high, residual / (without * np.sqrt(left)), _noise=float(np.sqrt(total / (n - 2))),
    )  # fmt: skip


def fisher_interval(r: float, n: int, *, level: float = 0.95, variance: float = 1.0) -> tuple[float, float]:
    """Interval of a correlation through Fisher's z with variance / (n - 3); (-1, 1) for n of 3 or less."""
    from scipy import stats

    if n <= 3:
        return -1.0, 1.0
    z = np.arctanh(np.clip(r, -1 + 1e-12, 1 - 1e-12))
    half = float(stats.norm.ppf((1 + level) / 2)) * np.sqrt(variance / (n - 3))
    return float(np.tanh(z - half)), float(np.tanh(z + half))
