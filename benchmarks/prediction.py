"""How often what is said of "does ImageNet accuracy predict" is wrong: simulations on known truths.

`python -m benchmarks.prediction [--grids N] [--models N ...] [--datasets N ...] [--part intervals|verdicts|beyond ...]`

Models are drawn from a population: their ImageNet accuracy, and true accuracies on every dataset that go with it by a
known correlation. Grids are measured on the truth: the correct answers of a cell are binomial, and a single run has
training noise of its own. Printed are, in this order: how often intervals hold the correlation and the slope of the
population; how often each verdict is wrong where it can be; how often the other datasets are said to explain more than
ImageNet where they do not, and where they do.
"""

from __future__ import annotations

import argparse
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from mobilebench.scoring import Matrix
from mobilebench.scoring.beyond import beyond
from mobilebench.scoring.correlation import HALF
from mobilebench.scoring.prediction import LEVEL, Predictor, associations
from mobilebench.scoring.uncertainty import TRAINING_NOISE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# Torchvision's accuracies of the networks of "Does progress on ImageNet transfer"; their spread is skewed.
IMAGENET = np.array([78.31, 76.13, 71.59, 73.36, 67.67, 56.52, 74.43, 77.62, 69.36, 60.55, 58.18, 67.73])
POPULATIONS = ("normal", "skewed", "better agree")
SPREAD = 0.03  # standard deviation of the true accuracies of models on one dataset
MIDDLE = (0.7, 0.9)  # between which the mean accuracies of datasets lie
IMAGES = 5000


def predictors(population: str, models: int, rng: np.random.Generator) -> Floats:
    """Return standardised ImageNet accuracies, [models], of a population."""
    if population == "normal":
        return rng.standard_normal(models)
    scaled = (IMAGENET - IMAGENET.mean()) / IMAGENET.std()
    # Between the networks there are others.
    return np.asarray((rng.choice(scaled, models) + 0.3 * rng.standard_normal(models)) / np.hypot(1, 0.3))


def outcomes(
    x: Floats, datasets: int, r: float, rng: np.random.Generator, *, common: float = 0.0, fade: bool = False
) -> Floats:
    """Return standardised true results [M, D] with the correlation r to x.

    common: the share of what x leaves that all datasets have in common; fade: better models agree more with the line.
    """
    own = rng.standard_normal((len(x), datasets))
    if fade:
        weight = np.where(x > 0, 0.6, 1.28)[:, None]  # mean square 1 for as many models above as below
        own = own * weight
    skill = rng.standard_normal((len(x), 1))
    left = np.sqrt(common) * skill + np.sqrt(1 - common) * own
    return np.asarray(r * x[:, None] + np.sqrt(1 - r**2) * left)


def grid(
    x: Floats, outcome: Floats, rng: np.random.Generator, *, images: int = IMAGES, noise: float = TRAINING_NOISE
) -> tuple[Matrix, Predictor]:
    """Measure single runs: training noise (at an accuracy of one half), then binomial test images."""
    models, datasets = outcome.shape
    truth = np.clip(rng.uniform(*MIDDLE, datasets) + SPREAD * outcome, 0.01, 0.99)
    trained = np.clip(truth + 2 * np.sqrt(truth * (1 - truth)) * noise * rng.standard_normal(truth.shape), 0, 1)
    names = tuple(f"m{i}" for i in range(models))
    matrix = Matrix(
        names, tuple(f"d{i}" for i in range(datasets)), (0,), (rng.binomial(images, trained) / images)[..., None],
        np.full(datasets, images),
    )  # fmt: skip
    return matrix, Predictor("ImageNet top-1", dict(zip(names, np.clip(72 + 7 * x, 1, 99).tolist(), strict=True)))


def coverage(population: str, models: int, r: float, grids: int, seed: int = 1) -> dict[str, float]:
    """Return how often each kind of interval holds what is true of the population, without noise of measuring."""
    rng, held = np.random.default_rng(seed), Counter[str]()
    slope = SPREAD * r / 7
    for _ in range(grids):
        x = predictors(population, models, rng)
        matrix, predictor = grid(
            x, outcomes(x, 1, r, rng, fade=population == "better agree"), rng, images=10**9, noise=0
        )
        (found,) = associations(matrix, predictor)
        held["r, Fisher"] += int(found.r.low <= r <= found.r.high)
        held["slope, t"] += int(found.slope.low <= slope <= found.slope.high)
        numbers = np.array([predictor.values[m] for m in matrix.models]), matrix.mean[:, 0]
        for method in ("percentile", "BCa"):
            for what, function, true in (("r", _r, r), ("slope", _slope, slope)):
                ends = stats.bootstrap(
                    numbers, function, paired=True, vectorized=True, n_resamples=999, method=method, rng=rng
                ).confidence_interval
                held[f"{what}, {method}"] += int(ends.low <= true <= ends.high)
    return {name: times / grids for name, times in held.items()}


def _r(x: Floats, y: Floats, axis: int = -1) -> Floats:
    a, b = x - x.mean(axis=axis, keepdims=True), y - y.mean(axis=axis, keepdims=True)
    squares = (a * a).sum(axis=axis) * (b * b).sum(axis=axis)
    return np.asarray((a * b).sum(axis=axis) / np.sqrt(np.maximum(squares, 1e-300)))


