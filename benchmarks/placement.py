"""How often the intervals of a new model's score and place hold the truth: simulations on the published table.

`python -m benchmarks.placement [--grids N] [--draws N]`

Each model of Table 3 is in turn the new one, the ten others the reference. A grid is measured on that truth: the right
answers of a cell are binomial, and training noise (normal, a standard deviation in points) is added to each cell. The
true score and place are those of the true accuracies on the scale that the measured reference gives. `predicted` sees
the new model on the paper's four datasets alone; what its true score over all seven is then also depends on how far the
regression holds for it, which is no noise: the same eleven models are all there is to judge that by.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.scoring import Matrix
from mobilebench.scoring.placement import place_new
from mobilebench.scoring.xscore import anchors_from_matrix, combine, normalise
from mobilebench.studies.beyond_imagenet import published

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LAM = 0.5
TABLE = published.matrix()


def measured(noise: float, rng: np.random.Generator) -> Matrix:
    """Return Table 3 measured again: binomial on its test sizes, `noise` points of training noise."""
    right = rng.binomial(TABLE.n_test, TABLE.mean) / TABLE.n_test
    values = right + noise / 100 * rng.standard_normal(right.shape)
    return Matrix(TABLE.models, TABLE.datasets, (0,), values.clip(0, 1)[..., None], TABLE.n_test)


def simulate(datasets: Sequence[str], noise: float, grids: int, draws: int, seed: int = 0) -> Floats:
    """Return [grids x 11, 4]: interval holds the true score, its width, interval holds the true place, its width."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(grids):
        grid = measured(noise, rng)
        for model in TABLE.models:
            others = [name for name in TABLE.models if name != model]
            reference = grid.select(models=others)
            (found,) = place_new(grid.select(models=[model], datasets=datasets), reference, lam=LAM, draws=draws)
            anchors = anchors_from_matrix(reference.mean)
            truth = combine(normalise(TABLE.select(models=[*others, model]).mean, anchors), LAM)[2]
            place = 1 + int((truth[:-1] > truth[-1]).sum())
            rows.append((
                found.low <= truth[-1] <= found.high, found.high - found.low,
                found.place_low <= place <= found.place_high, found.place_high - found.place_low,
            ))  # fmt: skip
    return np.array(rows, dtype=float)


def main(argv: Sequence[str] | None = None) -> None:
    """Print one line a case."""
    parser = argparse.ArgumentParser(description="Coverage of a new model's score and place.")
    parser.add_argument("--grids", type=int, default=60)
    parser.add_argument("--draws", type=int, default=1000)
    options = parser.parse_args(argv)
    print(f"11 models of Table 3, each the new one in {options.grids} grids; 95 % intervals")
    print("case        training noise   score held   worst model   width   place held   worst model   width")
    for name, datasets in (("measured", TABLE.datasets), ("predicted", published.PAPER_FOUR)):
        for noise in (0.0, 0.5, 1.0):
            rows = simulate(datasets, noise, options.grids, options.draws)
            by_model = rows.reshape(options.grids, len(TABLE.models), 4).mean(axis=0)
            mean, worst = by_model.mean(axis=0), by_model.min(axis=0)
            print(
                f"{name:11} {noise:8.1f} points {mean[0]:12.3f} {worst[0]:13.3f} {mean[1]:7.3f} "
                f"{mean[2]:12.3f} {worst[2]:13.3f} {mean[3]:7.1f}"
            )


if __name__ == "__main__":
    main()
