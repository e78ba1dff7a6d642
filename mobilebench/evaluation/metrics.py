"""Metrics: named functions of predictions, with bounds and a direction.

Each is one call of scikit-learn or, where it is a mean over images, of numpy. scikit-learn is imported by the first
metric that needs it, so a machine that only trains can do without.

An installed package adds its own by the entry point group `mobilebench.metrics`, whose objects are `Metric`s.
docs/metrics.md has the table of the packaged ones and an example of one's own.
"""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mobilebench.errors import UserError
from mobilebench.evaluation import jackknife
from mobilebench.evaluation.target import DEFAULT_METRIC, ONE_CLASS, TARGETS
from mobilebench.system.names import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    from mobilebench.evaluation.predictions import Predictions
    from mobilebench.evaluation.target import Target

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

GROUP = "mobilebench.metrics"
BINS = 15  # of the expected calibration error, as Guo et al. 2017
_ALL = frozenset(TARGETS)
_ROUNDING = 1e-9  # by which a sum of floats may leave a metric's bounds; `Metric.within` brings it back
_ID = re.compile(r"[a-z0-9_]+")


class MetricError(UserError):
    """A metric is unknown, not for this target, or undefined for these predictions."""


@dataclass(frozen=True)
class Metric:
    """A function of predictions; call it by `value`, which checks what goes in and what comes out.

    Raises ValueError for an id that is not made of a-z, 0-9 and _, for bounds in the wrong order and for no or unknown
    targets.
    """

    id: str
    """Its name in commands and columns."""
    title: str
    """Its name for a person."""
    bounds: tuple[float, float]
    """Lowest and highest possible value; infinite where there is none."""
    compute: Callable[[Predictions], float] = field(repr=False)
    """The value of predictions, NaN where it is undefined for them; it may also raise there."""
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
    reads_order: bool = False
    """Whether the order of the classes counts: it is then read unasked only where that has a meaning."""
    of_confusion: Callable[[Floats], Floats] | None = field(default=None, repr=False)
    """The same metric of confusion counts [..., C, C] (rows are the truth, columns what was said), as [...] values, NaN
    where it is undefined; for metrics of one class that need no more. It makes `pseudo_values` fast, and changes no
    value."""
    without_blocks: Callable[[Predictions, Ints], Floats] | None = field(default=None, repr=False)
    """Another fast way to leave images out, for all other targets and metrics. It takes predictions and the block of
    each image, [N] from 0 to B - 1, and returns [B + 1] values: without each block, then of all images."""

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise ValueError(f"the metric's id is {self.id!r}; an id is made of a-z, 0-9 and _")
        if not self.bounds[0] < self.bounds[1]:
            raise ValueError(f"the metric {self.id} has the bounds {self.bounds}; expected (lowest, highest)")
        if not self.targets or not self.targets <= _ALL:
            raise ValueError(
                f"the metric {self.id} is for the targets {sorted(self.targets)}; known are {', '.join(TARGETS)}"
            )

    @property
    def resample(self) -> Literal["mean", "jackknife"]:
        """How its noise over test images is had: as that of a mean, or by leaving out blocks of images."""
        return "jackknife" if self.per_image is None else "mean"

    def value(self, predictions: Predictions) -> float:
        """Return the metric of predictions, within its bounds: what rounding put beyond them is brought back.

        Raises MetricError for a target it is not for, where it is undefined, and for a value outside of its bounds:
        never NaN. Raises ImportError where scikit-learn is needed and not installed.
        """
        self._check_target(predictions)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # scikit-learn warns of what the NaN says
                value = float(self.compute(predictions))
        except ImportError:
            raise
        except Exception as error:  # whatever the function of another package raises
            raise MetricError(f"{self.id} cannot be had of these {len(predictions)} predictions: {error}") from error
        self._check(value, predictions)
        return float(self.within(value))

    def outside(self, values: Floats | float) -> NDArray[np.bool_]:
        """Return where values are no possible results: beyond the bounds by more than rounding, or infinite.

        NaN is an absent one.
        """
        low, high = self.bounds
        given = np.asarray(values, dtype=np.float64)
        return np.asarray((given < low - _ROUNDING) | (given > high + _ROUNDING) | np.isinf(given))

    def within(self, values: Floats | float) -> Floats:
        """Return values with those beyond a bound by rounding on it (1.0000000000000002 is 1); others as they are."""
        return np.asarray(np.where(self.outside(values), values, np.clip(values, *self.bounds)))

    def _check_target(self, predictions: Predictions) -> None:
        if predictions.target not in self.targets:
            raise MetricError(
                f"{self.id} is not for a {predictions.target} target; for it there are "
                f"{', '.join(metric.id for metric in metrics_for(predictions.target))}"
            )

    def _check(self, value: float, predictions: Predictions) -> None:
        if not math.isfinite(value):
            raise MetricError(f"{self.id} is undefined for these {len(predictions)} predictions: {self._why()}")
        if self.outside(value):
            low, high = self.bounds
            raise MetricError(f"{self.id} gives {value:g}, outside of its bounds {low:g} to {high:g}: mend the metric")

    def pseudo_values(self, predictions: Predictions) -> Floats:
        """Return [U] values, one per unit of test images, whose mean and standard error are those of the metric.

        For a mean over images the units are the images and the values its terms; else up to 200 random blocks of
        images, the same for all predictions of equally many images, and the jackknife's pseudo-values
        (`jackknife.influences`). So the covariance of two models' values over the same test images is the covariance of
        their pseudo-values over U. Raises MetricError as `value` does, and where the metric is undefined without one
        of the blocks: nothing is known of its noise then.

        The jackknife's standard error is the bootstrap's to some 1 % on average, and up to a third too large where
        classes have a handful of images or ece has 200 (docs/metrics.md).
        """
        self._check_target(predictions)
        if self.per_image is not None:
            self.value(predictions)
            return self.per_image(predictions)
        blocks = jackknife.image_blocks(len(predictions))
        without = self._without_blocks(predictions, blocks)
        self._check(float(without[-1]), predictions)
        undefined = int((~np.isfinite(without)).sum())
        if undefined:
            raise MetricError(
                f"the noise of {self.id} cannot be had of these {len(predictions)} predictions: without {undefined} of "
                f"{len(without) - 1} blocks of images it is undefined; more test images are needed"
            )
        return jackknife.influences(without, blocks)

    def _without_blocks(self, predictions: Predictions, blocks: Ints) -> Floats:
        if self.of_confusion is not None and predictions.target in ONE_CLASS:
            return jackknife.of_confusions(self.of_confusion, predictions, blocks)
        if self.without_blocks is not None:
            return self.without_blocks(predictions, blocks)
        return jackknife.by_calls(self._value_or_nan, predictions, blocks)

    def _value_or_nan(self, predictions: Predictions) -> float:
        try:
            return self.value(predictions)
        except MetricError:
            return math.nan

    def show(self, value: float) -> str:
        """Return a value as people read it: a percentage with two digits, or a number with four."""
        if not math.isfinite(value):
            return "n/a"
        return f"{100 * value:.2f}" if self.percent else f"{value:.4f}"

    def _why(self) -> str:
        return _UNDEFINED.get(self.id, "the function gives no finite number")