def _slope(x: Floats, y: Floats, axis: int = -1) -> Floats:
    a, b = x - x.mean(axis=axis, keepdims=True), y - y.mean(axis=axis, keepdims=True)
    return np.asarray((a * b).sum(axis=axis) / np.maximum((a * a).sum(axis=axis), 1e-300))


def verdicts(
    population: str, models: int, datasets: int, r: float, grids: int, *, images: int = IMAGES, seed: int = 1
) -> Counter[str]:
    """Return how often each verdict was given of a dataset whose true correlation is r.

    `some: ` before a verdict: of one or more datasets of a grid, by intervals corrected for their number.
    """
    rng, given = np.random.default_rng(seed), Counter[str]()
    for _ in range(grids):
        x = predictors(population, models, rng)
        matrix, predictor = grid(
            x, outcomes(x, datasets, r, rng, fade=population == "better agree"), rng, images=images
        )
        given.update(found.verdict for found in associations(matrix, predictor))
        corrected = associations(matrix, predictor, level=1 - (1 - LEVEL) / datasets)
        given.update({f"some: {found.verdict}" for found in corrected})
    return given


def gains(
    population: str, models: int, datasets: int, common: float, grids: int, *, permutations: int = 500, seed: int = 1
) -> dict[str, float]:
    """Return how often the other datasets are said to explain more: all together, and of single datasets by each test.

    common: the share of what ImageNet leaves that is one skill; 0 where there is nothing to find.
    """
    rng, said = np.random.default_rng(seed), Counter[str]()
    for turn in range(grids):
        x = predictors(population, models, rng)
        truth = outcomes(x, datasets, 0.5, rng, common=common, fade=population == "better agree")
        found = beyond(*grid(x, truth, rng), permutations=permutations, seed=turn)
        said["all together"] += found.explains
        said["a dataset, F"] += sum(row.p < 0.05 for row in found.rows)
        said["a dataset, permuted"] += sum(row.p_permutation < 0.05 for row in found.rows)
        said["any dataset, Holm"] += any(row.p_holm < 0.05 for row in found.rows)
    of_each = {name: grids * (datasets if name.startswith("a dataset") else 1) for name in said}
    return {name: said[name] / of_each[name] for name in sorted(said)}


def _print_intervals(models: Sequence[int], grids: int) -> None:
    names = ("r, Fisher", "r, percentile", "r, BCa", "slope, t", "slope, percentile", "slope, BCa")
    print("", f"| population | models | true r | {' | '.join(names)} |", "|-" * (3 + len(names)) + "|", sep="\n")
    for population in POPULATIONS:
        for count in models:
            for r in (0.0, 0.5, 0.9):
                found = coverage(population, count, r, grids)
                shown = " | ".join(f"{found[name]:.1%}" for name in names)
                print(f"| {population} | {count} | {r} | {shown} |", flush=True)


def _print_verdicts(models: Sequence[int], datasets: Sequence[int], grids: int) -> None:
    heads = (
        "population",
        "models",
        "datasets",
        "test images",
        "true r",
        "predicts",
        "does not predict",
        "some does not",
    )
    print("", f"| {' | '.join(heads)} |", "|-" * len(heads) + "|", sep="\n")
    for population in POPULATIONS:
        for count in models:
            for many in datasets:
                for images in (IMAGES, 500):
                    for r in (0.0, HALF - 1e-9, HALF + 1e-9, 0.9, 0.97):
                        given = verdicts(population, count, many, r, grids, images=images)
                        marks = ("**" if r < HALF else "", "**" if r > HALF else "", "**" if r > HALF else "")
                        shares = [given[name] / (grids * many) for name in ("predicts", "does not predict")]
                        shares.append(given["some: does not predict"] / grids)
                        shown = " | ".join(f"{m}{s:.1%}{m}" for s, m in zip(shares, marks, strict=True))
                        print(f"| {population} | {count} | {many} | {images} | {r:.2f} | {shown} |", flush=True)


def _print_gains(models: Sequence[int], datasets: Sequence[int], grids: int) -> None:
    names = ("all together", "a dataset, F", "a dataset, permuted", "any dataset, Holm")
    print("", f"| population | models | datasets | common skill | {' | '.join(names)} |", sep="\n")
    print("|-" * (4 + len(names)) + "|")
    for population in POPULATIONS:
        for count in models:
            for many in datasets:
                for common in (0.0, 0.25, 0.5):
                    found = gains(population, count, many, common, grids)
                    shown = " | ".join(f"{found.get(name, 0):.1%}" for name in names)
                    print(f"| {population} | {count} | {many} | {common} | {shown} |", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the rates; wrong verdicts are bold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grids", type=int, default=400, help="grids of each line")
    parser.add_argument("--models", type=int, nargs="*", default=[11, 19])
    parser.add_argument("--datasets", type=int, nargs="*", default=[6, 21])
    parts = ("intervals", "verdicts", "beyond")
    parser.add_argument("--part", choices=parts, nargs="*", default=list(parts))
    settings = parser.parse_args(arguments)
    if "intervals" in settings.part:
        _print_intervals(settings.models, settings.grids)
    if "verdicts" in settings.part:
        _print_verdicts(settings.models, settings.datasets, settings.grids)
    if "beyond" in settings.part:
        _print_gains(settings.models, settings.datasets, settings.grids)


if __name__ == "__main__":
    main()
