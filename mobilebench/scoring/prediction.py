"""How well one number of each model, its ImageNet accuracy above all, predicts its results on every dataset.

The models are the sample: an interval says what other models of their kind could have shown. It is Fisher's for
correlations and Student's t for slopes. Simulated with 11 and 19 models, on normal and on ImageNet's skewed accuracies,
these hold the truth in 95 to 97 % of cases, and in 91 to 95 % where better models lie nearer to the line. The bootstrap
over models holds it in 85 to 93 % (percentile) and 89 to 95 % (BCa): so few points show too little of their own spread.
`python -m benchmarks.prediction` repeats that; figures are in benchmarks/RESULTS.md.

A verdict is about the true results, and noise of the measured ones hides a correlation. So "does not predict" is said
only where the interval lies below `HALF` after that noise, as far as it is known, has been taken out.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from mobilebench.errors import UserError
from mobilebench.evaluation.metrics import get_metric
from mobilebench.scoring.correlation import HALF, fisher_interval
from mobilebench.scoring.measures import TOP1
from mobilebench.scoring.uncertainty import TRAINING_NOISE
from mobilebench.scoring.xscore import ROUNDING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from mobilebench.scoring.matrix import Matrix

    Floats = NDArray[np.float64]

Verdict = Literal["predicts", "does not predict", "undecided"]
FEWEST = 5  # models below which no interval and no p-value is given
THRESHOLD = 70.0  # percent on ImageNet, above which the study of real-world datasets looks again
IMAGENET_IMAGES = 50_000  # of ImageNet's validation set
LEVEL = 0.95


@dataclass(frozen=True)
class Predictor:
    """One number of each model, which may say how it does elsewhere."""

    name: str
    """What it is, as `ImageNet top-1`."""
    values: Mapping[str, float]
    """{model: the number}, an accuracy in percent; models without one are not in it."""
    unit: str = "%"
    """Its unit, for a person; "%" marks an accuracy."""
    images: int = IMAGENET_IMAGES
    """Images that an accuracy was measured on; where they end its logit does (`logit`)."""

    def __post_init__(self) -> None:
        known = list(self.values.values())
        if self.unit == "%" and (any(not 0 <= v <= 100 for v in known) or (known and max(known) <= 1)):
            raise UserError(
                f"{self.name} lies between {min(known):g} and {max(known):g}; expected percent, as 76.13, not 0.7613"
            )

    def above(self, threshold: float) -> Predictor:
        """Return the predictor of the models whose number is greater than `threshold`."""
        kept = {model: value for model, value in self.values.items() if value > threshold}
        return Predictor(f"{self.name} above {threshold:g}", kept, self.unit, self.images)


def of_counts(name: str, counts: Mapping[str, int]) -> Predictor:
    """Return the predictor "log10 of a count", as of parameters; raises UserError for a count below 1."""
    if low := [model for model, count in counts.items() if count < 1]:
        raise UserError(f"the count of {name} of {', '.join(low)} is below 1; a logarithm needs 1 or more")
    return Predictor(f"log10 {name}", {model: math.log10(count) for model, count in counts.items()}, "log10")


@dataclass(frozen=True)
class Estimate:
    """A number with its interval over models (95 %, or as asked for) and its two-sided p-value; NaN for none."""

    value: float
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan


NOTHING = Estimate(math.nan)


@dataclass(frozen=True)
class Association:
    """How the results on one dataset go with a predictor; a positive number says that better goes with more of it."""

    dataset: str
    """Id of the dataset."""
    metric: str
    """Id of its metric."""
    models: tuple[str, ...]
    """The models that have both numbers, [n]."""
    logit: bool
    """Whether both numbers are logits."""
    r: Estimate
    """Pearson's correlation; interval of Fisher."""
    rho: Estimate
    """Spearman's; interval of Fisher with the variance of Bonett and Wright (2000)."""
    tau: Estimate
    """Kendall's tau-b; interval of Fisher with the variance of Fieller, Hartley and Pearson (1957)."""
    slope: Estimate
    """sum((x - mean x)(y - mean y)) / sum((x - mean x)^2): x in the predictor's unit, y in the metric's own."""
    normalised: Estimate
    """The slope with y = 100 value / (the metric's highest value): points for each point of the predictor. NaN for a
    metric without bounds, and on the logit axis."""
    noise: float
    """Share of the variance between the measured results that is noise of measuring; NaN where it is unknown."""

    @property
    def n(self) -> int:
        """Number of models."""
        return len(self.models)

    @property
    def true_high(self) -> float:
        """Upper end of the interval of `r` for the true results, whose order noise hides; NaN where that is unknown.

        `r.high` divided by the root of the smallest share that is not noise: the variance between models has an upper
        bound of its noise from its chi-squared distribution, at 95 %.
        """
        from scipy import stats

        if not (math.isfinite(self.r.high) and math.isfinite(self.noise)):
            return math.nan
        worst = self.noise * float(stats.chi2.ppf(LEVEL, self.n - 1)) / (self.n - 1)
        if self.r.high <= 0:
            return self.r.high
        return min(1.0, self.r.high / math.sqrt(1 - worst)) if worst < 1 else 1.0

    @property
    def verdict(self) -> Verdict:
        """Whether the predictor carries half the variance of the true results (r of 0.71), surely or surely not."""
        if self.r.low >= HALF:
            return "predicts"
        return "does not predict" if self.true_high < HALF else "undecided"


