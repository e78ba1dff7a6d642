"""What it is worth that all models are tested on the same images: simulations with errors that models share.

`python -m benchmarks.paired [--grids N] [--draws N] [--differences N]`

An image has a difficulty that all models see, a second one for each model and a third for each run. Of the errors on an
image a share is by the first, so that the answers of two equally good models have the correlation asked for; those of
two runs of one model have one of 0.85. Training noise moves the whole accuracy of a run. Each grid is scored twice:
with the covariances of its predictions ("paired"), and without ("apart"), as if each model had images of its own.

The second table is of two models on one dataset (`paired.difference_noise`, top-1): how often its interval holds the
true difference, how wide it is, and how often two equal models are said to differ, by it and by McNemar's test.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.coverage import LAM, TABLE, Tally, count, drawn_world
from mobilebench.scoring import Matrix, compute_scores, xscore
from mobilebench.scoring.paired import difference_noise, mcnemar, paired_covariance, pooled_over_runs
from mobilebench.scoring.xscore import Anchors

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

CORRELATIONS = (0.0, 0.5, 0.8)
RUNS_ALIKE = 0.85  # correlation of the answers of two runs of one model


def answers(truth: Floats, n: int, correlation: float, noise: float, seeds: int, rng: np.random.Generator) -> Floats:
    """Right (1) or wrong (0) of every run on every image, [M, S, n].

    truth [M] fractions; correlation of two equally good models' answers, at most RUNS_ALIKE; noise: standard deviation
    of a run's accuracy over training, fraction.
    """
    models = len(truth)
    own_run = 1 - np.sqrt(RUNS_ALIKE)
    common = rng.random((1, n))
    of_model = np.where(rng.random((models, n)) < np.sqrt(correlation / RUNS_ALIKE), common, rng.random((models, n)))
    shape = (models, seeds, n)
    difficulty = np.where(rng.random(shape) < own_run, rng.random(shape), of_model[:, None])
    level = truth[:, None] + noise * rng.standard_normal((models, seeds))
    return (difficulty < level[..., None]).astype(np.float64)


@dataclass(frozen=True)
class Shared:
    """What the grids of one simulation are measured on."""

    truth: Callable[[np.random.Generator], Floats]
    """Draws the true accuracies, [M, D] fractions."""
    n_test: NDArray[np.int64]
    """Test images of each dataset, [D]."""
    fixed: Anchors
    """The fixed anchors, where they are asked for."""
    correlation: float = 0.0
    """Of the answers of two equally good models."""
    seeds: int = 1
    """Runs of each cell."""
    noise: float = 0.0
    """Standard deviation over training in points."""

    def matrix(self, truth: Floats, rng: np.random.Generator) -> Matrix:
        """Measure one grid and pair it."""
        models, datasets = (tuple(f"{axis}{i}" for i in range(n)) for axis, n in zip("md", truth.shape, strict=True))
        values = np.empty((*truth.shape, self.seeds))
        covariance = np.empty((len(datasets), len(models), len(models)))
        for d, n in enumerate(self.n_test):
            right = answers(truth[:, d], int(n), self.correlation, self.noise / 100, self.seeds, rng)
            values[:, d] = right.mean(axis=2)
            pseudo = {(name, s): right[m, s] for m, name in enumerate(models) for s in range(self.seeds)}
            covariance[d] = paired_covariance(pseudo, models, between_runs=self.seeds > 1)
        return Matrix(models, datasets, tuple(range(self.seeds)), values, self.n_test, (), covariance)


@dataclass
class Pair:
    """The same grids scored in one of two ways."""

    tally: Tally = field(default_factory=Tally)
    """Intervals and orders."""
    width: list[float] = field(default_factory=list)
    """Mean width of the 95 % interval of the difference between each two neighbours' scores, grid by grid."""
    inside: list[float] = field(default_factory=list)
    """Share of these that hold the true difference."""


