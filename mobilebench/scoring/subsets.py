"""Can fewer datasets stand in for the whole suite? Every subset, judged also on models it did not see.

All functions take ONE matrix, already free of absent cells (`complete`), and resample nothing. A subset has two scores
and both are reported:

- direct: Eq. 1 to 3 on the subset alone, with the same anchors;
- predicted: the full xScore regressed (least squares, with intercept) on the subset's normalised accuracies.

Held-out numbers leave one model out at a time: the anchors, and for the predicted score the regression, come from the
other models; then the model is scored. In-sample numbers flatter the predicted score: it fits a slope for each dataset
and an intercept on as many points as there are models, which are few.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.errors import UserError
from mobilebench.scoring.correlation import kendall, spearman
from mobilebench.scoring.xscore import anchors_from_matrix, combine, normalise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mobilebench.scoring.matrix import Matrix

    Floats = NDArray[np.float64]

LIMIT = 20_000
CRITERIA = ("spearman", "kendall", "rmse", "top_k", "held_out_spearman", "held_out_rmse")


@dataclass(frozen=True)
class Subset:
    """One subset of datasets against the full xScore of n models."""

    datasets: tuple[str, ...]
    """The datasets of the subset, in the order of the matrix."""
    spearman: float
    """Rank correlation of the direct score with the full one, in sample."""
    kendall: float
    """Kendall's tau-b of the direct score with the full one, in sample."""
    rmse: float
    """Root mean square difference of the direct score from the full one, in sample."""
    top_k: float
    """Share of the full score's best k models that are also the subset's best k, in sample."""
    held_out_spearman: float
    """`spearman` over models left out one at a time."""
    held_out_rmse: float
    """`rmse` over models left out one at a time."""
    predicted_rmse: float
    """Root mean square error of the regression, in sample; NaN where models are too few to fit."""
    predicted_held_out_spearman: float
    """Rank correlation of the regression's prediction for models left out; NaN where models are too few to fit."""
    predicted_held_out_rmse: float
    """Root mean square error of the prediction for models left out; NaN where models are too few to fit."""


def complete(matrix: Matrix) -> Matrix:
    """Return the matrix of the models that have every cell; raises UserError where fewer than 4 remain."""
    whole = [name for name, counts in zip(matrix.models, matrix.counts, strict=True) if counts.all()]
    if len(whole) < 4:
        raise UserError(f"this analysis needs 4 or more models with every dataset; found {len(whole)}")
    return matrix if len(whole) == len(matrix.models) else matrix.select(models=whole)


def all_subsets(matrix: Matrix, size: int, *, lam: float = 0.5, top: int = 3) -> tuple[Subset, ...]:
    """Return every subset of `size` datasets, best Spearman (then lowest RMSE) first.

    Raises UserError for a size that is not 2 up to the number of datasets, or for more than 20,000 subsets.
    """
    count = len(matrix.datasets)
    if not 2 <= size <= count:
        raise UserError(f"subsets of {size} datasets: the matrix has {count}, so 2 to {count} is possible")
    if math.comb(count, size) > LIMIT:
        raise UserError(f"{math.comb(count, size)} subsets of {size} out of {count} datasets; {LIMIT} is the limit")
    judge = _Judge(matrix.mean, lam, top)
    found = [
        judge.subset(tuple(matrix.datasets[j] for j in columns), list(columns))
        for columns in itertools.combinations(range(count), size)
    ]
    return tuple(sorted(found, key=lambda s: (-_low(s.spearman), s.rmse)))


def place(subsets: Sequence[Subset], datasets: Sequence[str], criterion: str) -> tuple[int, Subset]:
    """Return (rank, subset) of these datasets by one of CRITERIA, 1 = best, ties share the better rank."""
    wanted = next((s for s in subsets if set(s.datasets) == set(datasets)), None)
    if wanted is None:
        raise UserError(f"{', '.join(datasets)} is not among the {len(subsets)} subsets of this matrix")
    sign = -1.0 if criterion.endswith("rmse") else 1.0
    own = sign * getattr(wanted, criterion)
    return 1 + sum(sign * getattr(s, criterion) > own + 1e-12 for s in subsets), wanted


def place_without_each_model(
    matrix: Matrix,
    datasets: Sequence[str],
    *,
    lam: float = 0.5,
) -> tuple[tuple[str, tuple[str, ...], int], ...]:
    """Return, for each model left out: its name, the subset that would have won, and the place of `datasets`.

    By Spearman (ties share a place; the winner named is the one of lower RMSE). One and the same winner every time
    means that the choice does not hang on a single model.
    """
    found = []
    for left in matrix.models:
        part = all_subsets(matrix.select(models=[n for n in matrix.models if n != left]), len(datasets), lam=lam)
        found.append((left, part[0].datasets, place(part, datasets, "spearman")[0]))
    return tuple(found)


def direct_scores(matrix: Matrix, datasets: Sequence[str], *, lam: float = 0.5) -> Floats:
    """XScore [M] of Eq. 1 to 3 on these datasets alone, with the anchors of this matrix."""
    part = matrix.select(datasets=datasets).mean
    return combine(normalise(part, anchors_from_matrix(part)), lam)[2]


def predicted_scores(matrix: Matrix, datasets: Sequence[str], *, lam: float = 0.5, held_out: bool = True) -> Floats:
    """Full xScore [M] predicted from these datasets, each model by a regression that did not see it (`held_out`)."""
    columns = [matrix.datasets.index(name) for name in datasets]
    judge = _Judge(matrix.mean, lam, 1)
    return judge.predicted_held_out(columns) if held_out else judge.predicted(columns)


