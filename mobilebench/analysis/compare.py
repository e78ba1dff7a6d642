"""Two matrices compared: what differs per dataset and in xScore, paired over seeds, with an interval.

Both are cut to the cells that both have, and scored on one scale (the worst and best mean value of each dataset over
both), because differences between two scales mean nothing. What other seeds would give says the delete-one-seed
jackknife with Student's t (Tukey; Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 11): leave each
seed out of both at once, so that what the seeds share cancels. For a mean it is the paired t interval exactly.

What other test images would give needs the predictions of all cells behind a line. Then A and B are compared image by
image: the variance over images of their difference (of a score: linearised, with the anchors held fixed) joins the one
over seeds (`scoring.paired.noise_of_runs`).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from mobilebench.errors import UserError
from mobilebench.evaluation.metrics import get_metric
from mobilebench.scoring.measures import signs
from mobilebench.scoring.paired import noise_of_runs, pseudo_values_of
from mobilebench.scoring.table import fixed_anchors
from mobilebench.scoring.xscore import ROUNDING, anchors_from_matrix, combine, normalise
from mobilebench.system.files import write_csv

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from pandas import DataFrame

    from mobilebench.scoring import Anchors, Matrix
    from mobilebench.scoring.paired import Kept

    Floats = NDArray[np.float64]

What = Literal["dataset", "xscore", "mean xscore"]
COLUMNS = (
    "what", "name", "metric", "a", "b", "difference", "low", "high", "p_better", "interval_over", "seeds", "cells",
    "level",
)  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """One line of a comparison."""

    what: What
    """`dataset` (mean result over the common models), `xscore` (of one model) or `mean xscore`."""
    name: str
    """The dataset or the model."""
    metric: str
    """Id of the dataset's metric; empty for an xScore."""
    a: float
    """The value in A."""
    b: float
    """The value in B."""
    difference: float
    """b - a."""
    low: float
    """Lower end of the interval of the difference; NaN where nothing is known of its noise."""
    high: float
    """Upper end of the interval of the difference; NaN where nothing is known of its noise."""
    p_better: float
    """Probability that B is truly better, in the metric's direction, under a flat prior; NaN without interval."""
    interval_over: str
    """What the interval covers: `seeds`, `test` (images) or `seeds+test`; empty without interval."""
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
    metrics: tuple[str, ...]
    """Id of each dataset's metric."""
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
    predictions: tuple[Kept, Kept] | None = None,
) -> Comparison:
    """Compare two matrices over their common cells; `anchors` {dataset: (low, high)} replaces the common scale.

    `predictions` are those kept of the cells of A and of B, by the names that the matrices use. Raises UserError when
    the two have no cell in common, or when one dataset has two metrics, or test splits of two sizes: then they are not
    the same dataset.
    """
    models, datasets, seeds = (
        tuple(name for name in getattr(a, key) if name in set(getattr(b, key)))
        for key in ("models", "datasets", "seeds")
    )
    if not (models and datasets and seeds):
        raise UserError(f"the two have no cell in common: A has {_axes(a)}; B has {_axes(b)}")
    _check_splits(a, b, datasets)
    metrics = tuple(a.metrics[a.datasets.index(name)] for name in datasets)
    left, right = (_cut(m, models, datasets, seeds) for m in (a, b))
    absent = np.isnan(left) | np.isnan(right)
    if absent.all():
        raise UserError(f"the two have no cell in common, although their axes meet: A has {_axes(a)}; B has {_axes(b)}")
    left[absent], right[absent] = np.nan, np.nan
    images = _images(predictions, models, datasets, seeds, metrics, absent)
    rows = [
        _row(
            "dataset", name, left[:, d], right[:, d], _mean, level, metrics[d],
            [(pair[1] - pair[0]).mean(axis=0)] if (pair := images.get(name)) else [],
        )
        for d, name in enumerate(datasets)
    ]  # fmt: skip
    if len(datasets) > 1 and (anchors is not None or len(models) > 1):
        scale = _scale(left, right, datasets, metrics, anchors)
        rows += _scores(left, right, models, datasets, scale, lam, level, images)
    shared = int((~absent).sum())
    only = (int((~np.isnan(a.values)).sum()) - shared, int((~np.isnan(b.values)).sum()) - shared)
    alone = tuple(m for m in a.models if m not in b.models), tuple(m for m in b.models if m not in a.models)
    return Comparison(tuple(rows), models, datasets, seeds, metrics, only, alone, level)


def jackknife(whole: float, without: list[float], level: float) -> tuple[float, float]:
    """Return the interval of a statistic from its value and its values with each of n >= 2 units left out."""
    from scipy.stats import t

    half = float(t.ppf((1 + level) / 2, len(without) - 1)) * math.sqrt(jackknife_variance(whole, without))
    return float(whole - half), float(whole + half)


def jackknife_variance(whole: float, without: list[float]) -> float:
    """Return the variance of a statistic from its value and its values with each of n >= 2 units left out."""
    n = len(without)
    pseudo = n * whole - (n - 1) * np.asarray(without)
    return float(pseudo.var(ddof=1)) / n


def _images(
    predictions: tuple[Kept, Kept] | None,
    models: tuple[str, ...],
    datasets: tuple[str, ...],
    seeds: tuple[int, ...],
    metrics: tuple[str, ...],
    absent: NDArray[np.bool_],
) -> dict[str, tuple[Floats, Floats]]:
    """Return {dataset: pseudo-values of A and of B, each [M, S, U]} where both sides have predictions of every cell."""
    if predictions is None:
        return {}
    found = {}
    for d, dataset in enumerate(datasets):
        if absent[:, d].any():
            continue
        pair = pseudo_values_of(predictions, [(m, dataset, s) for m in models for s in seeds], get_metric(metrics[d]))
        if pair:
            first, second = (side.reshape(len(models), len(seeds), -1) for side in pair)
            found[dataset] = first, second
    return found


