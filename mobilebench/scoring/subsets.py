"""Can fewer datasets stand in for the whole suite? Every subset, judged on the datasets and models it did not see.

All functions take ONE matrix, already free of absent cells (`complete`), with values turned so that the higher is the
better (`Matrix.upward`). A subset is scored by Eq. 1 to 3 on its datasets alone, and held against two targets:

- the others: the score of the datasets that are not in the subset. This is the honest one. A subset that is part of
  its own target agrees with it by construction: on pure noise of 11 models and 7 datasets, four of them named
  beforehand have a Spearman of about 0.74 with the score of all seven, and about 0 with the score of the other three.
- the whole: the score of all datasets, the subset's own included. That is what the subset would replace.

The best of many subsets looks good on noise too. Two numbers guard against that: `nested_spearman` chooses the subset
without the model it is judged on, and `chance` says what the best of as many subsets reaches on pure noise.

The whole score can also be predicted, by least squares with intercept on the subset's accuracies; each model is
predicted by a regression, and on anchors, that did not see it.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.errors import UserError
from mobilebench.scoring.correlation import pearson
from mobilebench.scoring.xscore import ROUNDING, anchors_from_matrix, combine, normalise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mobilebench.scoring.matrix import Matrix

    Floats = NDArray[np.float64]

LIMIT = 20_000
CRITERIA = ("spearman", "whole_spearman", "whole_rmse", "top_k", "predicted_rmse")
DRAWS = 400  # of `chance`: the 95 % quantile then has a standard error of about 0.01
FEWEST = 100  # draws below which a 95 % quantile is not worth printing
BUDGET = 8_000_000  # numbers to be ranked: about two seconds


@dataclass(frozen=True)
class Subset:
    """One subset of datasets, judged on n models; a number that does not exist for it is NaN."""

    datasets: tuple[str, ...]
    """The datasets of the subset, in the order of the matrix."""
    spearman: float
    """Rank correlation of its score with the score of the other datasets; NaN for the subset of all."""
    whole_spearman: float
    """Rank correlation of its score with the score of all datasets, its own included."""
    whole_rmse: float
    """Root mean square difference of its score from the score of all datasets, its own included."""
    top_k: float
    """Share of the best k models by all datasets, its own included, that are its best k too."""
    predicted_rmse: float
    """Root mean square error of the regression of the whole score, each model left out; NaN where models are few."""


@dataclass(frozen=True)
class Chance:
    """What subsets of one size reach on pure noise of a matrix's shape: 95 % quantiles, of RMSEs the 5 % quantile."""

    one: float
    """`Subset.spearman` of one subset named beforehand."""
    best: Subset
    """The best of all subsets by each number; `datasets` is empty."""
    nested: float
    """`nested_spearman`; NaN where it was not asked for."""
    draws: int
    """Matrices of noise behind the quantiles."""


def complete(matrix: Matrix) -> Matrix:
    """Return the matrix of the models that have every cell; raises UserError where fewer than 4 remain."""
    whole = [name for name, counts in zip(matrix.models, matrix.counts, strict=True) if counts.all()]
    if len(whole) < 4:
        raise UserError(f"this analysis needs 4 or more models with every dataset; found {len(whole)}")
    return matrix if len(whole) == len(matrix.models) else matrix.select(models=whole)


def all_subsets(matrix: Matrix, size: int, *, lam: float = 0.5, top: int = 3) -> tuple[Subset, ...]:
    """Return every subset of `size` datasets, best Spearman with the other datasets (then lowest RMSE) first.

    Raises UserError for a size that is not 2 up to the number of datasets, for more than 20,000 subsets, and for a
    dataset on which all models are equal.
    """
    members, names = _members(matrix, size)
    found = _judge(matrix.upward, members, lam, top)
    rows = [
        Subset(tuple(name), *(float(found[criterion][i]) for criterion in CRITERIA)) for i, name in enumerate(names)
    ]
    return tuple(sorted(rows, key=lambda s: (-_low(s.spearman), math.isnan(s.whole_rmse), s.whole_rmse)))


