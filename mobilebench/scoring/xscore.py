"""xScore, Eq. 1 to 3 of "Beyond ImageNet: Understanding Cross-Dataset Robustness of Lightweight Vision Models".

    A^_ij  = (A_ij - worst_j) / (best_j - worst_j)     (1)
    G_i    = mean_j A^_ij,  V_i = Var_j A^_ij          (2)
    xScore = G_i - lambda V_i,  0 <= lambda <= 1       (3)

The paper has accuracies, where worst and best are the smallest and largest of a dataset. By a metric whose lower values
are better they are the largest and smallest, so that the best is 1 and the worst 0 whatever the metric.

Var is the sample variance (ddof 1): the equations leave it open, and only ddof 1 reproduces the published scores.
What the equations leave open is decided here:

- An absent accuracy (NaN) leaves that model without G, V and xScore (NaN). A mean over fewer datasets is another
  quantity and would rank models by which cells happen to be missing.
- A dataset whose anchors are equal has no scale: its column, and with it every xScore, is NaN.
- With one dataset the variance is undefined: V is NaN, and so is xScore unless lambda is 0.
- Under fixed anchors a new model may leave [0, 1]. The value is kept (clipping would hide that it beats the reference)
  and marked in `outside`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.errors import UserError
from mobilebench.scoring.measures import TOP1, check_values, signs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]
    Bools = NDArray[np.bool_]


# Differences of accuracies, scores and ranks up to this are rounding: sums in another order, means of the same seeds.
# The smallest real difference of two accuracies, one image of a test split, is far above.
ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Anchors:
    """The worst and the best value of each dataset, which normalise it; for accuracies the lowest and the highest."""

    low: Floats
    """[D] values that become 0."""
    high: Floats
    """[D] values that become 1; below `low` where a lower value is better."""


@dataclass(frozen=True, eq=False)
class XScore:
    """Eq. 1 to 3 of one matrix."""

    normalised: Floats
    """Eq. 1, [M, D]."""
    g: Floats
    """Mean over the datasets, Eq. 2, [M]."""
    v: Floats
    """Sample variance over the datasets, Eq. 2, [M]."""
    score: Floats
    """Eq. 3, [M]."""
    outside: Bools
    """[M, D]: where the normalised accuracy leaves [0, 1]."""


def anchors_from_matrix(values: ArrayLike, sign: Floats | float = 1.0) -> Anchors:
    """Return the worst and best present value of each column of [..., M, D]; NaN where a column is empty.

    sign [D]: -1 where a lower value is better (`measures.signs`).
    """
    upward = np.asarray(values, dtype=np.float64) * sign
    low = np.where(np.isnan(upward), np.inf, upward).min(axis=-2)
    high = np.where(np.isnan(upward), -np.inf, upward).max(axis=-2)
    empty = low > high
    return Anchors(np.where(empty, np.nan, low * sign), np.where(empty, np.nan, high * sign))


def normalise(values: ArrayLike, anchors: Anchors) -> Floats:
    """Eq. 1 on [..., M, D]: places between the anchors; NaN where absent or where a range is zero (or rounding)."""
    given = np.asarray(values, dtype=np.float64)
    span = anchors.high - anchors.low
    scale = np.where(np.abs(span) > ROUNDING, span, np.nan)
    return (given - anchors.low[..., None, :]) / scale[..., None, :]


def combine(normalised: Floats, lam: float) -> tuple[Floats, Floats, Floats]:
    """Eq. 2 and 3 on [..., M, D]: (G, V with ddof 1, xScore), each [..., M]."""
    datasets = normalised.shape[-1]
    g = normalised.mean(axis=-1)
    squares = np.square(normalised - g[..., None]).sum(axis=-1)
    v = squares / (datasets - 1) if datasets > 1 else np.full_like(g, np.nan)
    return g, v, g - lam * v if lam else g.copy()


def check_lambda(lam: float) -> None:
    """Raise UserError unless lambda lies in [0, 1], the range Eq. 3 allows."""
    if not 0 <= lam <= 1:
        raise UserError(f"lambda is {lam}; Eq. 3 of xScore allows 0 to 1")


def xscore(
    values: ArrayLike, *, lam: float = 0.5, anchors: Anchors | None = None, metrics: Sequence[str] = ()
) -> XScore:
    """Score one matrix [M, D] (one value a cell; average seeds before, see `Matrix.mean`).

    `metrics` names each dataset's metric, [D]; without it the values are top-1 fractions. Without anchors they come
    from this very matrix. Raises UserError for a matrix that is not [M, D], a lambda outside [0, 1], a value outside
    the bounds of its metric, or anchors or metrics of another length.
    """
    given = np.asarray(values, dtype=np.float64)
    check_lambda(lam)
    if given.ndim != 2 or 0 in given.shape:
        raise UserError(f"a matrix of results is [models, datasets] and not empty; found shape {list(given.shape)}")
    names = tuple(metrics) or (TOP1,) * given.shape[1]
    if len(names) != given.shape[1]:
        raise UserError(f"{len(names)} metrics for {given.shape[1]} datasets; one per dataset is needed")
    check_values(given, names)
    used = anchors_from_matrix(given, signs(names)) if anchors is None else anchors
    if used.low.shape != (given.shape[1],) or used.high.shape != used.low.shape:
        raise UserError(f"{used.low.size} anchors for {given.shape[1]} datasets; one pair per dataset is needed")
    normalised = normalise(given, used)
    g, v, score = combine(normalised, lam)
    return XScore(normalised, g, v, score, (normalised < 0) | (normalised > 1))
