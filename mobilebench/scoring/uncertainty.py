"""How sure an xScore is, and how sure an order: what the truth could be behind one matrix, and behind one suite.

One mechanism stands behind intervals, rank intervals and order probabilities:

1. *How noisy is a cell?* (`cell_noise`) All models of a dataset are tested on the same images, which ties their errors
   together: an image that is hard for one is hard for the next. Where predictions are kept, `Matrix.test_covariance`
   says by how much. Where they are not, the test images of an accuracy give p (1 - p) / n_test for each model apart,
   which overstates the noise of a difference; of another metric they give nothing. Repeated training gives s^2 / S for
   S seeds. Two or three seeds say little about s, so it is pooled: over the models of a dataset, times a factor for
   each model, pooled over its datasets. The factor is drawn with its degrees of freedom, which widens intervals as
   Student's t does.
2. *Which values could be true?* (`truths_behind`) In each dataset the models are taken for normally spread about a mean
   (empirical Bayes, Efron and Morris 1975). Draws from the posterior, given the noise, spread as the truth does. The
   measured values spread further: their noise has made the best too good and the worst too bad.
3. *How far off is a score then?* (`score_errors`) To each such truth the noise is added once more, and the score of the
   noisy matrix minus the score of the truth is an error as this matrix may hold one (a parametric bootstrap). Anchors
   taken from the grid are taken again in each, so the errors hold that noise pushes the anchors apart.
4. *Interval*: the score minus the quantiles of its errors (`pivotal`; Davison and Hinkley 1997, 5.2).
5. *Order*: the same draws, score minus error, but pulled together as far as the scores of this grid differ by noise
   (`shrunk`; the true scores are again taken for normally spread). Without it the best of eleven equal models would
   seem to beat the worst, because it was chosen for its luck.

What is resampled is `Source`: "test" the test images alone, "seeds" the training alone, "seeds+test" both. With "test"
another training run is not in it: intervals are too narrow, and a share of draws is no probability.

Inside, all values are turned so that the higher is the better (`Matrix.upward`), which changes no variance and no
covariance within a dataset.

How well this does: `python -m benchmarks.coverage` and, with shared test images, `python -m benchmarks.paired`, with
figures in benchmarks/RESULTS.md. On the published table, 95 % intervals hold the truth in 95 to 97 % of cases (worst
model 90 % and more) at 1.0 to 1.25 times the width they need, and what is said with 0.9 is true in 88 to 95 %. Single
runs with a training noise of 0.5 point: 85 %, of 1 point: 60 %. Paired, they hold the truth as often, and the interval
of a difference is 0.7 to 0.8 times as wide where two models' answers have a correlation of one half.

`dataset_bootstrap` and `leave_one_dataset_out` resample the datasets instead, as if the suite were a sample of visual
domains. With seven datasets this is wide by nature and says how much the verdict hangs on the choice of the suite.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from mobilebench.errors import UserError
from mobilebench.evaluation.metrics import get_metric
from mobilebench.scoring.measures import TOP1
from mobilebench.scoring.xscore import Anchors, anchors_from_matrix, combine, normalise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mobilebench.evaluation.metrics import Metric
    from mobilebench.scoring.matrix import Matrix

    Floats = NDArray[np.float64]

Source = Literal["seeds", "test", "seeds+test"]
SEEDS = "training seeds, pooled over models and datasets"
TRAINING_NOISE = 0.01  # standard deviation over seeds that is assumed of single runs, at an accuracy of one half
UNDEFINED = 0.05  # share of undefined draws above which the rest says too little
PRIOR_DF = 4  # degrees of freedom by which a model's training noise is held to be that of the others
GRID = 40  # values of a spread between models that are tried


def best_source(matrix: Matrix) -> Source | None:
    """Return what this matrix allows to resample: both, one, or None."""
    present = matrix.counts[matrix.counts > 0]
    seeds = bool(present.size) and int(present.min()) >= 2
    if seeds:
        return "seeds" if without_test_noise(matrix) else "seeds+test"
    return None if without_test_noise(matrix) else "test"


def without_test_noise(matrix: Matrix) -> tuple[str, ...]:
    """Return the datasets whose noise over test images is unknown: no covariances, and no top-1 of so many images."""
    binomial = (matrix.n_test > 0) & np.array([metric == TOP1 for metric in matrix.metrics])
    return tuple(name for name, known in zip(matrix.datasets, matrix.paired | binomial, strict=True) if not known)


def resampled(matrix: Matrix, source: Source) -> str:
    """Say what the draws of a source resample of this matrix, as a phrase."""
    apart = [name for name, paired in zip(matrix.datasets, matrix.paired, strict=True) if not paired]
    how = "paired" if not apart else "binomial" if len(apart) == len(matrix.datasets) else ""
    images = f"test images ({how or 'paired; binomial on ' + ', '.join(apart)})"
    if source == "test":
        return f"{images}, training not rerun"
    return SEEDS if source == "seeds" else f"{SEEDS}, and {images}"


@dataclass(frozen=True, eq=False)
class Noise:
    """The noise of the mean values of a matrix: of each cell for itself, and shared by the models of a dataset."""

    own: Floats
    """[draws, M, D] variances, NaN where a cell is absent."""
    shared: Floats
    """[D, M, M] covariances, 0 in a dataset without and for absent models."""

    @property
    def variance(self) -> Floats:
        """[draws, M, D] variances of the cells from both, NaN where absent."""
        return self.own + np.diagonal(self.shared, axis1=1, axis2=2).T

    @property
    def is_shared(self) -> NDArray[np.bool_]:
        """Whether the models of each dataset share noise, [D]."""
        return np.asarray(self.shared.any(axis=(1, 2)))

    def draw(self, rng: np.random.Generator) -> Floats:
        """Draw errors, [draws, M, D], NaN where a cell is absent."""
        errors = np.sqrt(self.own) * rng.standard_normal(self.own.shape)
        for d in np.flatnonzero(self.is_shared):
            variance, axes = np.linalg.eigh(self.shared[d])
            # Rounding, and differences of estimates, may leave a variance a little below 0.
            root = axes * np.sqrt(np.maximum(variance, 0))
            errors[:, :, d] += rng.standard_normal(errors.shape[:2]) @ root.T
        return errors


def cell_noise(
    matrix: Matrix, *, source: Source, draws: int, rng: np.random.Generator, training_noise: float = 0.0
) -> Noise:
    """Return the noise of the mean value of each cell.

    `training_noise` is an assumed standard deviation over training seeds (fraction, at an accuracy of one half;
    elsewhere it shrinks like the binomial, by 2 sqrt(p (1 - p))), added where `source` has no seeds. Raises UserError
    where the matrix does not allow the source, and for an assumed noise of another metric than top-1.
    """
    p = matrix.mean
    variance = np.where(np.isnan(p), np.nan, 0.0)[None]
    shared = np.zeros((p.shape[1], p.shape[0], p.shape[0]))
    if "test" in source:
        variance = variance + _test_variance(matrix)
        if matrix.test_covariance is not None:
            shared = np.nan_to_num(matrix.test_covariance)
            absent = matrix.counts.T == 0
            shared[absent[:, :, None] | absent[:, None, :]] = 0.0
    counts = np.maximum(matrix.counts, 1)
    if "seeds" in source:
        return Noise(variance + _training_variance(matrix, draws, rng) / counts[None], shared)
    if training_noise:
        if set(matrix.metrics) != {TOP1}:
            raise UserError(f"a training noise can be assumed of top-1 alone; found {', '.join(set(matrix.metrics))}")
        variance = variance + 4 * p * (1 - p) * training_noise**2 / counts
    return Noise(np.broadcast_to(variance, (draws, *p.shape)).astype(np.float64, copy=False), shared)


def least_noise(values: Floats, variance: Floats, size: int, metric: Metric) -> Floats:
    """Return what is to be added to estimated variances [M] over `size` test images of results [M].

    A model that is always right, or always wrong, would be without noise. To the variance of a metric that is a mean of
    0s and 1s come two successes and two failures more (Agresti and Coull 1998). That of another metric with bounds is
    at least what one image may move it by, ((high - low) / n)^2. 0 for a metric without bounds or an unknown size.
    """
    low, high = metric.bounds
    if not (size and np.isfinite(high - low)):
        return np.zeros(len(values))
    if metric.per_image is None:
        return np.asarray(np.maximum(((high - low) / size) ** 2 - variance, 0))
    p = (values - low) / (high - low)
    smooth = (p * size + 2) / (size + 4)
    return np.asarray(np.maximum(smooth * (1 - smooth) - p * (1 - p), 0) / size * (high - low) ** 2)


def score_errors(
    matrix: Matrix,
    *,
    source: Source,
    lam: float,
    anchors: Anchors | None,
    draws: int,
    seed: int = 0,
    training_noise: float = 0.0,
) -> Floats:
    """Return [draws, M] errors of the xScores of this matrix: what noise may have added to them (steps 1 to 3 above).

    NaN for a model with an absent cell; `anchors` are of values where the higher is better, as all fixed ones are;
    `training_noise` as in `cell_noise`. Raises UserError where the matrix does
    not allow the source.
    """
    rng = np.random.default_rng(seed)
    noise = cell_noise(matrix, source=source, draws=draws, rng=rng, training_noise=training_noise)
    truths = truths_behind(matrix.upward, noise, rng)
    noisy = truths + noise.draw(rng)
    return _scores(noisy, lam, anchors) - _scores(truths, lam, anchors)


def shrunk(score: Floats, errors: Floats, *, seed: int = 0) -> Floats:
    """Return [draws, M] true scores that could be behind these scores [M], given their errors [draws, M].

    The true scores are taken for a normal sample of unknown mean and spread. One draw takes a mean and a spread from
    their posterior, a truth and an error from these, and corrects the truth by what the observed scores say (Matheron's
    rule), so that the errors need not be normal. Models without a score stay NaN; draws with an undefined error
    are left out. With fewer than three scored models there is no spread to learn: nothing is pulled together.
    """
    known = np.isfinite(score)
    errors = defined(errors[:, known])
    drawn = np.full((len(errors), len(score)), np.nan)
    drawn[:, known] = score[known] - errors
    if known.sum() < 3 or len(errors) < 2:
        return drawn
    rng = np.random.default_rng([seed, 1])
    # In the axes of the errors' covariance they are uncorrelated, and each is a problem of its own.
    variance, axes = np.linalg.eigh(np.cov(errors, rowvar=False))
    observed = score[known] - errors.mean(axis=0)
    ones = axes.sum(axis=0)
    spread, mean = _spreads(
        (axes.T @ observed)[:, None], np.maximum(variance, 0)[:, None], ones[:, None], len(errors), rng
    )
    truth = mean + spread * rng.standard_normal(errors.shape)
    gain = spread**2 / (spread**2 + np.maximum(variance, 0))
    drawn[:, known] = truth + ((drawn[:, known] - truth) @ axes * gain) @ axes.T
    return drawn


def within_noise(
    matrix: Matrix, *, source: Source, draws: int = 4000, seed: int = 0, training_noise: float = 0.0
) -> tuple[str, ...]:
    """Return the datasets on which equal models would differ as much as these do in 1 of 20 cases or more.

    The test is Cochran's Q of the mean values against its distribution under the noise of `cell_noise`.
    """
    rng = np.random.default_rng(seed)
    noise = cell_noise(matrix, source=source, draws=draws, rng=rng, training_noise=training_noise)
    usual = noise.variance.mean(axis=0)
    share = (_cochran(noise.draw(rng), usual) >= _cochran(matrix.upward, usual)).mean(axis=0)
    return tuple(name for name, p in zip(matrix.datasets, share, strict=True) if p >= 0.05)


def defined(draws: Floats) -> Floats:
    """Return the draws of [draws, M] without a NaN."""
    return draws[~np.isnan(draws).any(axis=1)]


def pivotal(score: Floats, errors: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
    """Interval (low, high) of scores [M] from the quantiles of their errors [draws, M]; it holds the score itself.

    Undefined draws are left out; where more than 1 of 20 are, or where a score is undefined, both ends are NaN.
    """
    low, high = interval(errors, level)
    return np.minimum(score - high, score), np.maximum(score - low, score)


def interval(values: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
    """Percentile interval (low, high) over the first axis of [draws, M].

    Undefined draws (NaN) are left out; where more than 1 of 20 are, both ends are NaN.
    """
    known = ~np.isnan(values)
    enough = known.mean(axis=0) >= 1 - UNDEFINED
    tail = (1 - level) / 2
    # A column without enough draws is replaced before numpy warns of it.
    low, high = np.nanquantile(np.where(enough, values, 0.0), [tail, 1 - tail], axis=0)
    return np.where(enough, low, np.nan), np.where(enough, high, np.nan)


def order_probability(draws: Floats, first: int, second: int) -> float:
    """Share of draws [draws, M] in which model `first` beats `second`; a tie counts one half.

    Undefined draws (NaN) are left out; NaN where more than 1 of 20 are.
    """
    a, b = draws[:, first], draws[:, second]
    known = ~(np.isnan(a) | np.isnan(b))
    if known.mean() < 1 - UNDEFINED:
        return float("nan")
    return float(np.mean(a[known] > b[known]) + np.mean(a[known] == b[known]) / 2)


def ranks_of(scores: Floats) -> Floats:
    """Rank 1 = best along the last axis of [..., M]; ties share the mean rank, for rank correlations; NaN stays NaN."""
    above = scores[..., None, :] > scores[..., :, None]
    equal = scores[..., None, :] == scores[..., :, None]
    ranks = above.sum(axis=-1) + (equal.sum(axis=-1) + 1) / 2
    return np.where(np.isnan(scores), np.nan, ranks)


def places_of(scores: Floats) -> Floats:
    """Place 1 = best along the last axis of [..., M]; equal scores share the better place (1, 2, 2, 4); NaN stays NaN.

    This is what every table shows.
    """
    above = scores[..., None, :] > scores[..., :, None]
    return np.where(np.isnan(scores), np.nan, above.sum(axis=-1) + 1.0)


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
    values = matrix.upward
    return normalise(values, anchors_from_matrix(values) if anchors is None else anchors)


def _scores(values: Floats, lam: float, anchors: Anchors | None) -> Floats:
    """XScore [..., M] of a stack of matrices [..., M, D]; without anchors each matrix gives its own."""
    used = anchors_from_matrix(values) if anchors is None else anchors
    return combine(normalise(values, used), lam)[2]


def _test_variance(matrix: Matrix) -> Floats:
    """Variance over test images that a cell has for itself, [M, D]: all of it where its dataset has no covariances.

    Without covariances it is the binomial p (1 - p) / n. Both get what `least_noise` adds.
    """
    if unknown := without_test_noise(matrix):
        raise UserError(
            f"the noise over test images of {', '.join(unknown)} is unknown: no predictions are kept, and either the "
            "test size is unknown (n_test 0) or the metric is not top-1"
        )
    found = np.zeros((len(matrix.models), len(matrix.datasets)))
    for d, name in enumerate(matrix.metrics):
        metric, size, values = get_metric(name), int(matrix.n_test[d]), matrix.mean[:, d]
        if matrix.test_covariance is not None and matrix.paired[d]:
            found[:, d] = least_noise(values, np.diagonal(matrix.test_covariance[d]), size, metric)
        else:
            binomial = values * (1 - values) / size
            found[:, d] = binomial + least_noise(values, binomial, size, metric)
    return np.where(np.isnan(matrix.mean), np.nan, found)


def _training_variance(matrix: Matrix, draws: int, rng: np.random.Generator) -> Floats:
    """Variance over seeds [draws, M, D]: a dataset's, pooled over models, times a model's factor over its datasets."""
    counts = matrix.counts
    few = np.argwhere((counts < 2) & (counts > 0))
    if few.size:
        model, dataset = matrix.models[few[0][0]], matrix.datasets[few[0][1]]
        raise UserError(f"{model} on {dataset} has a single run; resampling seeds needs 2 or more in every cell")
    squares = np.nansum(np.square(matrix.values - matrix.mean[..., None]), axis=2)
    df = np.maximum(counts - 1, 0)
    pooled = squares.sum(axis=0) / np.maximum(df.sum(axis=0), 1)
    relative = (squares / np.where(pooled > 0, pooled, 1)).sum(axis=1)
    known = PRIOR_DF + df.sum(axis=1)
    factor = (PRIOR_DF + relative) / rng.chisquare(known, size=(draws, len(known)))
    variance: Floats = factor[:, :, None] * pooled
    return variance


def truths_behind(values: Floats, noise: Noise, rng: np.random.Generator) -> Floats:
    """Values [draws, M, D] that could be true behind those measured [M, D], each dataset for itself."""
    present, variance, shared = np.isfinite(values), noise.variance, noise.is_shared
    usual = variance.mean(axis=0)
    # Of two models no spread can be learned; they stay where they were measured.
    learned = present.sum(axis=0) >= 3
    seen = np.where(present, values, 0.0)
    sample, known, design = seen.copy(), np.where(present, usual, np.inf), present.astype(float)
    joint = [int(d) for d in np.flatnonzero(shared & learned)]
    for d in joint:
        at = present[:, d]
        covariance = noise.shared[d][np.ix_(at, at)] + np.diag(noise.own[:, at, d].mean(axis=0))
        # In the axes of the covariance the errors are uncorrelated, and each is a problem of its own.
        spread_of_axis, axes = np.linalg.eigh(covariance)
        sample[at, d], design[at, d] = axes.T @ values[at, d], axes.sum(axis=0)
        known[at, d] = np.maximum(spread_of_axis, 0)
    spread, mean = _spreads(sample, known, design, len(variance), rng)
    gain = spread[:, None] ** 2 / (spread[:, None] ** 2 + variance)
    centre = mean[:, None] + gain * (values - mean[:, None])
    truths = centre + np.sqrt(gain * variance) * rng.standard_normal(variance.shape)
    if joint:
        errors = noise.draw(rng)
        for d in joint:
            at = present[:, d]
            prior = mean[:, d, None] + spread[:, d, None] * rng.standard_normal((len(variance), int(at.sum())))
            truths[:, at, d] = _corrected(values[at, d], prior, errors[:, at, d], spread[:, d], noise, d, at)
    return np.where(learned, truths, values)


def _corrected(
    values: Floats, prior: Floats, errors: Floats, spread: Floats, noise: Noise, dataset: int, at: NDArray[np.bool_]
) -> Floats:
    """Draws [draws, M] of truths given values [M], from draws of truths and errors before them (Matheron's rule)."""
    count = len(values)
    total = np.broadcast_to(noise.shared[dataset][np.ix_(at, at)], (len(prior), count, count)).copy()
    total[:, np.arange(count), np.arange(count)] += noise.own[:, at, dataset] + spread[:, None] ** 2
    missed = values - prior - errors
    return prior + spread[:, None] ** 2 * np.linalg.solve(total, missed[..., None])[..., 0]


def _spreads(
    values: Floats, variance: Floats, design: Floats, draws: int, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Draw (spread, mean), each [draws, C], of C normal samples [n, C] seen through noise of known variance.

    value = mean * design + N(0, spread^2) + N(0, variance); both unknowns have a flat prior (Gelman 2006), the spread
    on a grid. An infinite variance stands for an absent value.
    """
    seen = np.isfinite(variance)
    known = np.where(seen, variance, 1.0)
    count = np.maximum(seen.sum(axis=0), 2)
    rough = (design * values).sum(axis=0) / np.maximum(np.square(design).sum(axis=0), 1e-12)
    around = np.square(values - rough * design).sum(axis=0) / (count - 1)
    reach = 3 * np.sqrt(np.maximum(around + np.where(seen, known, 0).sum(axis=0) / count, 1e-12))
    # Finer towards zero, where a spread matters most: uniform in u, with the density of the change of variable.
    u = (np.arange(GRID) + 0.5) / GRID
    grid = reach[:, None] * u**1.5
    total = known[..., None] + grid**2
    weight = seen[..., None] / total
    precision = (weight * np.square(design)[..., None]).sum(axis=0)
    mean = (weight * (design * values)[..., None]).sum(axis=0) / precision
    misfit = (weight * np.square(values[..., None] - mean * design[..., None])).sum(axis=0)
    log = (np.log(u) - np.log(precision) - misfit - (seen[..., None] * np.log(total)).sum(axis=0)) / 2
    odds = np.exp(log - log.max(axis=1, keepdims=True))
    below = (odds / odds.sum(axis=1, keepdims=True)).cumsum(axis=1)
    pick = np.minimum((rng.random((draws, len(grid), 1)) > below).sum(axis=2), GRID - 1)
    column = np.arange(len(grid))
    noise = rng.standard_normal(pick.shape) / np.sqrt(precision[column, pick])
    return grid[column, pick], mean[column, pick] + noise


def _cochran(accuracy: Floats, variance: Floats) -> Floats:
    """Cochran's Q [..., D]: weighted squared distances of accuracies [..., M, D] from their weighted mean."""
    weight = np.where(np.isnan(variance), 0, 1 / np.maximum(variance, 1e-18))
    total = np.maximum(weight.sum(axis=-2, keepdims=True), 1e-18)
    values = np.where(np.isnan(accuracy), 0.0, accuracy)
    mean = (weight * values).sum(axis=-2, keepdims=True) / total
    squares: Floats = (weight * np.square(values - mean)).sum(axis=-2)
    return squares
