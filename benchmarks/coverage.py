"""How often the intervals hold the truth, and how often an order that is called probable is true: simulations.

`python -m benchmarks.coverage [--grids N] [--draws N]`

A truth is fixed (the published Table 3) or drawn; grids are measured on it: the correct answers of a cell are binomial,
and each seed adds its own training noise (normal, a standard deviation in points). The seeds of a cell share its test
images, so its binomial error is common to them. Every grid goes through `compute_scores` as a user's would.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.scoring import Matrix, compute_scores, xscore
from mobilebench.scoring.xscore import Anchors
from mobilebench.studies.beyond_imagenet import published

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from mobilebench.scoring import ScoreRow

    Floats = NDArray[np.float64]

LAM = 0.5
TABLE = published.matrix()
BINS = ((0.65, 0.75), (0.75, 0.85), (0.85, 0.95), (0.95, 0.99))


@dataclass(frozen=True)
class World:
    """What the grids of one simulation are measured on."""

    truth: Callable[[np.random.Generator], Floats]
    """Draws the true accuracies, [M, D] fractions."""
    n_test: NDArray[np.int64]
    """Test images of each dataset, [D]."""
    fixed: Anchors
    """The fixed anchors, where they are asked for."""
    seeds: int = 1
    """Runs of each cell."""
    noise: tuple[float, ...] = (0.0,)
    """Standard deviation over training seeds in points, one for all models or one each."""
    sizes_known: bool = True
    """Whether the matrix says how many test images there are."""
    absent: tuple[tuple[int, int], ...] = ()
    """Cells (model, dataset) without a run."""

    def matrix(self, truth: Floats, rng: np.random.Generator) -> Matrix:
        """Measure one grid."""
        models, datasets = truth.shape
        right = rng.binomial(self.n_test, truth) / self.n_test
        spread = np.broadcast_to(np.array(self.noise) / 100, models)[:, None, None]
        top1 = right[..., None] + spread * rng.standard_normal((models, datasets, self.seeds))
        for model, dataset in self.absent:
            top1[model, dataset] = np.nan
        names = TABLE.models if models == len(TABLE.models) else tuple(f"m{i}" for i in range(models))
        columns = TABLE.datasets if datasets == len(TABLE.datasets) else tuple(f"d{j}" for j in range(datasets))
        sizes = self.n_test if self.sizes_known else np.zeros_like(self.n_test)
        return Matrix(names, columns, tuple(range(self.seeds)), top1.clip(0, 1), sizes)


@dataclass
class Tally:
    """What a simulation found."""

    inside: list[Floats] = field(default_factory=list)
    """For each grid with intervals, [M]: 1 where the interval holds the true score, NaN where there is none."""
    width: list[Floats] = field(default_factory=list)
    """Widths of these intervals, [M]."""
    error: list[Floats] = field(default_factory=list)
    """Score minus true score in every grid, [M]."""
    outside: int = 0
    """Scores outside their own interval."""
    without: int = 0
    """Grids without intervals."""
    said: list[float] = field(default_factory=list)
    """`above_next` of every pair of neighbours."""
    true: list[bool] = field(default_factory=list)
    """Whether the upper one of the pair is truly better."""
    extremes: list[float] = field(default_factory=list)
    """Share of draws in which the first model stands above the last; 0 for a grid without draws."""

    @property
    def coverage(self) -> Floats:
        """Share of intervals that hold the truth, [M]."""
        return np.asarray(np.mean(self.inside, axis=0))

    @property
    def relative_width(self) -> float:
        """Mean width over the true width of 95 % of the score's distribution."""
        low, high = np.quantile(self.error, [0.025, 0.975], axis=0)
        return float(np.nanmean(self.width) / np.nanmean(high - low))

    def order(self, low: float, high: float) -> tuple[float, float, int]:
        """Return (mean said, share true, n) of the pairs said to be in order with a probability of low to high."""
        said, true = np.array(self.said), np.array(self.true)
        chosen = (said >= low) & (said < high)
        n = int(chosen.sum())
        return (float(said[chosen].mean()), float(true[chosen].mean()), n) if n else (np.nan, np.nan, 0)

    @property
    def false_extremes(self) -> float:
        """Share of grids in which the first model is said to stand above the last with P >= 0.95."""
        return float(np.mean(np.array(self.extremes) >= 0.95))


def simulate(world: World, *, fixed: bool, grids: int, draws: int = 1000, seed: int = 1) -> Tally:
    """Measure and score `grids` grids on a world; anchors are the fixed ones or each grid's own."""
    rng, tally = np.random.default_rng(seed), Tally()
    for turn in range(grids):
        truth = world.truth(rng)
        names = TABLE.datasets if truth.shape[1] == len(TABLE.datasets) else [f"d{j}" for j in range(truth.shape[1])]
        pairs = dict(zip(names, zip(world.fixed.low.tolist(), world.fixed.high.tolist(), strict=True), strict=True))
        table = compute_scores(
            world.matrix(truth, rng), lam=LAM, anchors=pairs if fixed else None, draws=draws, seed=turn
        )
        true = xscore(truth, lam=LAM, anchors=world.fixed if fixed else None).score
        count(tally, table.models, table.rows, true, table.draws)
    return tally


