"""The models of one dataset, best first: how sure each value is, how far each is behind, and which may be the best.

Where a grid has one dataset, or no model has an xScore, this is what can be said. Everything comes from the matrix:
values, test sizes, and the covariances over test images where predictions are kept (`paired.with_predictions`).

*Intervals.* Those of a value and of a difference are as in `paired.difference`: normal over the test images, Student's
t over training where some model has several runs, whose variance is pooled over all models of the dataset. A top-1 of
single runs has Wilson's interval (1927).

*Which may be the best.* Multiple comparisons with the best (Hsu 1981; Gupta 1956): a model is told apart from the best
when some other model stands above it by more than noise explains, corrected for having chosen that other model out of
all. The correction is Dunnett's (1955) with the model itself as the control,

    p_i = P(max_j (e_j - e_i) / se_ij >= max_j (x_j - x_i) / se_ij),

of noise e with the covariances above, spread as Student's t where few test images give these. For a model that no other
truly exceeds p_i is below 0.05 in at most 5 % of cases. So the models with p_i >= 0.05 hold the truly best one in at
least 95 % of cases, however many models there are and wherever they stand: no correction over i is needed.
`tests/scoring/test_ranking.py` and `python -m benchmarks.best_group` measure it.

*Order of neighbours.* The probability that a model is truly above the next is read from draws of the truth in which
the models are pulled together as far as they differ by noise (`uncertainty.truths_behind`): neighbours of a sorted list
were chosen by their noise. Of two models no spread can be learned; theirs has a flat prior, as in `paired.difference`.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.errors import UserError
from mobilebench.evaluation.jackknife import BLOCKS
from mobilebench.evaluation.metrics import get_metric
from mobilebench.scoring.measures import TOP1
from mobilebench.scoring.paired import DifferenceNoise, PairedDifference, pooled_over_runs
from mobilebench.scoring.uncertainty import Noise, least_noise, order_probability, places_of, truths_behind
from mobilebench.scoring.xscore import ROUNDING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from pandas import DataFrame

    from mobilebench.evaluation.metrics import Metric
    from mobilebench.scoring.matrix import Matrix
    from mobilebench.scoring.uncertainty import Source

    Floats = NDArray[np.float64]

DRAWS = 20_000


@dataclass(frozen=True)
class RankingRow:
    """One model of a ranking; what is unknown is NaN."""

    rank: int
    """Place, 1 = best; equal values share the better place."""
    model: str
    """Id of the model."""
    value: float
    """Mean of its runs, in the metric's own unit."""
    low: float
    """Lower end of the interval of `value`."""
    high: float
    """Upper end of the interval of `value`."""
    runs: int
    """Runs behind it."""
    behind: float
    """`value` minus that of the best model, in the metric's own unit; 0 for the best itself."""
    behind_low: float
    """Lower end of the interval of `behind`; NaN for the best itself."""
    behind_high: float
    """Upper end of the interval of `behind`; NaN for the best itself."""
    above_next: float
    """Probability that it truly is better than the next row's model."""
    p_best: float
    """p-value of "no other model is truly better", corrected for all models of the ranking."""
    may_be_best: bool
    """Whether it cannot be told apart from the best: `p_best` is 1 - level or more, or unknown."""