def simulate(world: Shared, *, fixed: bool, grids: int, draws: int = 1000, seed: int = 1) -> tuple[Pair, Pair]:
    """Measure `grids` grids and score each (paired, apart)."""
    rng, found = np.random.default_rng(seed), (Pair(), Pair())
    for turn in range(grids):
        truth = world.truth(rng)
        whole = world.matrix(truth, rng)
        names = whole.datasets
        anchors = dict(zip(names, zip(world.fixed.low.tolist(), world.fixed.high.tolist(), strict=True), strict=True))
        true = xscore(truth, lam=LAM, anchors=world.fixed if fixed else None).score
        for pair, matrix in zip(found, (whole, replace(whole, test_covariance=None)), strict=True):
            table = compute_scores(matrix, lam=LAM, anchors=anchors if fixed else None, draws=draws, seed=turn)
            count(pair.tally, table.models, table.rows, true, table.draws)
            if table.draws is None:
                continue
            order = np.argsort(-table.xscore.score)
            low, high = np.quantile(np.diff(table.draws[:, order], axis=1), [0.025, 0.975], axis=0)
            step = np.diff(true[order])
            pair.width.append(float(np.mean(high - low)))
            pair.inside.append(float(np.mean((low <= step) & (step <= high))))
    return found


def table_3(correlation: float, *, seeds: int = 1, noise: float = 0.0) -> Shared:
    """The published table as the truth."""
    fixed = Anchors(TABLE.mean.min(axis=0), TABLE.mean.max(axis=0))
    return Shared(lambda _: TABLE.mean, TABLE.n_test, fixed, correlation, seeds, noise)


def alike(correlation: float, sd: float, datasets: int, n_test: int, *, seeds: int = 1, noise: float = 0.0) -> Shared:
    """Eleven models about 50 % that differ by `sd` points everywhere alike."""
    world = drawn_world(sd, datasets, n_test)
    return Shared(world.truth, world.n_test, world.fixed, correlation, seeds, noise)


@dataclass
class Differences:
    """What a simulation of two models on one dataset found, paired and apart."""

    inside: list[bool] = field(default_factory=list)
    """Whether the paired interval holds the true difference."""
    width: list[float] = field(default_factory=list)
    """Width of the paired interval."""
    width_apart: list[float] = field(default_factory=list)
    """Width of the interval as if each model had images of its own."""
    mcnemar: list[float] = field(default_factory=list)
    """P-values of McNemar's test, of single runs."""

    def row(self, name: str) -> str:
        """One row of the printed table."""
        test = f"{np.mean(np.array(self.mcnemar) <= 0.05):.3f}" if self.mcnemar else "-"
        ratio = np.mean(self.width) / np.mean(self.width_apart)
        return f"| {name} | {np.mean(self.inside):.3f} | {200 * np.mean(self.width) / 4:.2f} | {ratio:.2f} | {test} |"


def differences(
    correlation: float, *, seeds: int, noise: float, step: float, n: int, pairs: int, pooled: int = 2, seed: int = 1
) -> Differences:
    """Compare two models of 0.7 -+ step / 2 (fractions) on n images; training noise is pooled over `pooled` models.

    noise: training noise, fraction; none is covered by the interval of single runs, so give 0 there.
    """
    rng, found = np.random.default_rng(seed), Differences()
    truth = np.full(max(pooled, 2), 0.7)
    truth[:2] += np.array([-0.5, 0.5]) * step
    for _ in range(pairs):
        right = answers(truth, n, correlation, noise, seeds, rng)
        training = pooled_over_runs(list(right.mean(axis=2)[:pooled])) if seeds > 1 else None
        paired = difference_noise(right[0], right[1], training)
        value = float(right[1].mean() - right[0].mean())
        low, high = paired.interval(value, 0.95)
        found.inside.append(low <= step <= high)
        found.width.append(high - low)
        p = right.mean(axis=(1, 2))[:2]
        apart = replace(paired, images=float((p * (1 - p)).sum()) / n, least=0.0)
        low, high = apart.interval(value, 0.95)
        found.width_apart.append(high - low)
        if seeds == 1:
            a, b = right[0, 0] > 0, right[1, 0] > 0
            found.mcnemar.append(mcnemar(int((a & ~b).sum()), int((b & ~a).sum())))
    return found


