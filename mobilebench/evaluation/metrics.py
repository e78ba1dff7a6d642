"""Metrics: named functions of predictions, with bounds and a direction.

Each is one call of scikit-learn or, where it is a mean over images, of numpy. scikit-learn is imported by the first
metric that needs it, so a machine that only trains can do without.

An installed package adds its own by the entry point group `mobilebench.metrics`, whose objects are `Metric`s.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mobilebench.errors import UserError
from mobilebench.evaluation.predictions import Predictions
from mobilebench.evaluation.target import DEFAULT_METRIC, ONE_CLASS, TARGETS
from mobilebench.system.names import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from mobilebench.evaluation.target import Target

    Floats = NDArray[np.float64]

GROUP = "mobilebench.metrics"
BINS = 15  # of the expected calibration error, as Guo et al. 2017
BLOCKS = 200  # of images that a jackknife leaves out, one after the other


class MetricError(UserError):
    """A metric is unknown, not for this target, or undefined for these predictions."""


@dataclass(frozen=True)
class Metric:
    """A function of predictions. Raises nothing by itself; `value` says how it is called safely."""

    id: str
    """Its name in commands and columns."""
    title: str
    """Its name for a person."""
    bounds: tuple[float, float]
    """Lowest and highest possible value; infinite where there is none."""
    compute: Callable[[Predictions], float] = field(repr=False)
    """The value of predictions, NaN where it is undefined for them."""
    higher_is_better: bool = True
    """Its direction."""
    needs: Literal["labels", "scores"] = "labels"
    """Whether it reads the predicted classes alone or the logits too. From kept predictions (float16 logits) metrics of
    labels are exact."""
    targets: frozenset[Target] = ONE_CLASS
    """The targets it is defined for."""
    per_image: Callable[[Predictions], Floats] | None = field(default=None, repr=False)
    """[N] values whose mean is the metric, for metrics that are a mean over images; None for others."""
    percent: bool = False
    """Whether people are shown it as a percentage."""

    @property
    def resample(self) -> Literal["mean", "jackknife"]:
        """How its noise over test images is had: as that of a mean, or by leaving out blocks of images."""
        return "jackknife" if self.per_image is None else "mean"

    def value(self, predictions: Predictions) -> float:
        """Return the metric of predictions.

        Raises MetricError for a target it is not for, and where it is undefined: never NaN.
        """
        if predictions.target not in self.targets:
            raise MetricError(
                f"{self.id} is not for a {predictions.target} target; for it there are "
                f"{', '.join(metric.id for metric in metrics_for(predictions.target))}"
            )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scikit-learn warns of what the NaN says
            value = float(self.compute(predictions))
        if not math.isfinite(value):
            raise MetricError(f"{self.id} is undefined for these {len(predictions)} predictions: {self._why()}")
        return value

    def pseudo_values(self, predictions: Predictions) -> Floats:
        """Return [U] values, one per unit of test images, whose mean and standard error are those of the metric.

        For a mean over images the units are the images and the values its terms; else up to BLOCKS random blocks of
        images, the same for all predictions of equally many images, and the jackknife's pseudo-values (Efron and
        Tibshirani 1993, chapter 11). So the covariance of two models' values over the same test images is the
        covariance of their pseudo-values over U. Raises MetricError as `value` does.
        """
        if self.per_image is not None:
            self.value(predictions)
            return self.per_image(predictions)
        whole = self.value(predictions)
        blocks = image_blocks(len(predictions))
        count = int(blocks.max()) + 1
        left = np.array([self.value(_without(predictions, blocks == block)) for block in range(count)])
        return count * whole - (count - 1) * left

    def show(self, value: float) -> str:
        """Return a value as people read it: a percentage with two digits, or a number with four."""
        if not math.isfinite(value):
            return "n/a"
        return f"{100 * value:.2f}" if self.percent else f"{value:.4f}"

    def _why(self) -> str:
        return _UNDEFINED.get(self.id, "the function gives no finite number")


def image_blocks(n: int) -> NDArray[np.int64]:
    """Return the block, from 0, that each of n images falls into: the same for the same n, sizes differing by 1."""
    return np.random.default_rng(n).permutation(n) % min(BLOCKS, n)


def _without(predictions: Predictions, out: NDArray[np.bool_]) -> Predictions:
    p, kept = predictions, ~out
    return Predictions(p.target, p.targets[kept], p.predicted[kept], p.logits[kept], p.ids[kept])


def _hits(p: Predictions) -> Floats:
    return np.asarray(p.predicted == p.targets, dtype=np.float64)


def _hits_of_five(p: Predictions) -> Floats:
    """Hits among the five largest logits; of equal ones the larger class number comes first, as in scikit-learn."""
    order = np.argsort(p.logits, axis=1, kind="mergesort")[:, ::-1][:, :5]
    return np.asarray((order == p.targets[:, None]).any(axis=1), dtype=np.float64)


def _top5(p: Predictions) -> float:
    return math.nan if p.classes <= 5 else float(_hits_of_five(p).mean())


def _balanced_accuracy(p: Predictions) -> float:
    from sklearn.metrics import balanced_accuracy_score

    return float(balanced_accuracy_score(p.targets, p.predicted))


def _macro_f1(p: Predictions) -> float:
    from sklearn.metrics import f1_score

    return float(f1_score(p.targets, p.predicted, average="macro", zero_division=0.0))


def _qwk(p: Predictions) -> float:
    from sklearn.metrics import cohen_kappa_score

    if len(np.unique(np.concatenate([p.targets, p.predicted]))) < 2:
        return math.nan
    return float(cohen_kappa_score(p.targets, p.predicted, weights="quadratic"))


def _one_against_rest(p: Predictions) -> tuple[NDArray[np.int64], Floats]:
    """Return ([N, K] 0 and 1, [N, K] scores) of the K classes that have both positives and negatives in the split."""
    truth = p.targets if p.target == "multi_label" else p.targets[:, None] == np.arange(p.classes)
    truth = truth.astype(np.int64)
    both = (truth.min(axis=0) == 0) & (truth.max(axis=0) == 1)
    return truth[:, both], p.probabilities[:, both]


def _roc_auc(p: Predictions) -> float:
    from sklearn.metrics import roc_auc_score

    truth, scores = _one_against_rest(p)
    return float(roc_auc_score(truth, scores, average="macro")) if truth.shape[1] else math.nan


def _average_precision(p: Predictions) -> float:
    from sklearn.metrics import average_precision_score

    truth, scores = _one_against_rest(p)
    return float(average_precision_score(truth, scores, average="macro")) if truth.shape[1] else math.nan


def _ece(p: Predictions) -> float:
    confidence = p.probabilities[np.arange(len(p)), p.predicted]
    bins = np.minimum(np.ceil(confidence * BINS).astype(np.int64) - 1, BINS - 1).clip(0)  # (0, 1/15], (1/15, 2/15] ...
    gaps = np.bincount(bins, weights=_hits(p) - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(p))


_ALL = frozenset(TARGETS)
_UNDEFINED = {
    "top5": "of five classes or fewer every prediction is among the best five",
    "qwk": "truth and predictions are all of one class",
    "roc_auc": "no class has both images that are of it and images that are not",
    "map": "no class has both images that are of it and images that are not",
}

METRICS: dict[str, Metric] = {
    metric.id: metric
    for metric in (
        Metric("top1", "Top-1", (0, 1), lambda p: float(_hits(p).mean()), per_image=_hits, percent=True),
        Metric("top5", "Top-5", (0, 1), _top5, needs="scores", per_image=_hits_of_five, percent=True),
        # The mean recall of the classes that the split has.
        Metric("balanced_accuracy", "Balanced accuracy", (0, 1), _balanced_accuracy, percent=True),
        # Over the classes that are in the truth or predicted; 0 for a class never predicted or never right.
        Metric("macro_f1", "Macro F1", (0, 1), _macro_f1, targets=_ALL, percent=True),
        # The class numbers are the grades.
        Metric("qwk", "Quadratic weighted kappa", (-1, 1), _qwk),
        # One class against the rest, the mean over the classes that the split can tell about; so is map.
        Metric("roc_auc", "ROC AUC", (0, 1), _roc_auc, needs="scores", targets=_ALL),
        Metric("map", "Mean average precision", (0, 1), _average_precision, needs="scores", targets=_ALL, percent=True),
        Metric(
            "nll", "Negative log-likelihood", (0, math.inf), lambda p: float(p.log_loss.mean()),
            higher_is_better=False, needs="scores", targets=_ALL, per_image=lambda p: p.log_loss,
        ),
        # Of the predicted class's probability, 15 bins of equal width.
        Metric("ece", "Expected calibration error", (0, 1), _ece, higher_is_better=False, needs="scores"),
    )
}  # fmt: skip


@cache
def _installed() -> dict[str, metadata.EntryPoint]:
    return {point.name: point for point in metadata.entry_points(group=GROUP) if point.name not in METRICS}


def metric_ids() -> tuple[str, ...]:
    """Return the names of all metrics: the packaged ones, then those of installed packages."""
    return (*METRICS, *sorted(_installed()))


def get_metric(name: str) -> Metric:
    """Return a metric by its name. Raises MetricError for an unknown one, and for an entry point that gives none."""
    if name in METRICS:
        return METRICS[name]
    point = _installed().get(name)
    if point is None:
        hint = did_you_mean(name, metric_ids())
        raise MetricError(
            f"there is no metric {name!r}{f'; {hint}' if hint else '.'} Metrics: {', '.join(metric_ids())}"
        )
    try:
        found: Any = point.load()
    except Exception as error:  # whatever another package's import raises
        raise MetricError(f"the metric {name!r} ({point.value}) cannot be loaded: {error}") from error
    if not isinstance(found, Metric) or found.id != name:
        raise MetricError(f"the entry point {name!r} ({point.value}) is {found!r}; expected a Metric of that id")
    return found


def metrics_for(target: Target) -> tuple[Metric, ...]:
    """Return the packaged metrics that are defined for a target."""
    return tuple(metric for metric in METRICS.values() if target in metric.targets)


def default_metric(target: Target) -> Metric:
    """Return the metric a dataset of this target is read by where nothing else is asked for."""
    return METRICS[DEFAULT_METRIC[target]]


def metric_of(name: str, target: Target) -> Metric:
    """Return the metric of a dataset: the one it names, or with "" its target's default. Raises as `get_metric`."""
    return get_metric(name) if name else default_metric(target)


def readings(predictions: Predictions, wanted: Iterable[Metric] | None = None) -> dict[str, float]:
    """Return {id: value} of these metrics, or of every packaged one for the target; undefined ones are left out.

    Without scikit-learn those that need it are left out too: they can be had from the predictions elsewhere.
    """
    found = {}
    for metric in metrics_for(predictions.target) if wanted is None else wanted:
        try:
            found[metric.id] = metric.value(predictions)
        except (MetricError, ImportError):
            continue
    return found
