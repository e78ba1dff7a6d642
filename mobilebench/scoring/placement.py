"""Where a new model would stand among those of a reference grid, which has all datasets.

Measured: where it ran on all of the reference's datasets, it joins the grid, on the reference's scale (each dataset's
lowest and highest mean value there: section 4.1 of Beyond ImageNet names these the anchors for future models), and
score, place and intervals are those of `table.compute_scores`.

Predicted: where it ran on some, its score over all is predicted by the reference's regression (`subsets.predict_new`).
Such predictions miss by as much as they do of the reference's own models, each left out in turn: of M models and k
datasets their root mean square error is taken for a standard error with M - k - 1 degrees of freedom, and the interval
is Student's. It holds the noise of one run on those datasets as the reference has it. The place counts how many of the
reference's models are above, over draws of both.

How often the intervals hold the truth: `python -m benchmarks.placement`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from mobilebench.errors import UserError
from mobilebench.scoring.matrix import Matrix
from mobilebench.scoring.measures import TOP1
from mobilebench.scoring.subsets import complete, predict_new
from mobilebench.scoring.table import compute_scores
from mobilebench.scoring.uncertainty import interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mobilebench.scoring.table import ScoreTable

    Floats = NDArray[np.float64]

DRAWS = 4000


@dataclass(frozen=True, eq=False)
class Placement:
    """One new model among those of a reference."""

    model: str
    """The new model."""
    how: Literal["measured", "predicted"]
    """Whether its score over all datasets is its own or a prediction from some."""
    score: float
    """Its xScore over all of the reference's datasets."""
    low: float
    """Lower end of the score's interval; NaN where none can be given."""
    high: float
    """Upper end of the score's interval."""
    place: int
    """Place among the reference's models and itself, 1 = best."""
    place_low: float
    """Best place in the interval; NaN where none can be given."""
    place_high: float
    """Last place in the interval."""
    of: int
    """How many stand in this order: the reference's models and itself."""
    datasets: tuple[str, ...]
    """The datasets it ran on, of those that the reference has."""
    missing: tuple[str, ...]
    """The reference's datasets that it did not run on."""
    outside: tuple[str, ...]
    """Datasets where it left the range of the reference's models; a prediction extrapolates there."""
    level: float
    """Confidence level of the intervals."""
    table: ScoreTable
    """The scores of the reference's models, with the new one's among them where it was measured."""
    values: tuple[float, ...]
    """Its mean value on each of `datasets`, in the unit of the metric."""