@dataclass(frozen=True)
class Ranking:
    """The models of one dataset that have a value there, best first."""

    dataset: str
    """Id of the dataset."""
    metric: str
    """Id of its metric."""
    n_test: int
    """Its test images; 0 where unknown."""
    rows: tuple[RankingRow, ...]
    """One row a model, best first."""
    source: Source | None
    """What intervals and probabilities cover: other test images, other training runs, or both; None for nothing."""
    paired: bool
    """Whether the models' noise over the shared test images is known together, from predictions."""
    level: float
    """Confidence level."""

    def to_frame(self) -> DataFrame:
        """Return one row per model, best first, with the fields of `RankingRow`; what is unknown is NaN."""
        import pandas as pd

        return pd.DataFrame([asdict(row) for row in self.rows])

    @property
    def best_group(self) -> tuple[str, ...]:
        """The models that cannot be told apart from the best, best first; all of them where no noise is known."""
        return tuple(row.model for row in self.rows if row.may_be_best)

    @property
    def verdict(self) -> str:
        """Say which models cannot be told apart from the best, how sure that is, and what was done to know it."""
        best, group, count = self.rows[0].model, self.best_group, len(self.rows)
        if count == 1:
            return f"{best} is the only model: nothing to tell it apart from."
        if self.source is None:
            return (
                "Which models may truly be the best is not known: every model has a single run, and the noise over the "
                f"test images needs the predictions of every run ({self.metric})."
            )
        sure = f"{100 * self.level:.0f} %"
        over = "on these test images, " if self.source == "seeds" else ""
        over += "paired over the test images, " if self.paired else ""
        every, others = ("both", "the other one") if count == 2 else (f"all {count}", f"all {count - 1} others")
        how = f"{over}multiple comparisons with the best (Hsu 1981), corrected for {every} models"
        which = (
            f"truly best of the {count} models" if "seeds" in self.source else f"best of these {count} trained networks"
        )
        if count == 2:
            which = (
                "truly better of the two models" if "seeds" in self.source else "better of these two trained networks"
            )
        if len(group) == 1:
            return f"{best} is told apart from {others}: with {sure} confidence it is the {which} ({how})."
        if len(group) == count:
            return f"Cannot be told apart from the best, with {sure} confidence: {every} models ({how})."
        among = f"With {sure} confidence the {which} is among these {len(group)} ({how})."
        return f"Cannot be told apart from the best: {', '.join(group)}. {among}"

    @property
    def intervals(self) -> str:
        """Say what the intervals cover."""
        if self.source is None:
            return "No interval: nothing is known of the noise."
        covered = f"{100 * self.level:.0f} %, over {_covered(self.source, paired=self.paired)}"
        return f"Intervals: {covered}; each is for one model or one pair."

    @property
    def order(self) -> str:
        """Say what `RankingRow.above_next` is; "" where it is unknown."""
        if self.source is None or len(self.rows) < 2:
            return ""
        whose = "truly better than the next model" if "seeds" in self.source else (
            "better than the next model on all such images, for these trained networks"
        )  # fmt: skip
        chosen = ", where the models are pulled together as far as noise spreads them" if len(self.rows) > 2 else ""
        return f"P(> next): the probability of being {whose}{chosen}."


@dataclass(frozen=True)
class ValueIntervals:
    """The interval of each model's value on one dataset, as `RankingRow` has them."""

    ends: Mapping[str, tuple[float, float]]
    """{model: (low, high)} of the models that have a run there, in the metric's own unit; NaN without known noise."""
    over: str
    """What they cover, in words; "" where no noise is known."""
    level: float
    """Confidence level."""


def value_intervals(matrix: Matrix, dataset: str, *, level: float = 0.95) -> ValueIntervals:
    """Return the intervals of the values alone, which takes no draws.

    Raises UserError for an unknown dataset and for one without a run.
    """
    noise = _noise(matrix, dataset, None)
    over = "" if noise.source is None else _covered(noise.source, paired=noise.paired)
    return ValueIntervals({model: noise.interval(i, level) for i, model in enumerate(noise.models)}, over, level)


def _covered(source: Source, *, paired: bool) -> str:
    """Say what intervals of this noise cover, and what they do not."""
    images = f"test images ({'paired' if paired else 'binomial, models taken for tested apart'})"
    training = "training runs (their noise pooled over all models)"
    over = {"test": images, "seeds": training, "seeds+test": f"{images} and {training}"}[source]
    rest = {
        "test": "; what another training run gives is not covered",
        "seeds": "; other test images are not covered",
    }
    return over + rest.get(source, "")


def rank_models(
    matrix: Matrix, dataset: str, *, models: Sequence[str] | None = None, level: float = 0.95, draws: int = DRAWS
) -> Ranking:
    """Rank the models of one dataset, or these of them; models without a run there are left out.

    Training noise is pooled over all models of the dataset, also those that are not ranked. Raises UserError for an
    unknown dataset or model, and where no model asked for has a run.
    """
    noise = _noise(matrix, dataset, models)
    values, upward = noise.values, noise.values * (1 if noise.metric.higher_is_better else -1)
    order = [int(i) for i in np.argsort(-upward, kind="stable")]
    best = order[0]
    above = _above_next(noise, upward, order, draws)
    p_best = _p_best(noise, upward, draws)
    rows = []
    for place, i in zip(places_of(np.round(upward, 12))[order], order, strict=True):
        low, high = noise.interval(i, level)
        behind = values[i] - values[best]
        between = (
            (math.nan, math.nan) if i == best or not noise.source else noise.between(best, i).interval(behind, level)
        )
        rows.append(
            RankingRow(
                rank=int(place), model=noise.models[i], value=float(values[i]), low=low, high=high,
                runs=int(noise.runs[i]), behind=float(behind), behind_low=between[0], behind_high=between[1],
                above_next=above[i], p_best=float(p_best[i]), may_be_best=not p_best[i] < 1 - level,
            )
        )  # fmt: skip
    return Ranking(dataset, noise.metric.id, noise.n_test, tuple(rows), noise.source, paired=noise.paired, level=level)