def _row(
    what: What,
    name: str,
    a: Floats,
    b: Floats,
    statistic: Callable[[Floats], float],
    level: float,
    metric: str = "",
    images: Sequence[Floats] = (),
) -> Difference:
    """Return one line; a and b are [..., seeds] and NaN in the same places.

    images: [seeds, U] pseudo-values of the difference on each test split behind it; empty where they are unknown.
    """
    first, second, n = statistic(a), statistic(b), a.shape[-1]
    without = [statistic(np.delete(b, s, axis=-1)) - statistic(np.delete(a, s, axis=-1)) for s in range(n) if n > 1]
    difference = second - first if abs(second - first) > ROUNDING else 0.0 * (second - first)
    upward = difference if not metric or get_metric(metric).higher_is_better else -difference
    low = high = p_better = math.nan
    seeds = n > 1 and bool(np.isfinite([first, second, *without]).all())
    variance = jackknife_variance(second - first, without) if seeds else 0.0
    if seeds or (images and n == 1 and math.isfinite(difference)):
        noise = noise_of_runs(images, variance, n - 1)
        low, high = noise.interval(second - first, level)
        p_better = noise.above_zero(upward)
    if seeds and not images:
        low, high = jackknife(second - first, without, level)
    over = "+".join(["seeds"] * seeds + ["test"] * bool(images)) if math.isfinite(low) else ""
    cells = int((~np.isnan(a)).sum())
    return Difference(what, name, metric, first, second, difference, low, high, p_better, over, n, cells)


def _scores(
    a: Floats,
    b: Floats,
    models: tuple[str, ...],
    datasets: tuple[str, ...],
    scale: Anchors,
    lam: float,
    level: float,
    images: Mapping[str, tuple[Floats, Floats]],
) -> list[Difference]:
    def score_of(model: int | None) -> Callable[[Floats], float]:
        def score(values: Floats) -> float:
            scores = combine(normalise(_seed_mean(values), scale), lam)[2]
            return float(scores.mean() if model is None else scores[model])

        return score

    # By how much a score moves with each result, [M, D] of A and of B.
    slopes = [_slopes(_seed_mean(side), scale, lam) for side in (a, b)]
    whole = all(name in images for name in datasets) and bool(np.isfinite(slopes).all())
    parts = [
        slopes[1][:, d, None, None] * images[name][1] - slopes[0][:, d, None, None] * images[name][0]
        for d, name in enumerate(datasets)
        if whole
    ]
    rows = [
        _row("xscore", name, a, b, score_of(m), level, images=[part[m] for part in parts])
        for m, name in enumerate(models)
    ]
    cells = [int((~np.isnan(a[m])).sum()) for m in range(len(models))]
    rows = [replace(row, cells=count) for row, count in zip(rows, cells, strict=True)]
    means = [part.mean(axis=0) for part in parts]
    return [*rows, _row("mean xscore", "all models", a, b, score_of(None), level, images=means)]


def _slopes(values: Floats, scale: Anchors, lam: float) -> Floats:
    """Derivatives [M, D] of Eq. 3 by each value: (1 / D - 2 lambda (A^_ij - G_i) / (D - 1)) / (best - worst)."""
    normalised = normalise(values, scale)
    count = values.shape[1]
    away = normalised - normalised.mean(axis=1, keepdims=True)
    return np.asarray((1 / count - 2 * lam * away / (count - 1)) / (scale.high - scale.low))


def _scale(
    a: Floats,
    b: Floats,
    datasets: tuple[str, ...],
    metrics: tuple[str, ...],
    anchors: Mapping[str, tuple[float, float]] | None,
) -> Anchors:
    if anchors is None:
        return anchors_from_matrix(np.concatenate([_seed_mean(a), _seed_mean(b)]), signs(metrics))
    return fixed_anchors(datasets, metrics, anchors)


def _seed_mean(values: Floats) -> Floats:
    """Return [M, D] means over the seeds present, NaN for a cell without any."""
    present = (~np.isnan(values)).sum(axis=-1)
    return np.where(present > 0, np.nansum(values, axis=-1) / np.maximum(present, 1), np.nan)


def _mean(values: Floats) -> float:
    """Return the mean over all cells present, NaN when there is none."""
    here = values[~np.isnan(values)]
    return float(here.mean()) if here.size else math.nan


def _cut(matrix: Matrix, models: tuple[str, ...], datasets: tuple[str, ...], seeds: tuple[int, ...]) -> Floats:
    kept = [matrix.seeds.index(seed) for seed in seeds]
    return np.array(matrix.select(models=models, datasets=datasets).values[:, :, kept])


def _check_splits(a: Matrix, b: Matrix, datasets: tuple[str, ...]) -> None:
    for name in datasets:
        one, other = (m.metrics[m.datasets.index(name)] for m in (a, b))
        if one != other:
            raise UserError(
                f"{name} is measured by {one} in A and by {other} in B: two metrics cannot be compared; --metric "
                "names one for both"
            )
        first, second = (int(m.n_test[m.datasets.index(name)]) for m in (a, b))
        if first and second and first != second:
            raise UserError(
                f"{name} has {first} test images in A and {second} in B: two different splits cannot be compared"
            )


def _axes(matrix: Matrix) -> str:
    return "; ".join(", ".join(map(str, getattr(matrix, key))) for key in ("models", "datasets", "seeds"))
