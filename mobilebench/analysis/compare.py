"""Two matrices compared: what differs per dataset and in xScore, paired over seeds, with an interval.

Both are cut to the cells that both have, and scored on one scale (the smallest and largest mean accuracy of each
dataset over both), because differences between two scales mean nothing. The interval is the delete-one-seed
jackknife's with Student's t (Tukey; Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 11): leave each
seed out of both at once, so that what the seeds share cancels. For a mean it is the paired t interval exactly.
It says what other seeds would give, nothing of other test images.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from mobilebench.errors import UserError
from mobilebench.scoring import Anchors, Matrix, anchors_from_matrix, xscore
from mobilebench.scoring.xscore import ROUNDING
from mobilebench.system.files import write_csv

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from pandas import DataFrame

    Floats = NDArray[np.float64]

What = Literal["dataset", "xscore", "mean xscore"]
COLUMNS = ("what", "name", "a", "b", "difference", "low", "high", "seeds", "cells", "level")


@dataclass(frozen=True)
class Difference:
    """One line of a comparison."""

    what: What
    """`dataset` (mean top-1 over the common models, fractions), `xscore` (of one model) or `mean xscore`."""
    name: str
    """The dataset or the model."""
    a: float
    """The value in A."""
    b: float
    """The value in B."""
    difference: float
    """b - a."""
    low: float
    """Lower end of the interval of the difference; NaN for a single seed."""
    high: float
    """Upper end of the interval of the difference; NaN for a single seed."""
    seeds: int
    """Seeds that both have."""
    cells: int
    """Pairs of cells behind the line."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """The differences of two matrices over the cells that both have."""

    rows: tuple[Difference, ...]
    """The differences."""
    models: tuple[str, ...]
    """Models that both have."""
    datasets: tuple[str, ...]
    """Datasets that both have."""
    seeds: tuple[int, ...]
    """Seeds that both have."""
    only: tuple[int, int]
    """Cells of A alone and of B alone."""
    only_models: tuple[tuple[str, ...], tuple[str, ...]]
    """Models of A alone and of B alone."""
    level: float
    """Confidence level of the intervals."""

    def of(self, what: str) -> list[Difference]:
        """Return the rows of one kind."""
        return [row for row in self.rows if row.what == what]

    def to_frame(self) -> DataFrame:
        """Return one row per difference (COLUMNS); an undefined number is NaN."""
        import pandas as pd

        return pd.DataFrame([asdict(row) | {"level": self.level} for row in self.rows], columns=list(COLUMNS))

    def to_csv(self, path: Path) -> Path:
        """Write the rows of `to_frame` (undefined numbers are empty) and replace `path` in one step."""
        return write_csv(path, self.to_frame())


def compare(
    a: Matrix,
    b: Matrix,
    *,
    lam: float = 0.5,
    anchors: Mapping[str, tuple[float, float]] | None = None,
    level: float = 0.95,
) -> Comparison:
    """Compare two matrices over their common cells; `anchors` {dataset: (low, high)} replaces the common scale.

    Raises UserError when they have no cell in common, or when one dataset has test splits of two sizes: then they are
    not the same dataset.
    """
    models, datasets, seeds = (
        tuple(name for name in getattr(a, key) if name in set(getattr(b, key)))
        for key in ("models", "datasets", "seeds")
    )
    if not (models and datasets and seeds):
        raise UserError(f"the two have no cell in common: A has {_axes(a)}; B has {_axes(b)}")
    _check_sizes(a, b, datasets)
    left, right = (_cut(m, models, datasets, seeds) for m in (a, b))
    absent = np.isnan(left) | np.isnan(right)
    if absent.all():
        raise UserError(f"the two have no cell in common, although their axes meet: A has {_axes(a)}; B has {_axes(b)}")
    left[absent], right[absent] = np.nan, np.nan
    rows = [_row("dataset", name, left[:, d], right[:, d], _mean, level) for d, name in enumerate(datasets)]
    if len(datasets) > 1 and (anchors is not None or len(models) > 1):
        rows += _scores(left, right, models, _scale(left, right, datasets, anchors), lam, level)
    shared = int((~absent).sum())
    only = (int((~np.isnan(a.top1)).sum()) - shared, int((~np.isnan(b.top1)).sum()) - shared)
    alone = tuple(m for m in a.models if m not in b.models), tuple(m for m in b.models if m not in a.models)
    return Comparison(tuple(rows), models, datasets, seeds, only, alone, level)


def jackknife(whole: float, without: list[float], level: float) -> tuple[float, float]:
    """Return the interval of a statistic from its value and its values with each of n >= 2 units left out."""
    from scipy.stats import t

    n = len(without)
    pseudo = n * whole - (n - 1) * np.asarray(without)
    half = float(t.ppf((1 + level) / 2, n - 1)) * float(pseudo.std(ddof=1)) / math.sqrt(n)
    return float(whole - half), float(whole + half)


def _row(what: What, name: str, a: Floats, b: Floats, statistic: Callable[[Floats], float], level: float) -> Difference:
    """Return one line; a and b are [..., seeds] and NaN in the same places."""
    first, second, n = statistic(a), statistic(b), a.shape[-1]
    without = [statistic(np.delete(b, s, axis=-1)) - statistic(np.delete(a, s, axis=-1)) for s in range(n) if n > 1]
    low = high = math.nan
    if n > 1 and np.isfinite([first, second, *without]).all():
        low, high = jackknife(second - first, without, level)
    difference = second - first if abs(second - first) > ROUNDING else 0.0 * (second - first)
    return Difference(what, name, first, second, difference, low, high, n, int((~np.isnan(a)).sum()))


def _scores(
    a: Floats, b: Floats, models: tuple[str, ...], scale: Anchors, lam: float, level: float
) -> list[Difference]:
    def score_of(model: int | None) -> Callable[[Floats], float]:
        def score(top1: Floats) -> float:
            scores = xscore(_seed_mean(top1), lam=lam, anchors=scale).score
            return float(scores.mean() if model is None else scores[model])

        return score

    rows = [_row("xscore", name, a, b, score_of(m), level) for m, name in enumerate(models)]
    cells = [int((~np.isnan(a[m])).sum()) for m in range(len(models))]
    rows = [replace(row, cells=count) for row, count in zip(rows, cells, strict=True)]
    return [*rows, _row("mean xscore", "all models", a, b, score_of(None), level)]


def _scale(
    a: Floats, b: Floats, datasets: tuple[str, ...], anchors: Mapping[str, tuple[float, float]] | None
) -> Anchors:
    if anchors is None:
        return anchors_from_matrix(np.concatenate([_seed_mean(a), _seed_mean(b)]))
    unknown = [name for name in datasets if name not in anchors]
    if unknown:
        raise UserError(f"no fixed anchors for {', '.join(unknown)}; there are some for {', '.join(anchors)}")
    low, high = np.array([anchors[name] for name in datasets]).T
    return Anchors(low, high)


def _seed_mean(top1: Floats) -> Floats:
    """Return [M, D] means over the seeds present, NaN for a cell without any."""
    present = (~np.isnan(top1)).sum(axis=-1)
    return np.where(present > 0, np.nansum(top1, axis=-1) / np.maximum(present, 1), np.nan)


def _mean(top1: Floats) -> float:
    """Return the mean over all cells present, NaN when there is none."""
    here = top1[~np.isnan(top1)]
    return float(here.mean()) if here.size else math.nan


def _cut(matrix: Matrix, models: tuple[str, ...], datasets: tuple[str, ...], seeds: tuple[int, ...]) -> Floats:
    kept = [matrix.seeds.index(seed) for seed in seeds]
    return matrix.select(models=models, datasets=datasets).top1[:, :, kept].copy()


def _check_sizes(a: Matrix, b: Matrix, datasets: tuple[str, ...]) -> None:
    for name in datasets:
        first, second = (int(m.n_test[m.datasets.index(name)]) for m in (a, b))
        if first and second and first != second:
            raise UserError(
                f"{name} has {first} test images in A and {second} in B: two different splits cannot be compared"
            )


def _axes(matrix: Matrix) -> str:
    return "; ".join(", ".join(map(str, getattr(matrix, key))) for key in ("models", "datasets", "seeds"))