def associations(
    matrix: Matrix, predictor: Predictor, *, logit: bool = False, level: float = LEVEL
) -> tuple[Association, ...]:
    """Return how the results on each dataset of the matrix go with a predictor, in the matrix's order.

    With `logit`, datasets whose metric has the bounds 0 and 1 alone, both numbers as ln(p / (1 - p)) with p kept half
    an image away from 0 and 1. level: of the intervals. Where fewer than 5 models have both numbers there is no
    interval and no p-value; where fewer than 3 have, or one number is constant, there is no estimate. Raises UserError
    for a logit of a predictor that is no accuracy.
    """
    if logit and predictor.unit != "%":
        raise UserError(f"{predictor.name} is no accuracy and has no logit; ask for the linear axis")
    kept = [d for d, metric in enumerate(matrix.metrics) if not logit or _is_share(metric)]
    return tuple(_associate(matrix, predictor, d, logit=logit, level=level) for d in kept)


def _is_share(metric: str) -> bool:
    return get_metric(metric).bounds == (0, 1)


def _associate(matrix: Matrix, predictor: Predictor, column: int, *, logit: bool, level: float) -> Association:
    metric, result = get_metric(matrix.metrics[column]), matrix.mean[:, column]
    x = np.array([predictor.values.get(model, math.nan) for model in matrix.models])
    known = np.isfinite(x) & np.isfinite(result)
    x, y = x[known], result[known]
    if logit:
        x, y = _logit(x / 100, predictor.images), _logit(y, int(matrix.n_test[column]))
    y = y * matrix.signs[column]
    highest = metric.bounds[1]
    unit = 100 / highest if math.isfinite(highest) and highest > 0 and not logit else math.nan
    models = tuple(model for model, has in zip(matrix.models, known, strict=True) if has)
    noise = math.nan if logit else _noise_share(matrix, column, known)
    if len(x) < 3 or np.ptp(x) <= ROUNDING or np.ptp(y) <= ROUNDING:
        return Association(
            matrix.datasets[column], metric.id, models, logit, NOTHING, NOTHING, NOTHING, NOTHING, NOTHING, noise
        )
    slope = _slope(x, y, level)
    return Association(
        matrix.datasets[column],
        metric.id,
        models,
        logit,
        *_correlations(x, y, level),
        slope,
        _times(slope, unit),
        noise,
    )


def _logit(share: Floats, images: int) -> Floats:
    """ln(p / (1 - p)), p at least half an image away from both ends; of an unknown number of images 10^-6."""
    least = 0.5 / images if images else 1e-6
    p = np.clip(share, least, 1 - least)
    return np.asarray(np.log(p / (1 - p)))


def _correlations(x: Floats, y: Floats, level: float) -> tuple[Estimate, Estimate, Estimate]:
    from scipy import stats

    n = len(x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of three points that lie on a line
        found = [stats.pearsonr(x, y), stats.spearmanr(_tied(x), _tied(y)), stats.kendalltau(_tied(x), _tied(y))]
    values = [float(each.statistic) for each in found]
    if n < FEWEST:
        r, rho, tau = (Estimate(value) for value in values)
        return r, rho, tau
    # Fisher's z has the variance `variance` / (n - 3).
    variances = (1.0, 1 + values[1] ** 2 / 2, 0.437 * (n - 3) / (n - 4))
    r, rho, tau = (
        Estimate(value, *fisher_interval(value, n, level=level, variance=variance), float(each.pvalue))
        for value, variance, each in zip(values, variances, found, strict=True)
    )
    return r, rho, tau


def _tied(values: Floats) -> Floats:
    return np.asarray(np.round(values, 12))


def _slope(x: Floats, y: Floats, level: float) -> Estimate:
    from scipy import stats

    line = stats.linregress(x, y)
    value = float(line.slope)
    if len(x) < FEWEST:
        return Estimate(value)
    half = float(stats.t.ppf((1 + level) / 2, len(x) - 2) * line.stderr)
    return Estimate(value, value - half, value + half, float(line.pvalue))


def _times(estimate: Estimate, unit: float) -> Estimate:
    return Estimate(estimate.value * unit, estimate.low * unit, estimate.high * unit, estimate.p)


def _noise_share(matrix: Matrix, column: int, known: NDArray[np.bool_]) -> float:
    """Variance of measuring over the variance between the measured results of these models; NaN if unknown."""
    values = matrix.mean[known, column]
    spread = float(np.var(values, ddof=1)) if values.size > 1 else 0.0
    if spread <= ROUNDING**2 or not math.isfinite(test := _test_noise(matrix, column, known)):
        return math.nan
    return min(1.0, (test + _training_noise(matrix, column, known)) / spread)


def _test_noise(matrix: Matrix, column: int, known: NDArray[np.bool_]) -> float:
    """Variance over test images by which models differ: that of one, less what all share."""
    if matrix.test_covariance is not None and matrix.paired[column]:
        part = matrix.test_covariance[column][np.ix_(known, known)]
        count = len(part)
        shared = (part.sum() - np.trace(part)) / max(count * (count - 1), 1)
        return float(max(np.trace(part) / count - shared, 0))
    if matrix.metrics[column] != TOP1 or not matrix.n_test[column]:
        return math.nan
    p = matrix.mean[known, column]
    return float((p * (1 - p)).mean() / matrix.n_test[column])


def _training_noise(matrix: Matrix, column: int, known: NDArray[np.bool_]) -> float:
    """Variance of a mean result over seeds: as measured where every cell has two or more, else assumed."""
    runs, counts = matrix.values[known, column], matrix.counts[known, column]
    if counts.min(initial=2) >= 2:
        within = float(np.nansum(np.square(runs - matrix.mean[known, column][:, None])))
        return within / float((counts - 1).sum()) * float((1 / counts).mean())
    p = matrix.mean[known, column]
    scale = 4 * p * (1 - p) if _is_share(matrix.metrics[column]) else np.ones_like(p)
    return float((scale * TRAINING_NOISE**2 / counts).mean())
