"""What the results on other datasets say about those on one, beyond what a predictor says; and rival explanations.

Two nested regressions of each dataset's results, standardised over models: on the predictor alone, and on the predictor
and the mean of the other datasets' standardised results. The gain in R^2 is tested by F, which is exact for normal
errors, and by permuted residuals (Freedman and Lane 1983), which needs no normal errors. One p-value more is of all
datasets together, from the same permutations. False positives are counted by `python -m benchmarks.prediction`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.errors import UserError
from mobilebench.scoring.effects import holm
from mobilebench.scoring.prediction import FEWEST, LEVEL, NOTHING, Estimate
from mobilebench.scoring.xscore import ROUNDING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from mobilebench.scoring.matrix import Matrix
    from mobilebench.scoring.prediction import Association, Predictor

    Floats = NDArray[np.float64]

PERMUTATIONS = 2000
SURE = 0.025  # p-value of `Beyond.explains`: where better models agree more, 0.05 would be wrong in 7 % of grids


@dataclass(frozen=True)
class Nested:
    """What the other datasets add to a predictor of one dataset's results."""

    dataset: str
    """Id of the dataset."""
    r2: float
    """Share of the variance that the predictor explains alone."""
    gain: float
    """Share that the mean of the other datasets explains beyond that, delta R^2."""
    partial: float
    """Correlation of the two, the predictor's part taken from both; its sign is the direction."""
    f: float
    """F of the gain with 1 and n - 3 degrees of freedom."""
    p: float
    """Its p-value."""
    p_permutation: float
    """p-value of the same gain from permuted residuals."""
    p_holm: float
    """`p` corrected for the number of datasets (Holm 1979)."""


@dataclass(frozen=True)
class Beyond:
    """The nested regressions of every dataset of a matrix."""

    models: tuple[str, ...]
    """The models with a result on every dataset and a predictor, [n]."""
    rows: tuple[Nested, ...]
    """One row a dataset, in the matrix's order; datasets without spread are left out."""
    partial: float
    """Mean over datasets of the partial correlations."""
    p: float
    """p-value of "no more than 0", one-sided, from residuals permuted in each dataset apart."""

    @property
    def explains(self) -> bool:
        """Whether the other datasets surely (p of 0.025 or less) explain what the predictor does not."""
        return self.partial > 0 and self.p <= SURE


def beyond(matrix: Matrix, predictor: Predictor, *, permutations: int = PERMUTATIONS, seed: int = 0) -> Beyond:
    """Return what the other datasets explain of each dataset beyond a predictor.

    Models that lack a result or the predictor are left out. Raises UserError for fewer than 3 datasets with spread, for
    fewer than 5 models, and for a constant predictor.
    """
    x, y, models, datasets = _complete(matrix, predictor)
    design = np.column_stack([np.ones(len(x)), x])
    basis, _ = np.linalg.qr(design)
    scaled = (y - y.mean(axis=0)) / y.std(axis=0, ddof=1)
    left = _without(basis, scaled)
    rng = np.random.default_rng(seed)
    alone, together = _permuted(basis, left, permutations, rng)
    partial = _partial(left, left)
    r2 = 1 - np.square(left).sum(axis=0) / np.square(scaled).sum(axis=0)
    f = np.square(partial) / (1 - np.minimum(np.square(partial), 1 - ROUNDING)) * (len(x) - 3)
    p = _f_tail(f, len(x) - 3)
    reached = (np.abs(alone) >= np.abs(partial) - ROUNDING).sum(axis=0)
    rows = tuple(
        Nested(
            name, float(r2[d]), float(partial[d] ** 2 * (1 - r2[d])), float(partial[d]), float(f[d]), float(p[d]),
            float((reached[d] + 1) / (permutations + 1)), corrected,
        )
        for d, (name, corrected) in enumerate(zip(datasets, holm([float(each) for each in p]), strict=True))
    )  # fmt: skip
    whole = float(partial.mean())
    as_much = int((together.mean(axis=1) >= whole - ROUNDING).sum())
    return Beyond(models, rows, whole, (as_much + 1) / (permutations + 1))