def _hits(p: Predictions) -> Floats:
    return np.asarray(p.predicted == p.targets, dtype=np.float64)


def _hits_of_five(p: Predictions) -> Floats:
    """Hits among the five largest logits; of equal ones the larger class number comes first, as in scikit-learn."""
    logits = p.logits.astype(np.promote_types(p.logits.dtype, np.float32))  # numpy compares 16 bits slowly
    own = logits[np.arange(len(p)), p.targets][:, None]
    later = np.arange(p.classes) > p.targets[:, None]
    before = ((logits > own) | ((logits == own) & later)).sum(axis=1)
    return np.asarray(before < 5, dtype=np.float64)


def _top5(p: Predictions) -> float:
    return math.nan if p.classes <= 5 else float(_hits_of_five(p).mean())


def _balanced_accuracy(p: Predictions) -> float:
    from sklearn.metrics import balanced_accuracy_score

    return float(balanced_accuracy_score(p.targets, p.predicted))


def _balanced_accuracy_of(counts: Floats) -> Floats:
    return jackknife.mean_defined(_diagonal(counts), counts.sum(axis=-1))


def _macro_f1(p: Predictions) -> float:
    from sklearn.metrics import f1_score

    truth, said = p.targets, p.predicted
    if p.target == "multi_label" and p.classes == 1:  # scikit-learn takes a single column for classes 0 and 1
        return float(f1_score(truth[:, 0], said[:, 0], average="binary", zero_division=math.nan))
    return float(f1_score(truth, said, average="macro", zero_division=math.nan))


def _macro_f1_of(counts: Floats) -> Floats:
    return jackknife.mean_defined(2 * _diagonal(counts), counts.sum(axis=-1) + counts.sum(axis=-2))