def line(name: str, pair: Pair, apart: Pair) -> str:
    """One row of the printed table: coverage, orders and widths of grids scored in one way, beside the other."""
    tally = pair.tally
    if not tally.inside:
        return f"| {name} | - | - | - | 1.00 | - | - | - |"
    said, true, n = tally.order(0.85, 0.95)
    order = f"{said:.2f}: {true:.2f} (n = {n})" if n else "-"
    ratio = f"{np.mean(pair.width) / np.mean(apart.width):.2f}" if apart.width else "-"
    return (
        f"| {name} | {np.nanmean(tally.coverage):.3f} | {np.nanmin(tally.coverage):.3f} | {tally.relative_width:.2f} | "
        f"{tally.without / len(tally.error):.2f} | {order} | {np.mean(pair.inside):.3f} | {ratio} |"
    )


_COLUMNS = (
    "grids", "coverage, mean", "worst model", "relative width", "without interval", "said 0.85 to 0.95: true",
    "coverage of neighbours' differences", "their width, apart = 1",
)  # fmt: skip
HEAD = (f"| {' | '.join(_COLUMNS)} |", "|-" * len(_COLUMNS) + "|")
DIFFERENCES_HEAD = (
    "| two models | coverage | half-width, points | width, apart = 1 | McNemar p <= 0.05 |",
    "|-|-|-|-|-|",
)


def worlds() -> dict[str, Callable[[float], Shared]]:
    """Every world by its name, as a function of the correlation."""
    return {
        "Table 3, single runs": table_3,
        "Table 3, 3 seeds, training noise 0.5": lambda r: table_3(r, seeds=3, noise=0.5),
        "3 datasets of 330 images, models differ by 3": lambda r: alike(r, 3, 3, 330),
        "7 datasets of 3,000 images, 2 seeds, training noise 0.7, models differ by 2": lambda r: alike(
            r, 2, 7, 3000, seeds=2, noise=0.7
        ),
        "the same, models differ by 0": lambda r: alike(r, 0, 7, 3000, seeds=2, noise=0.7),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grids", type=int, default=400, help="grids of each simulation; 0: none")
    parser.add_argument("--draws", type=int, default=1000, help="draws of each grid")
    parser.add_argument("--differences", type=int, default=4000, help="pairs of models of each; 0: none")
    settings = parser.parse_args(arguments)
    if settings.differences:
        _print_differences(settings.differences)
    if settings.grids:
        _print_grids(settings.grids, settings.draws)


def _print_differences(pairs: int) -> None:
    print(f"Two models on 2,000 images, {pairs} pairs each; training noise in points\n")
    print(*DIFFERENCES_HEAD, sep="\n")
    for step in (0.0, 0.01):
        for seeds, noise, pooled in ((1, 0.0, 2), (2, 0.5, 2), (2, 0.5, 11), (3, 0.0, 2), (3, 0.5, 2), (5, 1.0, 2)):
            for correlation in CORRELATIONS:
                found = differences(
                    correlation, seeds=seeds, noise=noise / 100, step=step, n=2000, pairs=pairs,
                    pooled=pooled,
                )  # fmt: skip
                runs = f"{seeds} runs, training noise {noise:g} pooled over {pooled}" if seeds > 1 else "single runs"
                print(found.row(f"{100 * step:g} apart, {runs}, correlation {correlation:g}"), flush=True)


def _print_grids(grids: int, draws: int) -> None:
    print(f"\n{grids} grids, {draws} draws each; noise in points\n", *HEAD, sep="\n")
    for name, world in worlds().items():
        for fixed in (False, True):
            for correlation in CORRELATIONS:
                paired, apart = simulate(world(correlation), fixed=fixed, grids=grids, draws=draws)
                for how, pair in (("paired", paired), ("apart", apart)):
                    label = f"{name}, {'fixed' if fixed else 'grid'} anchors, correlation {correlation:g}, {how}"
                    print(line(label, pair, apart), flush=True)


if __name__ == "__main__":
    main()
