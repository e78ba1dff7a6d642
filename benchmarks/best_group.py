"""How often the models that cannot be told apart from the best hold the best: simulated grids of one dataset.

`python -m benchmarks.best_group [--grids N]`

Answers are those of `benchmarks.paired.answers`: correlated between models, training noise moving a run's accuracy. A
grid counts as held when a truly best model is in the group. Equal models are the hardest case for that: with fewer of
them near the best the group can only miss less. Beside it how many models the group has, and how wide the interval of
the distance to the best is.

The second table is of neighbours of the sorted list, in grids whose true accuracies are normally spread: what was said
with a probability of 0.85 to 0.95, and how often it was true.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.paired import answers
from mobilebench.scoring import Matrix
from mobilebench.scoring.paired import paired_covariance
from mobilebench.scoring.ranking import rank_models


@dataclass(frozen=True)
class Case:
    """One simulated kind of grid."""

    name: str
    """What it is."""
    truth: tuple[float, ...]
    """True accuracies of the models, fractions."""
    n_test: int
    """Test images."""
    correlation: float = 0.0
    """Of the answers of two equally good models."""
    seeds: int = 1
    """Runs of each model."""
    noise: float = 0.0
    """Standard deviation of a run's true accuracy over training, fraction."""
    paired: bool = True
    """Whether predictions are kept."""


def grid(case: Case, rng: np.random.Generator) -> Matrix:
    """Measure one grid."""
    models = tuple(f"m{i}" for i in range(len(case.truth)))
    right = answers(np.array(case.truth), case.n_test, case.correlation, case.noise, case.seeds, rng)
    pseudo = {(name, s): right[m, s] for m, name in enumerate(models) for s in range(case.seeds)}
    covariance = paired_covariance(pseudo, models, between_runs=case.seeds > 1)[None] if case.paired else None
    values, sizes = right.mean(axis=2)[:, None], np.array([case.n_test])
    return Matrix(models, ("x",), tuple(range(case.seeds)), values, sizes, (), covariance)


def rates(case: Case, grids: int, seed: int = 0) -> tuple[float, float, float]:
    """Return (share of grids whose group holds a truly best model, mean size of the group, mean width in points).

    For a single run of each model the best is the one whose run is: without training noise that is the same.
    """
    rng = np.random.default_rng(seed)
    best = {f"m{i}" for i, p in enumerate(case.truth) if p == max(case.truth)}
    held, size, width = 0, 0, 0.0
    for _ in range(grids):
        found = rank_models(grid(case, rng), "x", draws=1000)
        # The hardest reading: one certain model of those that are equally best must be in it.
        held += min(best) in found.best_group
        size += len(found.best_group)
        width += float(np.mean([row.behind_high - row.behind_low for row in found.rows[1:]]))
    return held / grids, size / grids, 100 * width / grids


def order_rates(spread: float, case: Case, grids: int, seed: int = 0) -> tuple[int, float, float]:
    """Return (pairs, mean probability said, share that is true) of neighbours said to be in order with 0.85 to 0.95.

    The truth of each grid is drawn about the case's own with a standard deviation of `spread` (fraction).
    """
    rng = np.random.default_rng(seed)
    said, true = [], []
    for _ in range(grids):
        truth = np.clip(np.array(case.truth) + spread * rng.standard_normal(len(case.truth)), 0.02, 0.98)
        rows = rank_models(grid(replace(case, truth=tuple(truth)), rng), "x", draws=1000).rows
        for row, following in itertools.pairwise(rows):
            if 0.85 <= row.above_next <= 0.95:
                said.append(row.above_next)
                true.append(truth[int(row.model[1:])] > truth[int(following.model[1:])])
    return len(said), float(np.mean(said)), float(np.mean(true))


ORDERS = (
    (0.02, Case("11 models, spread 2 points, 400 images", (0.8,) * 11, 400, 0.5)),
    (0.05, Case("11 models, spread 5 points, 400 images", (0.8,) * 11, 400, 0.5)),
    (0.10, Case("3 models, spread 10 points, 44 images", (0.7,) * 3, 44, 0.5)),
    (0.05, Case("11 models, spread 5 points, 400 images, 3 runs, 1 point", (0.8,) * 11, 400, 0.5, 3, 0.01)),
    (0.05, Case("2 models, spread 5 points, 400 images", (0.8,) * 2, 400, 0.5)),
)
CASES = (
    Case("3 equal, 44 images", (0.7,) * 3, 44),
    Case("11 equal, 44 images", (0.7,) * 11, 44),
    Case("11 equal, 44 images", (0.95,) * 11, 44),
    Case("11 equal, 400 images", (0.8,) * 11, 400, 0.5),
    Case("11 equal, 400 images, no predictions", (0.8,) * 11, 400, 0.5, paired=False),
    Case("11 spread over 10 points, 400 images", tuple(np.linspace(0.8, 0.9, 11)), 400, 0.5),
    Case("11 equal, 400 images, 3 runs, 1 point", (0.8,) * 11, 400, 0.5, 3, 0.01),
    Case("11 equal, 400 images, 2 runs, 3 points", (0.8,) * 11, 400, 0.5, 2, 0.03),
    Case("3 equal, 400 images, 2 runs, 3 points", (0.8,) * 3, 400, 0.5, 2, 0.03),
    Case("11 equal, 400 images, 1 run, 1 point", (0.8,) * 11, 400, 0.5, 1, 0.01),
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--grids", type=int, default=1000)
    grids = parser.parse_args().grids
    print(f"{'models of one dataset':46} {'held, %':>8} {'group':>6} {'width, points':>14}")
    for case in CASES:
        held, size, width = rates(case, grids)
        print(
            f"{case.name + f', at {100 * max(case.truth):.0f} %':46} {100 * held:8.1f} {size:6.1f} {width:14.1f}",
            flush=True,
        )
    print(f"\n{'neighbours said with 0.85 to 0.95':56} {'pairs':>5} {'said':>5} {'true':>5}")
    for spread, case in ORDERS:
        pairs, said, true = order_rates(spread, case, grids)
        print(f"{case.name:56} {pairs:5d} {said:5.2f} {true:5.2f}", flush=True)


if __name__ == "__main__":
    main()