def subset_spearman(accuracy: Floats, members: NDArray[np.bool_], *, lam: float = 0.5) -> Floats:
    """Rank correlation [..., S] of the scores of subsets with those of the datasets they leave out.

    `accuracy` is [..., M, D] fractions, `members` [S, D] says which datasets are in each subset. The anchors come from
    each matrix; a single dataset has no variance, and its normalised accuracy is its score. NaN where all models are
    equal on a dataset, or where a subset leaves nothing out.
    """
    scaled = normalise(accuracy, anchors_from_matrix(accuracy))
    return _spearman(_scores(scaled, members, lam), _scores(scaled, ~members, lam))


def nested_spearman(matrix: Matrix, size: int, *, lam: float = 0.5) -> float:
    """Rank correlation with the other datasets of the subset that is best WITHOUT the model it is judged on.

    For each model, the other models choose the subset with the highest Spearman. The model then has two places among
    all models, all on the anchors of the others: by the chosen subset, and by the datasets left out. The correlation
    of these places over the models is returned; for a subset that every model's absence would choose it is that
    subset's `spearman`, but for the anchors. Subsets that tie share the choice. About 0 on noise, whatever the number
    of subsets; NaN where no choice can be made. Raises UserError as `all_subsets` does.
    """
    members, _ = _members(matrix, size)
    return float(_nested(matrix.upward, members, lam))