def _complete(matrix: Matrix, predictor: Predictor) -> tuple[Floats, Floats, tuple[str, ...], tuple[str, ...]]:
    values = matrix.upward
    x = np.array([predictor.values.get(model, math.nan) for model in matrix.models])
    known = np.isfinite(x) & np.isfinite(values).all(axis=1)
    if known.sum() < FEWEST:
        raise UserError(
            f"{int(known.sum())} models have {predictor.name} and a result on every dataset; regressions need {FEWEST}"
        )
    x, values = x[known], values[known]
    spread = np.ptp(values, axis=0) > ROUNDING
    if np.ptp(x) <= ROUNDING or spread.sum() < 3:
        raise UserError(
            f"regressions need models that differ in {predictor.name}, and on 3 or more datasets; they differ on "
            f"{int(spread.sum())}"
        )
    models = tuple(model for model, has in zip(matrix.models, known, strict=True) if has)
    return x, values[:, spread], models, tuple(name for name, has in zip(matrix.datasets, spread, strict=True) if has)


def _without(basis: Floats, values: Floats) -> Floats:
    """Residuals of values [..., n, D] on the columns of an orthonormal basis [n, k]."""
    return np.asarray(values - basis @ (basis.T @ values))


def _partial(own: Floats, rest: Floats) -> Floats:
    """Correlation [..., D] of residuals [..., n, D] with the sum of the other columns of `rest`; 0 where undefined."""
    others = rest.sum(axis=-1, keepdims=True) - rest
    scale = np.sqrt(np.square(own).sum(axis=-2) * np.square(others).sum(axis=-2))
    return np.asarray((own * others).sum(axis=-2) / np.where(scale > ROUNDING, scale, np.inf))


def _permuted(basis: Floats, left: Floats, draws: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Partial correlations [draws, D] with each dataset permuted alone, the others as they are, and with all permuted.

    What is permuted are the residuals of the smaller model; the predictor is then taken out once more.
    """
    drawn = rng.permuted(np.broadcast_to(left, (draws, *left.shape)), axis=1)
    drawn = _without(basis, drawn)
    return _partial(drawn, np.broadcast_to(left, drawn.shape)), _partial(drawn, drawn)


def _f_tail(f: Floats, df: int) -> Floats:
    from scipy import stats

    return np.asarray(stats.f.sf(f, 1, df))


@dataclass(frozen=True)
class Rival:
    """Whether a property of the datasets says where a predictor works."""

    name: str
    """The property, as `log10 classes`."""
    n: int
    """Datasets with it and a correlation."""
    of_r: Estimate
    """Spearman of the property with the correlation of each dataset; no interval below 5 datasets."""
    of_slope: Estimate
    """The same with the normalised slope."""


def rival(name: str, of_dataset: Mapping[str, float], found: Sequence[Association]) -> Rival:
    """Return how a property of datasets, {dataset: number}, goes with what was found on them."""
    known = [each for each in found if each.dataset in of_dataset and math.isfinite(each.r.value)]
    x = np.array([of_dataset[each.dataset] for each in known])
    return Rival(
        name,
        len(known),
        _rank(x, np.array([each.r.value for each in known])),
        _rank(x, np.array([each.normalised.value for each in known])),
    )


def _rank(x: Floats, y: Floats) -> Estimate:
    from scipy import stats

    from mobilebench.scoring.correlation import fisher_interval

    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if len(x) < 3 or np.ptp(x) <= ROUNDING or np.ptp(y) <= ROUNDING:
        return NOTHING
    result = stats.spearmanr(x, y)
    rho = float(result.statistic)
    if len(x) < FEWEST:
        return Estimate(rho)
    return Estimate(rho, *fisher_interval(rho, len(x), level=LEVEL, variance=1 + rho**2 / 2), float(result.pvalue))
