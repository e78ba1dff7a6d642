"""How far a metric's standard error by the jackknife over blocks is from others: simulations, and what it costs.

`python -m benchmarks.jackknife errors [--seeds N] [--draws N]`: over several test sets, the jackknife's standard error
over that of a bootstrap of the same images, and both over the true one (the spread of the metric over new test sets of
the same size). `python -m benchmarks.jackknife times`: processor time a cell.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.evaluation.metrics import BINS, METRICS, MetricError, metrics_for
from mobilebench.evaluation.predictions import Predictions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from mobilebench.evaluation.target import Target

    Floats = NDArray[np.float64]

CASES: tuple[tuple[Target, int, int, bool], ...] = (
    ("ordinal", 2000, 5, False),
    ("ordinal", 2000, 5, True),
    ("ordinal", 200, 5, False),
    ("ordinal", 200, 5, True),
    ("ordinal", 2000, 50, True),
    ("multi_label", 2000, 5, False),
    ("multi_label", 200, 5, True),
)
"""Target, images, classes, whether some classes are rare."""


def two_models(
    target: Target, n: int, classes: int, seed: int, *, rare: bool = False
) -> tuple[Predictions, Predictions]:
    """Return the predictions of two models on the same n images, which are hard or easy for both."""
    rng = np.random.default_rng([seed, n, classes])
    ids = np.array([str(image) for image in range(n)])
    common = rng.normal(size=(n, classes))
    share = 1 / np.arange(1, classes + 1) ** (1.5 if rare else 0)
    if target == "multi_label":
        truth = (rng.random((n, classes)) < 0.3 * share).astype(np.int64)
        common += 2 * truth - 1
    else:
        truth = rng.choice(classes, size=n, p=share / share.sum())
        common[np.arange(n), truth] += 1.5
    first, second = (1.5 * (common + 0.6 * rng.normal(size=(n, classes))) for _ in range(2))
    return (
        Predictions.of_logits(target, truth, first.astype(np.float32), ids),
        Predictions.of_logits(target, truth, second.astype(np.float32), ids),
    )


def bootstrap(models: Sequence[Predictions], names: Sequence[str], draws: int, seed: int) -> dict[str, Floats]:
    """Return {metric: [models, draws]} of images drawn with replacement, the same ones for all models.

    By formulas with a weight an image, written apart from the package's; tests hold them to scikit-learn. The metrics
    are those that are no means over images. An undefined value is NaN.
    """
    n = len(models[0])
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), draws).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {name: np.array([_WEIGHTED[name](p, weights) for p in models]) for name in names}


def _one_hot(labels: NDArray[np.int64] | NDArray[np.uint8], classes: int) -> Floats:
    return labels.astype(np.float64) if labels.ndim == 2 else np.eye(classes)[labels]


def _recall(p: Predictions, weights: Floats) -> Floats:
    truth, said = (_one_hot(labels, p.classes) for labels in (p.targets, p.predicted))
    return np.asarray(np.nanmean((weights @ (truth * said)) / (weights @ truth), axis=1))


def _macro_f1(p: Predictions, weights: Floats) -> Floats:
    truth, said = (_one_hot(labels, p.classes) for labels in (p.targets, p.predicted))
    return np.asarray(np.nanmean(2 * (weights @ (truth * said)) / (weights @ (truth + said)), axis=1))


def _kappa(p: Predictions, weights: Floats) -> Floats:
    """Quadratic kappa by moments: the squared distance found, over that of independent truth and answer."""
    n = weights.sum(axis=1)
    t, s = p.targets.astype(np.float64), p.predicted.astype(np.float64)
    mean_t, mean_s, of_t, of_s, found = (weights @ v / n for v in (t, s, t**2, s**2, (t - s) ** 2))
    return np.asarray(1 - found / (of_t + of_s - 2 * mean_t * mean_s))


def _ranked(of_class: Callable[[NDArray[np.bool_], Floats], Floats]) -> Callable[[Predictions, Floats], Floats]:
    """Average over classes. of_class: truth [N] and weights [draws, N] in the order of falling scores, without ties."""

    def mean(p: Predictions, weights: Floats) -> Floats:
        truth = _one_hot(p.targets, p.classes) == 1
        found = []
        for column, scores in zip(truth.T, p.probabilities.T, strict=True):
            order = np.argsort(-scores)
            found.append(of_class(column[order], weights[:, order]))
        return np.asarray(np.nanmean(found, axis=0))

    return mean


def _area(truth: NDArray[np.bool_], weights: Floats) -> Floats:
    positive, negative = weights * truth, weights * ~truth
    above = np.cumsum(positive, axis=1)
    return np.asarray((above * negative).sum(axis=1) / positive.sum(axis=1) / negative.sum(axis=1))


def _precision(truth: NDArray[np.bool_], weights: Floats) -> Floats:
    positive = weights * truth
    precision = np.cumsum(positive, axis=1) / np.maximum(np.cumsum(weights, axis=1), 1)
    mean = (positive * precision).sum(axis=1) / positive.sum(axis=1)
    return np.where((weights * ~truth).sum(axis=1) > 0, mean, np.nan)


def _calibration(p: Predictions, weights: Floats) -> Floats:
    confidence = p.probabilities.max(axis=1)
    bins = np.searchsorted(np.arange(1, BINS) / BINS, confidence)
    gaps = ((p.predicted == p.targets) - confidence)[:, None] * np.eye(BINS)[bins]
    return np.asarray(np.abs(weights @ gaps).sum(axis=1) / weights.sum(axis=1))


_WEIGHTED: dict[str, Callable[[Predictions, Floats], Floats]] = {
    "balanced_accuracy": _recall,
    "macro_f1": _macro_f1,
    "qwk": _kappa,
    "roc_auc": _ranked(_area),
    "map": _ranked(_precision),
    "ece": _calibration,
}


def _names(target: Target) -> list[str]:
    return [metric.id for metric in metrics_for(target) if metric.id in _WEIGHTED]


def _error(values: Floats) -> float:
    return float(values.std(ddof=1) / len(values) ** 0.5)


def errors(seeds: int, draws: int) -> None:
    """Print the ratios of standard errors of every case and metric."""
    print("| target | images | classes | rare | metric | jackknife / bootstrap, mean (least to most) "
          "| jackknife / true | bootstrap / true | undefined |")  # fmt: skip
    print("|-|-|-|-|-|-|-|-|-|")
    for target, n, classes, rare in CASES:
        for name in _names(target):
            values, jackknifed, booted, undefined = [], [], [], 0
            for seed in range(seeds):
                p, _ = two_models(target, n, classes, seed, rare=rare)
                try:
                    values.append(METRICS[name].value(p))
                    error = _error(METRICS[name].pseudo_values(p))
                except MetricError:
                    undefined += 1
                    continue
                jackknifed.append(error)
                booted.append(float(np.nanstd(bootstrap([p], [name], draws, seed)[name][0], ddof=1)))
            ratio, true = np.array(jackknifed) / booted, np.std(values, ddof=1)
            ours, theirs = (np.sqrt(np.mean(np.square(found))) / true for found in (jackknifed, booted))
            print(f"| {target} | {n} | {classes} | {'yes' if rare else 'no'} | {name} | {ratio.mean():.2f} "
                  f"({ratio.min():.2f} to {ratio.max():.2f}) | {ours:.2f} | {theirs:.2f} | {undefined} |",
                  flush=True)  # fmt: skip


def times() -> None:
    """Print the processor time of a value and of its pseudo-values, in ms a cell, the least of three."""
    print("| target | images | classes | metric | value | pseudo-values |")
    print("|-|-|-|-|-|-|")
    sizes: tuple[tuple[Target, int, int], ...] = (
        ("ordinal", 10_000, 100), ("multi_label", 10_000, 100), ("ordinal", 3_000, 7), ("ordinal", 10_000, 1000),
    )  # fmt: skip
    for target, n, classes in sizes:
        kept = two_models(target, n, classes, 0)[0].as_kept()
        for metric in metrics_for(target):
            try:
                of_value, of_noise = (_least(kept, work) for work in (metric.value, metric.pseudo_values))
            except MetricError as error:
                print(f"| {target} | {n} | {classes} | {metric.id} | {error} | |")
                continue
            print(f"| {target} | {n} | {classes} | {metric.id} | {of_value:.1f} | {of_noise:.1f} |", flush=True)


def _least(p: Predictions, work: Callable[[Predictions], object]) -> float:
    took = []
    for _ in range(3):
        fresh = _part(p, np.arange(len(p)))  # nothing computed yet
        start = time.process_time()
        work(fresh)
        took.append(1000 * (time.process_time() - start))
    return min(took)


def _part(p: Predictions, images: NDArray[np.int64]) -> Predictions:
    return Predictions(p.target, p.targets[images], p.predicted[images], p.logits[images], p.ids[images])


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["errors", "times"])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--draws", type=int, default=500)
    given = parser.parse_args()
    if given.what == "errors":
        errors(given.seeds, given.draws)
    else:
        times()


if __name__ == "__main__":
    main()