def place_new(
    new: Matrix, reference: Matrix, *, lam: float = 0.5, level: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> tuple[Placement, ...]:
    """Place each model of `new` for itself among the models of `reference`.

    Datasets that the reference lacks are left out. Both must have been made under one protocol for this to mean
    anything; nothing here can check that. Raises UserError for a model that the reference has too, for one with fewer
    than two of the reference's datasets, for another metric, and as `predict_new` does.
    """
    known = complete(reference)
    if both := [name for name in new.models if name in known.models]:
        raise UserError(f"{', '.join(both)} is among the reference's models already; give the new one another name")
    shared = [name for name in known.datasets if name in new.datasets]
    found = []
    for model in new.models:
        counts = dict(zip(new.datasets, new.counts[new.models.index(model)], strict=True))
        ran = [name for name in shared if counts[name]]
        if len(ran) < 2:
            raise UserError(
                f"{model} has results on {len(ran)} of the reference's datasets ({', '.join(ran) or 'none'}); a place "
                f"needs two or more of {', '.join(known.datasets)}"
            )
        part = new.select(models=[model], datasets=ran)
        placed = _measured if len(ran) == len(known.datasets) else _predicted
        found.append(placed(part, known, lam=lam, level=level, draws=draws, seed=seed))
    return tuple(found)


def joined(reference: Matrix, new: Matrix) -> Matrix:
    """Return the reference with the new models below its own, on the datasets that both have.

    A dataset's test size is the smaller of the two, so that no interval is too narrow. Covariances over test images are
    left out: the two were read apart.
    """
    datasets = [name for name in reference.datasets if name in new.datasets]
    parts = [matrix.select(datasets=datasets) for matrix in (reference, new)]
    seeds = tuple(sorted({seed for part in parts for seed in part.seeds}))
    rows = []
    for part in parts:
        values = np.full((len(part.models), len(datasets), len(seeds)), np.nan)
        values[:, :, [seeds.index(seed) for seed in part.seeds]] = part.values
        rows.append(values)
    return Matrix(
        (*reference.models, *new.models), tuple(datasets), seeds, np.concatenate(rows),
        np.minimum(parts[0].n_test, parts[1].n_test), parts[0].metrics,
    )  # fmt: skip


def _anchors(reference: Matrix) -> dict[str, tuple[float, float]] | None:
    """Return the reference's scale; None of other metrics than top-1, where the joint grid's own is taken."""
    if set(reference.metrics) != {TOP1}:
        return None
    low, high = reference.mean.min(axis=0), reference.mean.max(axis=0)
    return {name: (float(low[j]), float(high[j])) for j, name in enumerate(reference.datasets)}


def _measured(new: Matrix, reference: Matrix, *, lam: float, level: float, draws: int, seed: int) -> Placement:
    _same_metrics(new, reference)
    whole = joined(reference, new)
    anchors = _anchors(reference)
    table = compute_scores(whole, lam=lam, anchors=anchors, draws=draws, seed=seed, level=level)
    row = next(row for row in table.rows if row.model == new.models[0])
    if row.rank is None:
        raise UserError(f"{row.model} has no xScore: {' '.join(table.notes)}")
    return Placement(
        row.model, "measured", row.score, row.low, row.high, row.rank, row.rank_low, row.rank_high,
        len(whole.models), new.datasets, (), row.outside, level, table, tuple(map(float, new.mean[0])),
    )  # fmt: skip


def _predicted(new: Matrix, reference: Matrix, *, lam: float, level: float, draws: int, seed: int) -> Placement:
    from scipy.stats import t as student

    prediction = predict_new(new, reference, lam=lam)
    table = compute_scores(reference, lam=lam, anchors=_anchors(reference), draws=draws, seed=seed, level=level)
    score, error = float(prediction.predicted[0]), prediction.error
    freedom = len(reference.models) - len(new.datasets) - 1
    others = table.xscore.score
    place = 1 + int((others > score).sum())
    low = high = place_low = place_high = math.nan
    if math.isfinite(error) and freedom >= 1:
        half = error * float(student.ppf((1 + level) / 2, freedom))
        low, high = score - half, score + half
        rng = np.random.default_rng([seed, 2])
        truths = others[None] if table.draws is None else table.draws
        own = score + error * rng.standard_t(freedom, len(truths) if len(truths) > 1 else draws)
        places = 1.0 + (truths > own[:, None]).sum(axis=1)
        ends = interval(places[:, None], level)
        place_low, place_high = min(float(ends[0][0]), place), max(float(ends[1][0]), place)
    outside = tuple(name for name, out in zip(new.datasets, prediction.outside[0], strict=True) if out)
    missing = tuple(name for name in reference.datasets if name not in new.datasets)
    return Placement(
        new.models[0], "predicted", score, low, high, place, place_low, place_high,
        len(reference.models) + 1, new.datasets, missing, outside, level, table, tuple(map(float, new.mean[0])),
    )  # fmt: skip


def _same_metrics(new: Matrix, reference: Matrix) -> None:
    by_reference = dict(zip(reference.datasets, reference.metrics, strict=True))
    for dataset, metric in zip(new.datasets, new.metrics, strict=True):
        if by_reference[dataset] != metric:
            raise UserError(
                f"the new models' results on {dataset} are {metric}, the reference's {by_reference[dataset]}; two "
                "metrics do not compare"
            )


def renamed(new: Matrix, known: Matrix) -> Matrix:
    """Return a matrix whose models that the other has too are called `NAME (yours)`."""
    return replace(new, models=tuple(f"{name} (yours)" if name in known.models else name for name in new.models))