def difference_of(matrix: Matrix, dataset: str, a: str, b: str, *, level: float = 0.95) -> PairedDifference:
    """Compare two models of a dataset by the matrix alone, as `paired.difference_in` does by their predictions.

    Where the matrix has covariances the two agree; without, the models are taken for tested apart. Interval and
    probability are NaN where no noise is known. Raises UserError for unknown names, and for a model without a run.
    """
    noise = _noise(matrix, dataset, (a, b))
    if noise.models != (a, b):
        missing = ", ".join(name for name in (a, b) if name not in noise.models)
        raise UserError(f"{missing} has no run on {dataset}; there is nothing to compare")
    first, second = (float(value) for value in noise.values)
    low = high = p_better = math.nan
    if noise.source:
        between = noise.between(0, 1)
        low, high = between.interval(second - first, level)
        p_better = between.above_zero(second - first if noise.metric.higher_is_better else first - second)
    return PairedDifference(
        metric=noise.metric.id, a=first, b=second, low=low, high=high, p_better=p_better, correlation=math.nan,
        runs=(int(noise.runs[0]), int(noise.runs[1])), source=noise.source, level=level,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _DatasetNoise:
    """What is known of the noise of the mean values of one dataset's models."""

    models: tuple[str, ...]
    metric: Metric
    n_test: int
    values: Floats
    """[M]."""
    runs: NDArray[np.int64]
    """[M], each 1 or more."""
    images: Floats
    """[M, M] covariances over the test images; 0 where nothing is known of these."""
    training: tuple[float, float]
    """Variance of one run over training, and its degrees of freedom: 0 where no model has several runs."""
    units: int
    """Images, or blocks of images, that `images` was estimated from; 0 where it was not."""
    own: Floats
    """[M] what a run's own noise over test images makes its variance over training at the least."""
    source: Source | None
    paired: bool

    def between(self, a: int, b: int) -> DifferenceNoise:
        """Return the noise of the difference of two models, as `paired.difference_noise` does."""
        images = max(float(self.images[a, a] + self.images[b, b] - 2 * self.images[a, b]), 0.0)
        each = float(1 / self.runs[a] + 1 / self.runs[b])
        return self._with_training(images, each, float(self.own[[a, b]].mean()))

    def interval(self, i: int, level: float) -> tuple[float, float]:
        """Return the interval of a model's value, within the bounds of the metric; NaN without known noise."""
        value = float(self.values[i])
        if self.source is None:
            return math.nan, math.nan
        if self.metric.id == TOP1 and self.source == "test" and self.runs[i] == 1:
            return wilson(value, self.n_test, level)
        spread = self._with_training(float(self.images[i, i]), float(1 / self.runs[i]), float(self.own[i]))
        low, high = spread.interval(value, level)
        return max(low, min(self.metric.bounds[0], value)), min(high, max(self.metric.bounds[1], value))

    def _with_training(self, images: float, each: float, own: float) -> DifferenceNoise:
        variance, df = self.training
        return DifferenceNoise(images, variance * each, df, own * each) if df else DifferenceNoise(images)

    def training_draws(self, draws: int, rng: np.random.Generator) -> Floats:
        """Draw the variances [draws, M] of the mean values over training, given their degrees of freedom."""
        variance, df = self.training
        if not df:
            return np.zeros((draws, len(self.models)))
        of_run = variance * df / rng.chisquare(df, size=(draws, 1))
        return np.asarray(np.maximum(of_run, self.own) / self.runs)


def wilson(value: float, n: int, level: float) -> tuple[float, float]:
    """Return Wilson's interval (1927) of a fraction of n images; it holds the fraction itself."""
    from scipy import stats

    found = stats.binomtest(round(value * n), n).proportion_ci(level, "wilson")
    return float(min(found.low, value)), float(max(found.high, value))


def _noise(matrix: Matrix, dataset: str, models: Sequence[str] | None) -> _DatasetNoise:
    whole = matrix.select(datasets=[dataset])
    chosen = whole.models if models is None else tuple(dict.fromkeys(models))
    asked = whole.select(models=chosen)
    present = [m for m, n in zip(asked.models, asked.counts[:, 0], strict=True) if n]
    if not present:
        raise UserError(f"no run of {', '.join(chosen)} on {dataset}; there is nothing to rank")
    part = asked.select(models=present)
    metric, n, values = get_metric(part.metrics[0]), int(part.n_test[0]), part.mean[:, 0]
    paired = bool(part.paired[0])
    known = paired or (metric.id == TOP1 and n > 0)
    images = np.zeros((len(values), len(values)))
    if paired and part.test_covariance is not None:
        images = part.test_covariance[0].copy()
    elif known:
        images = np.diag(values * (1 - values) / n)
    own = _own(matrix, part, images) if paired else np.zeros(len(values))
    if known:
        images += np.diag(least_noise(values, np.diagonal(images), n, metric))
    training = pooled_over_runs(list(whole.values[:, 0]))
    over = "+".join(["seeds"] * bool(training[1]) + ["test"] * known)
    sources: dict[str, Source] = {"seeds": "seeds", "test": "test", "seeds+test": "seeds+test"}
    units = 0 if not known else n if metric.per_image is not None else min(n, BLOCKS)
    return _DatasetNoise(
        part.models, metric, n, values, part.counts[:, 0], images, training, units, own, sources.get(over), paired
    )


def _own(matrix: Matrix, part: Matrix, images: Floats) -> Floats:
    """Return [M] the variance over test images that one run does not share with the others of its model.

    Of top-1 alone: that of one run is p (1 - p) / (n - 1), and what runs share is in the covariances where every cell
    has several runs (`paired.with_predictions`). Elsewhere 0: nothing is known, or the covariances hold it already.
    """
    n = int(part.n_test[0])
    if part.metrics[0] != TOP1 or n < 2 or matrix.counts[matrix.counts > 0].min() < 2:
        return np.zeros(len(part.models))
    single = np.nanmean(part.values[:, 0] * (1 - part.values[:, 0]), axis=1) / (n - 1)
    return np.asarray(np.maximum(single - np.diagonal(images), 0.0))


def _p_best(noise: _DatasetNoise, upward: Floats, draws: int) -> Floats:
    """Return [M] p-values of "no other model is truly better"; NaN without known noise."""
    count = len(upward)
    if noise.source is None:
        return np.full(count, math.nan)
    rng = np.random.default_rng(0)
    errors = _errors(noise, draws, rng)
    found = np.ones(count)
    variance, df = noise.training
    for i in range(count):
        others = np.flatnonzero(np.arange(count) != i)
        if not others.size:
            continue
        squares = noise.images[i, i] + np.diagonal(noise.images)[others] - 2 * noise.images[i, others]
        if df:
            each = 1 / noise.runs[i] + 1 / noise.runs[others]
            squares = np.maximum(squares, 0) + np.maximum(variance, (noise.own[i] + noise.own[others]) / 2) * each
        ahead = upward[others] - upward[i]
        # Two models without any noise between them differ for certain, or not at all.
        noisy = squares > ROUNDING**2
        if (ahead[~noisy] > ROUNDING).any():
            found[i] = 0.0
            continue
        if not noisy.any():
            continue
        spread = np.sqrt(squares[noisy])
        drawn = ((errors[:, others[noisy]] - errors[:, [i]]) / spread).max(axis=1)
        reached = int((drawn >= (ahead[noisy] / spread).max()).sum())
        found[i] = (reached + 1) / (draws + 1)
    return found


def _errors(noise: _DatasetNoise, draws: int, rng: np.random.Generator) -> Floats:
    """Draw errors [draws, M] of the mean values."""
    variance, axes = np.linalg.eigh(noise.images)
    # Rounding, and differences of estimates, may leave a variance a little below 0.
    root = axes * np.sqrt(np.maximum(variance, 0))
    shape = (draws, len(noise.models))
    errors = rng.standard_normal(shape) @ root.T
    if noise.units > 1:  # the covariances are estimates, of so many units
        errors *= np.sqrt((noise.units - 1) / rng.chisquare(noise.units - 1, size=(draws, 1)))
    return np.asarray(errors + np.sqrt(noise.training_draws(draws, rng)) * rng.standard_normal(shape))


def _above_next(noise: _DatasetNoise, upward: Floats, order: Sequence[int], draws: int) -> list[float]:
    """Return [M], in the order of the models: the probability of being truly above the next of `order`."""
    found = [math.nan] * len(upward)
    if noise.source is None or len(upward) < 2:
        return found
    if len(upward) == 2:
        first, second = order
        found[first] = noise.between(second, first).above_zero(float(upward[first] - upward[second]))
        return found
    rng = np.random.default_rng(1)
    own = noise.training_draws(draws, rng)
    shared = noise.images
    if not noise.paired:
        own, shared = own + np.diagonal(noise.images), np.zeros_like(noise.images)
    truths = truths_behind(upward[:, None], Noise(own[:, :, None], shared[None]), rng)[:, :, 0]
    for i, j in itertools.pairwise(order):
        found[i] = order_probability(truths, i, j)
    return found