def chance(matrix: Matrix, size: int, *, lam: float = 0.5, top: int = 3, nested: bool = True) -> Chance | None:
    """Return what subsets of this size reach when the models are permuted within each dataset, apart.

    Permuting keeps every accuracy and cuts all ties between datasets. None where there are so many models or subsets
    that 100 draws would take more than seconds. Raises UserError as `all_subsets` does.
    """
    members, _ = _members(matrix, size)
    accuracy = matrix.upward
    work = len(members) * len(accuracy) * (len(accuracy) if nested else 1)
    draws = min(DRAWS, BUDGET // work)
    if draws < FEWEST:
        return None
    rng = np.random.default_rng(0)
    noise = rng.permuted(np.broadcast_to(accuracy, (draws, *accuracy.shape)), axis=1)
    found = _judge(noise, members, lam, top)
    best = {
        name: -_high((-values).max(axis=-1, initial=-np.inf, where=~np.isnan(values)))
        if name.endswith("rmse")
        else _high(values.max(axis=-1, initial=-np.inf, where=~np.isnan(values)))
        for name, values in found.items()
    }
    return Chance(
        one=_high(found["spearman"]),
        best=Subset((), **best),
        nested=_high(_nested(noise, members, lam)) if nested else math.nan,
        draws=draws,
    )


def place(subsets: Sequence[Subset], datasets: Sequence[str], criterion: str) -> tuple[int, Subset]:
    """Return (rank, subset) of these datasets by one of CRITERIA, 1 = best, ties share the better rank.

    Raises UserError where these datasets are no such subset, and where their number is undefined: nothing is above NaN,
    which is no first place.
    """
    wanted = next((s for s in subsets if set(s.datasets) == set(datasets)), None)
    if wanted is None:
        raise UserError(f"{', '.join(datasets)} is not among the {len(subsets)} subsets of this matrix")
    sign = -1.0 if criterion.endswith("rmse") else 1.0
    own = sign * getattr(wanted, criterion)
    if math.isnan(own):
        raise UserError(f"{', '.join(datasets)} has no place among the subsets: its {criterion} is undefined")
    return 1 + sum(sign * getattr(s, criterion) > own + 1e-12 for s in subsets), wanted


def members_of(matrix: Matrix, size: int) -> NDArray[np.bool_]:
    """Return which datasets are in each subset of a size, [S, D], in the order of itertools.combinations.

    Raises UserError as `all_subsets` does.
    """
    return _members(matrix, size)[0]


def direct_scores(matrix: Matrix, datasets: Sequence[str], *, lam: float = 0.5) -> Floats:
    """XScore [M] of Eq. 1 to 3 on these datasets alone, with the anchors of this matrix."""
    part = matrix.select(datasets=datasets).upward
    return combine(normalise(part, anchors_from_matrix(part)), lam)[2]


def predicted_scores(matrix: Matrix, datasets: Sequence[str], *, lam: float = 0.5, held_out: bool = True) -> Floats:
    """Full xScore [M] predicted from these datasets, each model by a regression that did not see it (`held_out`)."""
    accuracy = matrix.upward
    members = np.array([[name in datasets for name in matrix.datasets]])
    if held_out:
        return np.asarray(_predicted(accuracy, members, _without(accuracy, lam))[0])
    scaled = normalise(accuracy, anchors_from_matrix(accuracy))
    part, full = scaled[:, members[0]], combine(scaled, lam)[2]
    return np.asarray(_design(part) @ _regress(part, full))


def held_out_scores(matrix: Matrix, *, lam: float = 0.5) -> Floats:
    """XScore [M] of all datasets, each model on the anchors of the others: what a held-out prediction aims at."""
    return np.array(np.diagonal(_without(matrix.upward, lam), axis1=-2, axis2=-1))


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
    UserError for a dataset the reference lacks or on which its models are all equal, and where the reference has too
    few models to fit. A new model without one of the datasets has NaN for both scores.
    """
    known = complete(reference)
    by_reference = dict(zip(known.datasets, known.metrics, strict=True))
    for dataset, metric in zip(new.datasets, new.metrics, strict=True):
        if by_reference.get(dataset, metric) != metric:
            raise UserError(
                f"the new models' results on {dataset} are {metric}, the reference's {by_reference[dataset]}; two "
                "metrics do not compare"
            )
    foreign = [dataset for dataset in new.datasets if dataset not in known.datasets]
    if foreign:
        raise UserError(
            f"the new models ran on {', '.join(foreign)}, which the reference grid lacks; it has "
            f"{', '.join(known.datasets)}. Leave those cells out, or give a reference that has them"
        )
    part = known.select(datasets=new.datasets).upward
    full = combine(normalise(known.upward, anchors_from_matrix(known.upward)), lam)[2]
    anchors = anchors_from_matrix(part)
    line = _regress(normalise(part, anchors), full)
    flat = _flat(known)
    if flat:
        raise UserError(f"all reference models have the same value on {', '.join(flat)}, so no xScore of theirs exists")
    if np.isnan(line).any():
        raise UserError(f"{len(known.models)} reference models are too few to fit {part.shape[1] + 1} coefficients")
    scaled = normalise(new.upward, anchors)
    error = float(_rmse(predicted_scores(known, new.datasets, lam=lam), held_out_scores(known, lam=lam)))
    outside = (scaled < 0) | (scaled > 1)
    return Prediction(new.models, new.datasets, combine(scaled, lam)[2], _design(scaled) @ line, error, outside)


def _members(matrix: Matrix, size: int) -> tuple[NDArray[np.bool_], list[list[str]]]:
    """Return membership [S, D] and the names of every subset of a size."""
    count = len(matrix.datasets)
    if count < 3:
        raise UserError(f"subsets need 3 or more datasets; the matrix has {count}")
    if not 2 <= size <= count:
        raise UserError(f"subsets of {size} datasets: the matrix has {count}, so 2 to {count} is possible")
    if math.comb(count, size) > LIMIT:
        raise UserError(f"{math.comb(count, size)} subsets of {size} out of {count} datasets; {LIMIT} is the limit")
    flat = _flat(matrix)
    if flat:
        raise UserError(f"all models have the same value on {', '.join(flat)}, so no xScore exists")
    chosen = list(itertools.combinations(range(count), size))
    members = np.zeros((len(chosen), count), dtype=bool)
    np.put_along_axis(members, np.array(chosen), values=True, axis=1)
    return members, [[matrix.datasets[j] for j in columns] for columns in chosen]


def _flat(matrix: Matrix) -> list[str]:
    """Return the datasets on which all models have the same accuracy, up to rounding."""
    spans = np.ptp(matrix.upward, axis=0)
    return [name for name, span in zip(matrix.datasets, spans, strict=True) if span <= ROUNDING]


def _judge(accuracy: Floats, members: NDArray[np.bool_], lam: float, top: int) -> dict[str, Floats]:
    """Every one of CRITERIA for every subset, each [..., S], of matrices [..., M, D]."""
    scaled = normalise(accuracy, anchors_from_matrix(accuracy))
    direct, rest = _scores(scaled, members, lam), _scores(scaled, ~members, lam)
    whole = np.broadcast_to(_scores(scaled, np.ones_like(members[:1]), lam), direct.shape)
    count = accuracy.shape[-2]
    best = min(top, count)
    shared = (_ranks(-direct) <= best) & (_ranks(-whole) <= best)
    without = _without(accuracy, lam)
    target = np.diagonal(without, axis1=-2, axis2=-1)
    return {
        "spearman": _spearman(direct, rest),
        "whole_spearman": _spearman(direct, whole),
        "whole_rmse": _rmse(direct, whole),
        "top_k": np.where(np.isnan(direct + whole).any(axis=-1), np.nan, shared.sum(axis=-1) / best),
        "predicted_rmse": _rmse(_predicted(accuracy, members, without), target[..., None, :]),
    }


def _scores(scaled: Floats, members: NDArray[np.bool_], lam: float) -> Floats:
    """XScores [..., S, M] of subsets [S, D] from normalised accuracies [..., M, D]; NaN for an empty subset."""
    turned, weights = np.swapaxes(scaled, -1, -2), members.astype(float)
    size = weights.sum(axis=1)[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):
        g = weights @ turned / size
    v = (weights @ np.square(turned) - size * np.square(g)) / np.maximum(size - 1, 1)
    # Sums in another order differ in the last bits; equal scores shall tie.
    return np.asarray(np.round(np.where(size > 1, g - lam * v, g), 12))


def _spearman(a: Floats, b: Floats) -> Floats:
    """Spearman's rho along the last axis; NaN where a score is."""
    return np.where(np.isnan(a).any(axis=-1) | np.isnan(b).any(axis=-1), np.nan, pearson(_ranks(a), _ranks(b)))


def _ranks(values: Floats) -> Floats:
    """Rank 1 = lowest along the last axis, ties at their mean rank; sorts, so that many models cost little."""
    order = np.argsort(values, axis=-1)
    found = np.empty(values.shape)
    np.put_along_axis(found, order, np.arange(1.0, values.shape[-1] + 1), axis=-1)
    ranked = np.take_along_axis(values, order, axis=-1)
    apart = ranked[..., 1:] - ranked[..., :-1] > 2 * ROUNDING  # scores are rounded to 12 digits, which parts neighbours
    tied = ~apart.all(axis=-1)
    if tied.any():
        from scipy.stats import rankdata  # several times slower, and ties are few

        groups = np.concatenate([np.zeros((*apart[tied].shape[:-1], 1)), np.cumsum(apart[tied], axis=-1)], axis=-1)
        shared = np.empty(groups.shape)
        np.put_along_axis(shared, order[tied], rankdata(groups, axis=-1), axis=-1)
        found[tied] = shared
    return found


def _nested(accuracy: Floats, members: NDArray[np.bool_], lam: float) -> Floats:
    """`nested_spearman` of matrices [..., M, D], [...]."""
    count = accuracy.shape[-2]
    middle = (count + 1) / 2
    sums = np.zeros((3, *accuracy.shape[:-2]))
    for left in range(count):
        others = np.arange(count) != left
        scaled = normalise(accuracy, anchors_from_matrix(accuracy[..., others, :]))
        direct, rest = _scores(scaled, members, lam), _scores(scaled, ~members, lam)
        seen = _spearman(direct[..., others], rest[..., others])
        top = np.max(np.where(np.isnan(seen), -np.inf, seen), axis=-1, keepdims=True)
        chosen = seen >= top - 1e-12
        share = chosen / np.where(chosen.any(axis=-1, keepdims=True), chosen.sum(axis=-1, keepdims=True), np.nan)
        a, b = (_place_of(left, scores) - middle for scores in (direct, rest))
        sums += [(share * product).sum(axis=-1) for product in (a * b, a * a, b * b)]
    scale = np.sqrt(sums[1] * sums[2])
    return np.asarray(sums[0] / np.where(scale > 0, scale, np.nan))


def _place_of(model: int, scores: Floats) -> Floats:
    """Rank of one model among all, [..., S] of [..., S, M], ties at their mean rank."""
    own = scores[..., model : model + 1]
    equal = np.abs(scores - own) <= 2 * ROUNDING
    return np.asarray(((scores < own) & ~equal).sum(axis=-1) + (equal.sum(axis=-1) + 1) / 2)


def _without(accuracy: Floats, lam: float) -> Floats:
    """Whole scores [..., left out, M] on the anchors of the other models, the left-out one's own included."""
    count = accuracy.shape[-2]
    anchors = (anchors_from_matrix(accuracy[..., np.arange(count) != i, :]) for i in range(count))
    return np.stack([combine(normalise(accuracy, scale), lam)[2] for scale in anchors], axis=-2)


def _predicted(accuracy: Floats, members: NDArray[np.bool_], without: Floats) -> Floats:
    """Whole score of each model by a regression of the others' on the subset's accuracies, [..., S, M].

    A least-squares fit with intercept does not depend on the scale of its columns, so one hat matrix H a subset serves
    all models left out: the prediction for model i is sum over j of H_ij y_j / (1 - H_ii), j other than i.
    """
    count, size = accuracy.shape[-2], int(members[0].sum())
    shape = (*accuracy.shape[:-2], len(members), count)
    if count <= size + 2:  # the others must outnumber the coefficients
        return np.full(shape, np.nan)
    columns = np.argsort(~members, axis=1, kind="stable")[:, :size]
    part = np.moveaxis(accuracy[..., columns], -2, -3)  # [..., S, M, size]
    q = np.linalg.qr(np.concatenate([np.ones((*part.shape[:-1], 1)), part], axis=-1))[0]
    hat = q @ np.swapaxes(q, -1, -2)
    own = np.diagonal(hat, axis1=-2, axis2=-1)
    target = without[..., None, :, :]
    left = (hat * target).sum(axis=-1) - own * np.diagonal(target, axis1=-2, axis2=-1)
    return np.asarray(left / np.where(own < 1 - 1e-9, 1 - own, np.nan))


def _design(values: Floats) -> Floats:
    return np.column_stack([np.ones(len(values)), values])


def _regress(values: Floats, target: Floats) -> Floats:
    """Least-squares coefficients, intercept first; NaN where models do not outnumber the coefficients."""
    if len(values) <= values.shape[1] + 1 or np.isnan(values).any() or np.isnan(target).any():
        return np.full(values.shape[1] + 1, np.nan)
    return np.asarray(np.linalg.lstsq(_design(values), target, rcond=None)[0])


def _rmse(a: Floats, b: Floats) -> Floats:
    return np.asarray(np.sqrt(np.mean(np.square(a - b), axis=-1)))


def _high(values: Floats) -> float:
    """Return the 95 % quantile of the draws in which the number is defined; NaN where they are few."""
    known = values[np.isfinite(values)]
    return float(np.quantile(known, 0.95)) if known.size >= FEWEST else math.nan


def _low(value: float) -> float:
    return -2.0 if math.isnan(value) else value