def count(
    tally: Tally, models: tuple[str, ...], rows: tuple[ScoreRow, ...], true: Floats, drawn: Floats | None
) -> None:
    """Add one scored grid: its rows, the true scores [M] in the order of `models`, and the draws of its order."""
    at = [models.index(row.model) for row in rows]
    back = np.argsort(at)
    score, low, high = (np.array([getattr(row, name) for row in rows])[back] for name in ("score", "low", "high"))
    tally.error.append(score - true)
    if drawn is None:
        tally.without += 1
        tally.extremes.append(0.0)
        return
    known = np.isfinite(low)
    tally.inside.append(np.where(known, (low <= true) & (true <= high), np.nan))
    tally.width.append(high - low)
    tally.outside += int((known & ((score < low) | (score > high))).sum())
    for (upper, lower), row in zip(itertools.pairwise(at), rows, strict=False):
        if np.isfinite(row.above_next):
            tally.said.append(row.above_next)
            tally.true.append(bool(true[upper] > true[lower]))
    ends = [i for i in at if np.isfinite(score[i])]
    tally.extremes.append(float((drawn[:, ends[0]] > drawn[:, ends[-1]]).mean()))


def table_3(seeds: int = 1, noise: tuple[float, ...] = (0.0,)) -> World:
    """The published table as the truth."""
    low, high = TABLE.mean.min(axis=0), TABLE.mean.max(axis=0)
    return World(lambda _: TABLE.mean, TABLE.n_test, Anchors(low, high), seeds, noise)


def drawn_world(
    sd: float, datasets: int, n_test: int, *, common: bool = True, models: int = 11, seeds: int = 1, noise: float = 0.0
) -> World:
    """Models whose true accuracies differ by `sd` points about one half: each by the same everywhere, or anew."""
    shape = (models, 1 if common else datasets)
    return World(
        lambda rng: np.clip(0.5 + sd / 100 * rng.standard_normal(shape) + np.zeros((models, datasets)), 0, 1),
        np.full(datasets, n_test),
        Anchors(np.full(datasets, 0.3), np.full(datasets, 0.8)),
        seeds,
        (noise,),
    )


def line(name: str, tally: Tally) -> str:
    """One row of the printed tables."""
    if tally.inside:
        cover = tally.coverage
        figures = f"{np.nanmean(cover):.3f} | {np.nanmin(cover):.3f} | {tally.relative_width:.2f}"
    else:
        figures = "- | - | -"
    order = [tally.order(*bounds) for bounds in BINS]
    said = " | ".join(f"{s:.2f}: {t:.2f} (n = {n})" if n else "-" for s, t, n in order)
    return f"| {name} | {figures} | {tally.without / len(tally.error):.2f} | {said} | {tally.false_extremes:.2f} |"


HEAD = (
    "| grids | anchors | coverage, mean | worst model | relative width | without interval | "
    + " | ".join(f"said {low:g} to {high:g}" for low, high in BINS)
    + " | first above last, P >= 0.95 |",
    "|-|-|-|-|-|-|" + "-|" * len(BINS) + "-|",
)


def sections() -> dict[str, dict[str, World]]:
    """Every simulation by its heading and name."""
    noisy = tuple(1.5 if name == "mobilenet" else 0.5 for name in TABLE.models)
    repeated = {
        f"{seeds} seeds, training noise {noise:g}": table_3(seeds, (noise,))
        for noise in (0.2, 0.5, 1.0)
        for seeds in (2, 3, 5)
    }
    demo = {
        f"3 datasets of 330 images, models differ by {sd:g} {'everywhere alike' if common else 'anew'}": drawn_world(
            sd, 3, 330, common=common
        )
        for sd in (0, 1, 3, 6)
        for common in (True, False)
    }
    seven = {
        f"7 datasets of 3,000 images, 2 seeds, training noise 0.7, models differ by {sd:g} "
        f"{'everywhere alike' if common else 'anew'}": drawn_world(sd, 7, 3000, common=common, seeds=2, noise=0.7)
        for sd in (0, 1, 2)
        for common in (True, False)
    }
    return {
        "Table 3 is the truth": {"single runs, no training noise": table_3(), **repeated},
        "Table 3, what the intervals do not know": {
            "single runs, training noise 0.5": table_3(1, (0.5,)),
            "single runs, training noise 1": table_3(1, (1.0,)),
            "3 seeds, training noise 0.5, test sizes unknown": replace(table_3(3, (0.5,)), sizes_known=False),
        },
        "Table 3, departures": {
            "2 seeds, training noise 0.5, of mobilenet 1.5": table_3(2, noisy),
            "3 seeds, training noise 0.5, of mobilenet 1.5": table_3(3, noisy),
            "3 seeds, training noise 0.5, mobilenet absent on one dataset": replace(
                table_3(3, (0.5,)), absent=((4, 2),)
            ),
        },
        "Eleven models about 50 %, single runs without training noise": demo,
        "Eleven models about 50 %, repeated": seven,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grids", type=int, default=1000, help="grids of each simulation")
    parser.add_argument("--draws", type=int, default=1000, help="draws of each grid")
    settings = parser.parse_args(arguments)
    for heading, worlds in sections().items():
        print(f"\n{heading} ({settings.grids} grids, {settings.draws} draws each; noise in points)\n", *HEAD, sep="\n")
        for name, world in worlds.items():
            for fixed in (False, True):
                tally = simulate(world, fixed=fixed, grids=settings.grids, draws=settings.draws)
                print(line(f"{name} | {'fixed' if fixed else 'grid'}", tally), flush=True)


if __name__ == "__main__":
    main()
