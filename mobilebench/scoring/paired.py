"""Noise over the test images that all models share: covariances of a grid, and the difference of two models.

Everything comes from pseudo-values (`Metric.pseudo_values`): [U] numbers of one run, one for each unit of test images,
whose mean and standard error are those of its metric. U is the images for a metric that is a mean over them, and blocks
of images for another. Runs on the same images have them of the same units, so the covariance of two results over draws
of the images is that of their pseudo-values, divided by U (Efron and Tibshirani 1993, chapter 11).

A result varies with the images and with the training run. Of the variance over images a part is the run's own: on an
image that one run gets right and the next one wrong, another run would be wrong elsewhere. That part is in the variance
over runs too. Where both are added, the images' part is therefore what a model's runs share: the covariance of two runs
of one model. With pseudo-values z of runs s and units u, and z.u their mean over S runs,

    Var(z.) / U = shared + own / S,    own = mean_s Var(zs) / U - shared,
    shared = mean over pairs of runs of Cov(zs, zt) / U = (S Var(z.) - mean_s Var(zs)) / (S - 1) / U.

Two runs of different models have no such part in common beyond what the images make.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.errors import UserError
from mobilebench.evaluation.metrics import MetricError, get_metric
from mobilebench.scoring.measures import TOP1
from mobilebench.scoring.uncertainty import least_noise

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from mobilebench.evaluation.metrics import Metric
    from mobilebench.evaluation.predictions import Predictions
    from mobilebench.scoring.matrix import CellKey, Matrix
    from mobilebench.scoring.uncertainty import Source

    Floats = NDArray[np.float64]
    Kept = Mapping[CellKey, Predictions] | Callable[[CellKey], Predictions | None]
    """The predictions kept of cells: {(model, dataset, seed): predictions}, or a function of that key which returns
    None where there are none. A function is asked for one dataset after the other, so that it may read files."""

STEPS = 500  # quantiles of a chi-squared that stand for its distribution


def paired_covariance(
    pseudo: Mapping[tuple[str, int], Floats], models: Sequence[str], *, between_runs: bool = False
) -> Floats:
    """Return [M, M] covariances of the models' mean results over draws of the test images of one dataset.

    `pseudo` is {(model, seed): [U] pseudo-values}, which are averaged over a model's seeds first. NaN for a model
    without any. between_runs: a variance holds only what the model's runs share (see the module), for models of two
    runs or more; to be added to a variance over runs. Raises UserError for runs of different numbers of units, or of
    fewer than 2.
    """
    runs = [[values for (name, _), values in pseudo.items() if name == model] for model in models]
    units = _units([values for group in runs for values in group])
    found = np.full((len(models), len(models)), np.nan)
    present = [m for m, group in enumerate(runs) if group]
    if not present:
        return found
    means = np.stack([np.mean(runs[m], axis=0) for m in present])
    covariance = np.atleast_2d(np.cov(means)) / units
    if between_runs:
        own = [_own(np.stack(runs[m])) / len(runs[m]) if len(runs[m]) > 1 else 0.0 for m in present]
        # Of few images the runs of a model may seem to vary against each other.
        np.fill_diagonal(covariance, np.maximum(np.diagonal(covariance) - own, 0.0))
    found[np.ix_(present, present)] = covariance
    return found


def _units(runs: Sequence[Floats]) -> int:
    sizes = {len(values) for values in runs}
    if len(sizes) > 1 or min(sizes, default=2) < 2:
        raise UserError(
            f"the runs have pseudo-values of {', '.join(map(str, sorted(sizes)))} units; all must be of the same test "
            "images, 2 or more"
        )
    return sizes.pop() if sizes else 2


def _own(runs: Floats) -> float:
    """Variance over test images of one run that it does not share with the others of [S >= 2, U]; not below 0.

    (S mean_s Var(zs) - S Var(z.)) / (S - 1) / U: the module's `own`.
    """
    count, units = (int(size) for size in runs.shape)
    within = float(np.var(runs, axis=1, ddof=1).mean())
    return max(within - float(np.var(runs.mean(axis=0), ddof=1)), 0.0) * (count / (count - 1) / units)


def with_predictions(matrix: Matrix, predictions: Kept) -> Matrix:
    """Return the matrix with the covariances of every dataset whose present cells all have predictions.

    A dataset where some have none, or whose metric is undefined once a block of images is left out, gets none. Where
    every cell of the matrix has two runs or more, `compute_scores` adds the variance over runs, and the covariances are
    those between runs. Raises UserError for predictions of one dataset that are of different images.
    """
    present = matrix.counts > 0
    several = bool(matrix.counts[present].min(initial=2) > 1)
    found = np.full((len(matrix.datasets), len(matrix.models), len(matrix.models)), np.nan)
    for d, dataset in enumerate(matrix.datasets):
        keys = [
            (model, dataset, seed)
            for m, model in enumerate(matrix.models)
            for s, seed in enumerate(matrix.seeds)
            if np.isfinite(matrix.values[m, d, s])
        ]
        pseudo, _ = _pseudo_values(keys, predictions, get_metric(matrix.metrics[d]))
        if pseudo:
            found[d] = paired_covariance(
                {(model, seed): values for (model, _, seed), values in pseudo.items()}, matrix.models,
                between_runs=several,
            )  # fmt: skip
    return replace(matrix, test_covariance=None if np.isnan(found).all() else found)


def pseudo_values_of(sides: tuple[Kept, Kept], keys: Sequence[CellKey], metric: Metric) -> tuple[Floats, Floats] | None:
    """Return the pseudo-values of the same cells of one dataset on two sides, each [cells, U].

    None where a cell of either has no predictions. Raises UserError for predictions of different images.
    """
    first, like = _pseudo_values(keys, sides[0], metric)
    second, _ = _pseudo_values(keys, sides[1], metric, like)
    if not (first and second):
        return None
    return np.stack([first[key] for key in keys]), np.stack([second[key] for key in keys])


def _pseudo_values(
    keys: Sequence[CellKey], predictions: Kept, metric: Metric, like: Predictions | None = None
) -> tuple[dict[CellKey, Floats], Predictions | None]:
    """Return ({key: [U]} of all these cells of one dataset, nothing where one has no predictions; the first's own).

    All must be of the images of `like`, the first's where it is not given.
    """
    found: dict[CellKey, Floats] = {}
    for key in keys:
        given = predictions(key) if callable(predictions) else predictions.get(key)
        if given is None or len(given) < 2:
            return {}, like
        like = like or given
        _same_images(like, given, f"{'.'.join(map(str, key))} and another run on {key[1]}")
        try:
            found[key] = metric.pseudo_values(given)
        except MetricError:
            return {}, like
    return found, like


def _same_images(a: Predictions, b: Predictions, what: str) -> None:
    if not (np.array_equal(a.ids, b.ids) and np.array_equal(a.targets, b.targets)):
        raise UserError(
            f"the predictions of {what} are of different test images or labels ({len(a)} and {len(b)}); only runs on "
            "the same packed data can be paired"
        )


@dataclass(frozen=True)
class PairedDifference:
    """Two models on one dataset's test images: b - a in the unit of the metric, with what its noise allows to say."""

    metric: str
    """Id of the metric."""
    a: float
    """Mean result of A over its runs."""
    b: float
    """Mean result of B over its runs."""
    low: float
    """Lower end of the interval of b - a."""
    high: float
    """Upper end of the interval of b - a."""
    p_better: float
    """Probability that B is truly better, in the direction of the metric, under a flat prior; of single runs that these
    two networks are, whatever another training would give."""
    correlation: float
    """Of the two models' pseudo-values over the test images; NaN where one of them does not vary."""
    runs: tuple[int, int]
    """Runs of A and of B."""
    source: Source | None
    """What the interval covers: other test images, other training runs, or both; None where no noise is known."""
    level: float
    """Confidence level of the interval."""
    only_right: tuple[int, int] | None = None
    """Test images that A alone and that B alone gets right; None but for top-1 of single runs."""
    mcnemar_p: float = math.nan
    """Two-sided p of the exact McNemar test of "both are right equally often"; NaN without `only_right`."""

    @property
    def difference(self) -> float:
        """B - a."""
        return self.b - self.a


def difference(
    a: Sequence[Predictions],
    b: Sequence[Predictions],
    metric: Metric,
    *,
    level: float = 0.95,
    training: tuple[float, float] | None = None,
) -> PairedDifference:
    """Compare two models on one dataset, each by the predictions of its runs (one or more).

    The variance of b - a is that of the difference over the shared test images plus, where there are several runs,
    that of the training. `training` is (variance of one run, degrees of freedom), such as `pooled_over_runs` of all
    models of the dataset; without it the two models' own runs give it, where both have two or more. Runs are not paired
    by seed: two models share nothing by it. Raises UserError for no run, or runs on different images; MetricError where
    the metric is undefined.
    """
    if not (a and b):
        raise UserError(f"a difference needs a run of each of two models; found {len(a)} and {len(b)}")
    for other in (*a[1:], *b):
        _same_images(a[0], other, "the two models")
    values = [np.array([metric.value(run) for run in side]) for side in (a, b)]
    first, second = (np.stack([metric.pseudo_values(run) for run in side]) for side in (a, b))
    _units([first[0], second[0]])
    if training is None and min(len(a), len(b)) > 1:
        training = pooled_over_runs(values)
    mean_a, mean_b = (float(side.mean()) for side in values)
    variance = np.array([np.var(side.mean(axis=0), ddof=1) / side.shape[1] for side in (first, second)])
    least = float(least_noise(np.array([mean_a, mean_b]), variance, len(a[0]), metric).sum())
    noise = difference_noise(first, second, training)
    noise = replace(noise, images=noise.images + least)
    low, high = noise.interval(mean_b - mean_a, level)
    upward = mean_b - mean_a if metric.higher_is_better else mean_a - mean_b
    only_right, p = None, math.nan
    if metric.id == TOP1 and len(a) == len(b) == 1:
        right_a, right_b = first[0] > 0.5, second[0] > 0.5
        only_right = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
        p = mcnemar(*only_right)
    return PairedDifference(
        metric=metric.id, a=mean_a, b=mean_b, low=low, high=high, p_better=noise.above_zero(upward),
        correlation=_correlation(first.mean(axis=0), second.mean(axis=0)), runs=(len(a), len(b)),
        source="test" if training is None else "seeds+test", level=level, only_right=only_right, mcnemar_p=p,
    )  # fmt: skip


def difference_in(
    matrix: Matrix, predictions: Kept, dataset: str, a: str, b: str, *, level: float = 0.95
) -> PairedDifference | None:
    """Compare two models of a grid on one dataset by its metric; None where a run of theirs has no predictions.

    Training noise is pooled over all models of the dataset, also for two models of single runs where others have more.
    Raises UserError for an unknown dataset or model, for one without a run, and for predictions of different images.
    """
    part = matrix.select(datasets=[dataset])
    rows = part.select(models=[a, b]).values[:, 0]
    sides = []
    for model, values in zip((a, b), rows, strict=True):
        keys = [(model, dataset, seed) for seed, x in zip(part.seeds, values, strict=True) if np.isfinite(x)]
        kept = [predictions(key) if callable(predictions) else predictions.get(key) for key in keys]
        if not keys:
            raise UserError(f"{model} has no run on {dataset}; there is nothing to compare")
        sides.append([given for given in kept if given is not None])
        if len(sides[-1]) < len(keys):
            return None
    training = pooled_over_runs(list(part.values[:, 0]))
    metric = get_metric(part.metrics[0])
    return difference(sides[0], sides[1], metric, level=level, training=training if training[1] else None)


def pooled_over_runs(values: Sequence[Floats]) -> tuple[float, float]:
    """Return (variance of one run, degrees of freedom), pooled over groups of runs of one model on one dataset.

    Groups of fewer than two runs, and NaNs, say nothing. The variance is NaN where no group says anything.
    """
    groups = [group[~np.isnan(group)] for group in map(np.asarray, values)]
    squares = sum(float(np.square(group - group.mean()).sum()) for group in groups if len(group) > 1)
    df = sum(len(group) - 1 for group in groups if len(group) > 1)
    return (squares / df if df else math.nan), float(df)


@dataclass(frozen=True)
class DifferenceNoise:
    """The noise of a difference of results: normal over test images, Student's t over training."""

    images: float
    """Variance over test images, without what is in `training`."""
    training: float = 0.0
    """Variance over training, of the difference as it is (that of one run times 1 / S_a + 1 / S_b)."""
    df: float = 0.0
    """Degrees of freedom of `training`; 0 where training is not in it."""
    least: float = 0.0
    """What the runs' own noise over test images makes `training` at the least: two equal runs prove nothing less."""

    def _spreads(self) -> Floats:
        """Standard deviations [STEPS] that are equally likely, given the degrees of freedom."""
        if not self.df:
            return np.full(1, math.sqrt(self.images))
        drawn = self.training * self.df / _chi_squared(self.df)
        return np.asarray(np.sqrt(self.images + np.maximum(drawn, self.least)))

    def above_zero(self, value: float) -> float:
        """Probability that the true difference is above 0, given the measured one; one half where nothing differs."""
        from scipy.special import ndtr

        spreads = self._spreads()
        if not spreads.max() > 0:
            return 0.5 + 0.5 * float(np.sign(value))
        return float(np.mean(ndtr(value / np.maximum(spreads, np.finfo(float).tiny))))

    def interval(self, value: float, level: float) -> tuple[float, float]:
        """Interval of a difference: the measured one plus and minus the quantile of a normal plus a scaled t.

        The two together have no closed form (Behrens and Fisher); the scaled t is a mixture of normals over its
        chi-squared, of which STEPS quantiles are taken.
        """
        from scipy import optimize
        from scipy.special import ndtr, ndtri

        spreads = self._spreads()
        largest = float(spreads.max())
        if not largest > 0:
            return value, value
        if len(spreads) == 1:
            half = largest * float(ndtri((1 + level) / 2))
            return value - half, value + half
        spreads = np.maximum(spreads, largest * 1e-12)

        def excess(half: float) -> float:
            return float(np.mean(ndtr(half / spreads))) - (1 + level) / 2

        half = float(optimize.brentq(excess, 0, 40 * largest, rtol=1e-10))
        return value - half, value + half


@cache
def _chi_squared(df: float) -> Floats:
    """Quantiles [STEPS] of a chi-squared, equally likely."""
    from scipy import stats

    return np.asarray(stats.chi2.ppf((np.arange(STEPS) + 0.5) / STEPS, df))


def difference_noise(a: Floats, b: Floats, training: tuple[float, float] | None) -> DifferenceNoise:
    """Return the noise of mean(b) - mean(a) of two models' runs, [S_a, U] and [S_b, U] of the same images.

    `training` is (variance of one run, degrees of freedom); None leaves training out. Then, and for a model of a single
    run, the variance over images holds the runs' own part too.
    """
    units = a.shape[1]
    images = float(np.var(b.mean(axis=0) - a.mean(axis=0), ddof=1)) / units
    if training is None or not training[1]:
        return DifferenceNoise(images)
    each = 1 / len(a) + 1 / len(b)
    own = [(_own(side), len(side)) for side in (a, b) if len(side) > 1]
    images = max(images - sum(part / count for part, count in own), 0.0)
    least = float(np.mean([part for part, _ in own])) * each if own else 0.0
    return DifferenceNoise(images, training[0] * each, training[1], least)


def noise_of_runs(parts: Sequence[Floats], training: float, df: float) -> DifferenceNoise:
    """Return the noise of a sum of means of independent test splits, each [S, U] pseudo-values of S runs.

    For differences that are paired by run: a row is one run's difference. `training` is the variance over runs of the
    mean over runs, with `df` degrees of freedom (0: a single run, training left out).
    """
    images = sum(float(np.var(part.mean(axis=0), ddof=1)) / part.shape[1] for part in parts)
    if not df:
        return DifferenceNoise(images)
    own = sum(_own(part) / len(part) for part in parts)
    return DifferenceNoise(max(images - own, 0.0), training, df, own)


def mcnemar(only_a: int, only_b: int) -> float:
    """Two-sided p of the exact McNemar test (1947), of the images that A alone and that B alone gets right; 1 for none.

    It is the binomial test of one half.
    """
    from scipy import stats

    count = only_a + only_b
    return float(stats.binomtest(only_a, count, 0.5).pvalue) if count else 1.0


def _correlation(a: Floats, b: Floats) -> float:
    spread = float(a.std() * b.std())
    return float(np.mean((a - a.mean()) * (b - b.mean()))) / spread if spread > 0 else math.nan