def held_out_scores(matrix: Matrix, *, lam: float = 0.5) -> Floats:
    """XScore [M] of all datasets, each model on the anchors of the others: what a held-out prediction aims at."""
    return np.array(_Judge(matrix.mean, lam, 1).full_held_out)


@dataclass(frozen=True, eq=False)
class Prediction:
    """Scores of new models [M] from few datasets, on the scale of a reference grid that has more of them."""

    models: tuple[str, ...]
    """The new models."""
    datasets: tuple[str, ...]
    """The datasets they ran on."""
    direct: Floats
    """Eq. 1 to 3 on these datasets alone with the reference's anchors, [M]."""
    predicted: Floats
    """The xScore over all of the reference's datasets by its regression, [M]."""
    error: float
    """RMSE of that prediction on the reference's own models, each left out in turn."""
    outside: NDArray[np.bool_]
    """[M, D]: accuracies beyond the anchors, where a regression extrapolates."""


def predict_new(new: Matrix, reference: Matrix, *, lam: float = 0.5) -> Prediction:
    """Score new models that ran on some of the reference's datasets.

    Both grids must have been made under one protocol for this to mean anything; nothing here can check that. Raises
    UserError for a dataset the reference lacks, and where the reference has too few models to fit.
    """
    known = complete(reference)
    foreign = [dataset for dataset in new.datasets if dataset not in known.datasets]
    if foreign:
        raise UserError(
            f"the new models ran on {', '.join(foreign)}, which the reference grid lacks; it has "
            f"{', '.join(known.datasets)}. Leave those cells out, or give a reference that has them"
        )
    part = known.select(datasets=new.datasets).mean
    full = combine(normalise(known.mean, anchors_from_matrix(known.mean)), lam)[2]
    anchors = anchors_from_matrix(part)
    line = _regress(normalise(part, anchors), full)
    if np.isnan(line).any():
        raise UserError(f"{len(known.models)} reference models are too few to fit {part.shape[1] + 1} coefficients")
    scaled = normalise(new.mean, anchors)
    error = _rmse(predicted_scores(known, new.datasets, lam=lam), held_out_scores(known, lam=lam))
    outside = (scaled < 0) | (scaled > 1)
    return Prediction(new.models, new.datasets, combine(scaled, lam)[2], _design(scaled) @ line, error, outside)


class _Judge:
    """The full scores of one matrix, and of each matrix with one model left out, against any subset."""

    def __init__(self, accuracy: Floats, lam: float, top: int) -> None:
        self.lam, self.top = lam, min(top, len(accuracy))
        self.normalised = normalise(accuracy, anchors_from_matrix(accuracy))
        self.full = combine(self.normalised, lam)[2]
        # [left out, M, D]: every model on the scale of the others, the left-out one included.
        others = np.stack([np.delete(accuracy, i, axis=0) for i in range(len(accuracy))])
        self.without = normalise(accuracy[None], anchors_from_matrix(others))
        self.full_without = combine(self.without, lam)[2]
        self.full_held_out = np.diagonal(self.full_without)

    def subset(self, names: tuple[str, ...], columns: list[int]) -> Subset:
        direct = combine(self.normalised[:, columns], self.lam)[2]
        held = np.diagonal(combine(self.without[:, :, columns], self.lam)[2])
        predicted_held = self.predicted_held_out(columns)
        return Subset(
            datasets=names,
            spearman=float(spearman(direct, self.full)),
            kendall=float(kendall(direct, self.full)),
            rmse=_rmse(direct, self.full),
            top_k=len(self._best(direct) & self._best(self.full)) / self.top,
            held_out_spearman=float(spearman(held, self.full_held_out)),
            held_out_rmse=_rmse(held, self.full_held_out),
            predicted_rmse=_rmse(self.predicted(columns), self.full),
            predicted_held_out_spearman=float(spearman(predicted_held, self.full_held_out)),
            predicted_held_out_rmse=_rmse(predicted_held, self.full_held_out),
        )

    def predicted(self, columns: list[int]) -> Floats:
        return _regress(self.normalised[:, columns], self.full) @ _design(self.normalised[:, columns]).T

    def predicted_held_out(self, columns: list[int]) -> Floats:
        part = self.without[:, :, columns]
        return np.array([
            _regress(np.delete(part[i], i, axis=0), np.delete(self.full_without[i], i)) @ _design(part[i][i : i + 1])[0]
            for i in range(len(part))
        ])  # fmt: skip

    def _best(self, scores: Floats) -> set[int]:
        return set(np.argsort(-scores, kind="stable")[: self.top].tolist())


def _design(values: Floats) -> Floats:
    return np.column_stack([np.ones(len(values)), values])


def _regress(values: Floats, target: Floats) -> Floats:
    """Least-squares coefficients, intercept first; NaN where models do not outnumber the coefficients."""
    if len(values) <= values.shape[1] + 1 or np.isnan(values).any() or np.isnan(target).any():
        return np.full(values.shape[1] + 1, np.nan)
    return np.asarray(np.linalg.lstsq(_design(values), target, rcond=None)[0])


def _rmse(a: Floats, b: Floats) -> float:
    return float(np.sqrt(np.mean(np.square(a - b))))


def _low(value: float) -> float:
    return -2.0 if math.isnan(value) else value
