"""Time 1,000 bootstrap draws of a 100 x 20 matrix (3 seeds): the bound is one second.

Prints the best of 5 runs of each source on this machine: errors of the scores, and the draws of their order; and whole
tables with paired noise, of that matrix and of one of the paper's size.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import get_args

import numpy as np

from mobilebench.scoring import Matrix, compute_scores
from mobilebench.scoring.uncertainty import Source, score_errors, shrunk


def main() -> None:
    """Print seconds per source."""
    top1 = np.random.default_rng(0).uniform(0.2, 0.95, (100, 20, 3))
    names = tuple(f"m{i}" for i in range(100)), tuple(f"d{j}" for j in range(20))
    matrix = Matrix(*names, (0, 1, 2), top1, np.full(20, 10_000))
    for source in get_args(Source):
        seconds = min(_seconds(matrix, source) for _ in range(5))
        print(f"{source:12} 1,000 draws of 100 x 20: {seconds:.3f} s (best of 5)")
    sizes = {"11 x 7": (11, 7, 4000), "100 x 20": (100, 20, 1000)}
    for name, (models, datasets, draws) in sizes.items():
        part = matrix.select(models=matrix.models[:models], datasets=matrix.datasets[:datasets])
        seconds = min(_table(_paired(part), draws) for _ in range(3))
        print(f"paired       the table of {name}, {draws:,} draws: {seconds:.3f} s (best of 3)")


def _paired(matrix: Matrix) -> Matrix:
    """Return the matrix with errors of a correlation of one half."""
    sd = np.sqrt(matrix.mean * (1 - matrix.mean) / matrix.n_test).T
    count = len(matrix.models)
    return replace(matrix, test_covariance=sd[:, :, None] * sd[:, None] * (0.5 + 0.5 * np.eye(count)))


def _table(matrix: Matrix, draws: int) -> float:
    start = time.perf_counter()
    compute_scores(matrix, draws=draws)
    return time.perf_counter() - start


def _seconds(matrix: Matrix, source: Source) -> float:
    start = time.perf_counter()
    errors = score_errors(matrix, source=source, lam=0.5, anchors=None, draws=1000)
    shrunk(matrix.mean.mean(axis=1), errors)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