def _qwk(p: Predictions) -> float:
    from sklearn.metrics import cohen_kappa_score

    if len(np.unique(np.concatenate([p.targets, p.predicted]))) < 2:
        return math.nan
    # All grades, because scikit-learn would count the distance of two grades by those that occur between them.
    grades = np.arange(p.classes)
    return float(cohen_kappa_score(p.targets, p.predicted, labels=grades, weights="quadratic"))


def _qwk_of(counts: Floats) -> Floats:
    grades = np.arange(counts.shape[-1])
    apart = np.subtract.outer(grades, grades).astype(np.float64) ** 2
    true, said = counts.sum(axis=-1), counts.sum(axis=-2)
    by_chance = ((true @ apart) * said).sum(axis=-1)
    found = np.einsum("...ij,ij->...", counts, apart) * true.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(by_chance > 0, 1 - found / by_chance, np.nan)


def _diagonal(counts: Floats) -> Floats:
    return np.diagonal(counts, axis1=-2, axis2=-1)


def _one_against_rest(p: Predictions) -> tuple[NDArray[np.bool_], Floats]:
    """Return ([N, K] truth, [N, K] scores) of the K classes that have both positives and negatives in the split.

    The scores are probabilities of one class, which may be compared from image to image, and the logits of several
    labels, whose order is that of their probabilities.
    """
    several = p.target == "multi_label"
    truth = p.targets == 1 if several else p.targets[:, None] == np.arange(p.classes)
    both = truth.any(axis=0) & ~truth.all(axis=0)
    scores = p.logits.astype(np.float64) if several else p.probabilities
    return truth[:, both], scores[:, both]


def _roc_auc(p: Predictions) -> float:
    from sklearn.metrics import roc_auc_score

    truth, scores = _one_against_rest(p)
    return float(roc_auc_score(truth, scores, average="macro")) if truth.shape[1] else math.nan


def _roc_auc_without(p: Predictions, blocks: Ints) -> Floats:
    return jackknife.mean_of_classes(jackknife.roc_auc, *_one_against_rest(p), blocks)


def _average_precision(p: Predictions) -> float:
    from sklearn.metrics import average_precision_score

    truth, scores = _one_against_rest(p)
    return float(average_precision_score(truth, scores, average="macro")) if truth.shape[1] else math.nan


def _average_precision_without(p: Predictions, blocks: Ints) -> Floats:
    return jackknife.mean_of_classes(jackknife.average_precision, *_one_against_rest(p), blocks)


def confidence_bins(p: Predictions) -> tuple[Floats, Ints]:
    """Return ([N] probability given to the predicted class, [N] its bin of BINS): (0, 1/15], (1/15, 2/15] ...

    For targets of one class.
    """
    confidence = p.probabilities[np.arange(len(p)), p.predicted]
    return confidence, np.minimum(np.ceil(confidence * BINS).astype(np.int64) - 1, BINS - 1).clip(0)


def _calibration(p: Predictions) -> tuple[Floats, Ints]:
    """Return ([N] hit minus confidence, [N] bin of the confidence)."""
    confidence, bins = confidence_bins(p)
    return _hits(p) - confidence, bins


def _ece(p: Predictions) -> float:
    gaps, bins = _calibration(p)
    return float(np.abs(np.bincount(bins, weights=gaps, minlength=BINS)).sum() / len(p))


def _ece_without(p: Predictions, blocks: Ints) -> Floats:
    gaps, bins = _calibration(p)
    return jackknife.calibration_error(gaps, bins, BINS, blocks)


_UNDEFINED = {
    "top5": "of five classes or fewer every prediction is among the best five",
    "macro_f1": "no class is in the truth or predicted",
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
        Metric(
            "balanced_accuracy", "Balanced accuracy", (0, 1), _balanced_accuracy,
            percent=True, of_confusion=_balanced_accuracy_of,
        ),
        # Over the classes that are in the truth or predicted; 0 for a class never predicted or never right.
        Metric(
            "macro_f1", "Macro F1", (0, 1), _macro_f1, targets=_ALL,
            percent=True, of_confusion=_macro_f1_of, without_blocks=jackknife.macro_f1_of_labels,
        ),
        # The class numbers are the grades.
        Metric("qwk", "Quadratic weighted kappa", (-1, 1), _qwk, of_confusion=_qwk_of, reads_order=True),
        # One class against the rest, the mean over the classes that the split can tell about; so is map.
        Metric(
            "roc_auc", "ROC AUC", (0, 1), _roc_auc,
            needs="scores", targets=_ALL, without_blocks=_roc_auc_without,
        ),
        Metric(
            "map", "Mean average precision", (0, 1), _average_precision,
            needs="scores", targets=_ALL, percent=True, without_blocks=_average_precision_without,
        ),
        Metric(
            "nll", "Negative log-likelihood", (0, math.inf), lambda p: float(p.log_loss.mean()),
            higher_is_better=False, needs="scores", targets=_ALL, per_image=lambda p: p.log_loss,
        ),
        # Of the predicted class's probability, 15 bins of equal width.
        Metric(
            "ece", "Expected calibration error", (0, 1), _ece,
            higher_is_better=False, needs="scores", without_blocks=_ece_without,
        ),
    )
}  # fmt: skip


@cache
def _installed() -> dict[str, metadata.EntryPoint]:
    """Return the entry points of installed packages, by their names.

    Raises MetricError for a name that is no id, that a packaged metric has, or that two packages offer: which of them
    is meant must not depend on the order of installation.
    """
    found: dict[str, metadata.EntryPoint] = {}
    for point in metadata.entry_points(group=GROUP):
        package = point.dist.name if point.dist else "an installed package"
        if not _ID.fullmatch(point.name):
            raise MetricError(
                f"{package} offers a metric called {point.name!r}; a metric's id is made of a-z, 0-9 and _"
            )
        if point.name in METRICS or point.name in found:
            raise MetricError(
                f"{package} offers a metric called {point.name!r}, but that name is taken; rename it there"
            )
        found[point.name] = point
    return found


def metric_ids() -> tuple[str, ...]:
    """Return the names of all metrics: the packaged ones, then those of installed packages.

    Raises MetricError for a name that a package may not offer.
    """
    return (*METRICS, *sorted(_installed()))


def get_metric(name: str) -> Metric:
    """Return a metric by its name.

    Raises MetricError for an unknown one, for a name that a package may not offer, and for an entry point that gives
    no metric of its name. A packaged metric can be had whatever is installed.
    """
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


def origin_of(name: str) -> tuple[str, str] | None:
    """Return where a metric from outside is from, as (`module:attribute`, `name==version` of its package, "" unknown).

    None for a packaged one. Raises MetricError as `get_metric` does for an unknown one.
    """
    if is_packaged(get_metric(name)):
        return None
    point = _installed()[name]
    return point.value, f"{point.dist.name}=={point.dist.version}" if point.dist else ""


def is_packaged(metric: Metric) -> bool:
    """Return whether a metric is one of mobilebench's own, whose code a version of mobilebench fixes."""
    return METRICS.get(metric.id) is metric


def metrics_for(target: Target) -> tuple[Metric, ...]:
    """Return the packaged metrics that are defined for a target."""
    return tuple(metric for metric in METRICS.values() if target in metric.targets)


def default_metric(target: Target) -> Metric:
    """Return the metric a dataset of this target is read by where nothing else is asked for."""
    return METRICS[DEFAULT_METRIC[target]]


def metric_of(name: str, target: Target) -> Metric:
    """Return the metric of a dataset: the one it names, or with "" its target's default. Raises as `get_metric`."""
    return get_metric(name) if name else default_metric(target)


def raise_if_undefined(metric: Metric, target: Target, targets: NDArray[np.generic], classes: int) -> None:
    """Raise MetricError where images of these labels ([N], or [N, C] of several) have no sound value of a metric.

    A packaged metric must have one of perfect predictions: a kappa of images of one grade is 0 for all others. One from
    outside may be undefined for perfect predictions alone, so it is asked of those that are all wrong, too. Raises
    ImportError where scikit-learn is needed and not installed.
    """
    from mobilebench.evaluation.predictions import Predictions

    ids = np.arange(len(targets)).astype(np.str_)
    if target in ONE_CLASS:
        right = np.eye(classes, dtype=np.float32)[targets.astype(np.int64)]
        answers = [right, np.roll(right, 1, axis=1)]
    else:
        right = 2 * targets.astype(np.float32) - 1
        answers = [right, -right]
    try:
        metric.value(Predictions.of_logits(target, targets, answers[0], ids))
    except MetricError:
        if is_packaged(metric):
            raise
        metric.value(Predictions.of_logits(target, targets, answers[1], ids))


def readings(predictions: Predictions, wanted: Iterable[Metric] | None = None) -> dict[str, float]:
    """Return {id: value} of these metrics, or of every packaged one for the target; undefined ones are left out.

    One that reads the order of the classes is left to be asked for where the target is not ordinal. Without
    scikit-learn those that need it are left out too: they can be had from the predictions elsewhere.
    """
    if wanted is None:
        wanted = (m for m in metrics_for(predictions.target) if not m.reads_order or predictions.target == "ordinal")
    found = {}
    for metric in wanted:
        try:
            found[metric.id] = metric.value(predictions)
        except (MetricError, ImportError):
            continue
    return found
