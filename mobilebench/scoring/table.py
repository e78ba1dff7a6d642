"""The table of scores: every model's xScore with its interval, its rank and how sure its place is."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.errors import UserError
from mobilebench.scoring.measures import TOP1
from mobilebench.scoring.uncertainty import (
    UNDEFINED,
    Source,
    best_source,
    interval,
    order_probability,
    pivotal,
    places_of,
    resampled,
    score_errors,
    shrunk,
    within_noise,
    without_test_noise,
)
from mobilebench.scoring.xscore import Anchors, XScore, anchors_from_matrix, xscore
from mobilebench.system.files import write_csv
from mobilebench.system.words import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from pandas import DataFrame

    from mobilebench.scoring.matrix import Matrix

    Floats = NDArray[np.float64]

SCORE_COLUMNS = (
    "rank", "model", "xscore", "low", "high", "g", "v", "seeds", "rank_low", "rank_high", "above_next",
    "outside", "absent", "lambda", "anchors", "interval_over", "level",
)  # fmt: skip
ABOVE_NEXT: dict[Source, str] = {
    "seeds+test": "P(above next)",
    "seeds": "share of seed draws above next",
    "test": "share of test draws above next",
}
# Under grid anchors the tails are a fifth smaller: the models of a dataset are not spread quite normally, and without
# this the worst-covered model was covered in 89 to 93 % of the simulated grids.
CALIBRATION = 0.8
# The figures are those of `python -m benchmarks.coverage` (benchmarks/RESULTS.md), grid anchors, lambda 0.5.
SINGLE_RUN = (
    "Intervals and shares of draws cover the test sample only, as training was not repeated. In simulations with 11 "
    "models on 7 datasets such 95 % intervals held the true score in 85 % of cases when training noise had a standard "
    "deviation of 0.5 point, in 60 % at 1 point; orders seen in 85 to 95 % of draws were true in 82 % and 71 %."
)
FEW = 3  # models whose grid anchors leave little to their scores
NO_TEST_NOISE = "Intervals and shares of draws cover training only, so they are too narrow: {}."


@dataclass(frozen=True)
class ScoreRow:
    """One model of a score table; numbers are NaN where they are undefined."""

    rank: int | None
    """Place by `score`, 1 = best; equal scores share the better place (1, 2, 2, 4); None without a score."""
    model: str
    """Id of the model."""
    score: float
    """xScore."""
    low: float
    """Lower end of the interval of `score`."""
    high: float
    """Upper end of the interval of `score`."""
    g: float
    """Mean of the normalised values."""
    v: float
    """Their sample variance."""
    seeds: int
    """Smallest number of runs in its cells; 1 is a single run."""
    rank_low: float
    """Lower end of the interval of the rank."""
    rank_high: float
    """Upper end of the interval of the rank."""
    above_next: float
    """Share of draws in which it truly stands above the model of the next row; what that is worth says
    `ScoreTable.above_next_name`."""
    outside: tuple[str, ...]
    """Datasets where it left the range of the anchors."""
    absent: tuple[str, ...]
    """Datasets without a run."""


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Scores of one matrix."""

    rows: tuple[ScoreRow, ...]
    """One row a model, best first, models without a score last; of one dataset by its metric."""
    models: tuple[str, ...]
    """The models in the order of the matrix, [M]."""
    datasets: tuple[str, ...]
    """The datasets in the order of the matrix."""
    lam: float
    """Weight of the variance, lambda."""
    anchors_name: str
    """`grid` or `fixed`."""
    anchors: Anchors
    """What normalised the values, in the units of the metrics."""
    xscore: XScore
    """Eq. 1 to 3 in the order of the matrix."""
    draws: NDArray[np.float64] | None
    """[draws, M] true scores that could be behind these, in the order of the matrix, for questions of order; None where
    no interval can be given."""
    source: Source | None
    """What was resampled; None with `draws`."""
    interval_over: str
    """What the intervals resample, as a phrase."""
    level: float
    """Confidence level of the intervals."""
    notes: tuple[str, ...]
    """Plain sentences that a reader must see."""

    @property
    def has_scores(self) -> bool:
        """Whether some model has an xScore on several datasets. Else `ranking.rank_models` says what can be said."""
        return len(self.datasets) > 1 and any(row.rank is not None for row in self.rows)

    def among(self, models: Collection[str]) -> ScoreTable:
        """Return the rows of these models alone, ranks and scores as in the whole grid, each over the next one left.

        Raises UserError for an unknown model.
        """
        if unknown := [name for name in models if name not in self.models]:
            raise UserError(f"no model {', '.join(unknown)} among the scored ones: {', '.join(self.models)}")
        kept = [row for row in self.rows if row.model in models]
        at = [self.models.index(row.model) for row in kept]
        above = [math.nan] * len(kept)
        if self.draws is not None:
            above[:-1] = [order_probability(self.draws, i, j) for i, j in itertools.pairwise(at)]
        return replace(self, rows=tuple(replace(row, above_next=p) for row, p in zip(kept, above, strict=True)))

    @property
    def above_next_name(self) -> str:
        """What `ScoreRow.above_next` is: a probability only with repeated training and known test sizes."""
        return ABOVE_NEXT[self.source] if self.source else "above next"

    def to_frame(self) -> DataFrame:
        """Return one row per model (SCORE_COLUMNS), best first; an undefined number is NaN, an absent rank NA."""
        import pandas as pd

        numbers = ("low", "high", "g", "v", "rank_low", "rank_high", "above_next")
        columns = {
            "rank": pd.array([row.rank for row in self.rows], dtype="Int64"),
            "model": [row.model for row in self.rows],
            "xscore": [row.score for row in self.rows],
            **{name: [getattr(row, name) for row in self.rows] for name in numbers},
            "seeds": [row.seeds for row in self.rows],
            "outside": [" ".join(row.outside) for row in self.rows],
            "absent": [" ".join(row.absent) for row in self.rows],
            "lambda": self.lam,
            "anchors": self.anchors_name,
            "interval_over": self.source,
            "level": self.level,
        }
        return pd.DataFrame(columns, columns=list(SCORE_COLUMNS))

    def to_csv(self, path: str | Path) -> Path:
        """Write `xscore.csv` (undefined numbers are empty) and replace `path` in one step."""
        return write_csv(path, self.to_frame())


def compute_scores(
    matrix: Matrix,
    *,
    lam: float = 0.5,
    anchors: Mapping[str, tuple[float, float]] | None = None,
    draws: int = 4000,
    seed: int = 0,
    level: float = 0.95,
) -> ScoreTable:
    """Score one matrix. `anchors` {dataset: (low, high)} fixes the scale; without it the grid's own extrema do.

    The intervals resample what the matrix allows (`uncertainty.best_source`). Nothing is invented for an absent cell:
    its model gets no score and a note says so. Under grid anchors there are no intervals where a dataset's models
    differ no more than noise makes equal ones differ: its scale is noise then. Raises UserError for a dataset without
    anchors, and for fixed anchors of another metric than top-1.
    """
    fixed = None if anchors is None else fixed_anchors(matrix.datasets, matrix.metrics, anchors)
    result = xscore(matrix.mean, lam=lam, anchors=fixed, metrics=matrix.metrics)
    scored = bool(np.isfinite(result.score).any())
    source = best_source(matrix) if scored else None
    flat = within_noise(matrix, source=source, draws=draws, seed=seed) if source and fixed is None else ()
    errors = drawn = None
    if source and not flat:
        errors = score_errors(matrix, source=source, lam=lam, anchors=fixed, draws=draws, seed=seed)
        if _undefined(result, errors) <= UNDEFINED * len(errors):
            drawn = shrunk(result.score, errors, seed=seed)
    return ScoreTable(
        rows=_rows(matrix, result, errors, drawn, level, fixed=fixed is not None),
        models=matrix.models,
        datasets=matrix.datasets,
        lam=lam,
        anchors_name="grid" if anchors is None else "fixed",
        anchors=fixed or anchors_from_matrix(matrix.mean, matrix.signs),
        xscore=result,
        draws=drawn,
        source=None if drawn is None else source,
        interval_over="nothing (see the notes)" if drawn is None or source is None else resampled(matrix, source),
        level=level,
        notes=(
            *_notes(matrix, result, grid=fixed is None),
            *(_interval_notes(matrix, source, flat, result, errors) if scored else ()),
        ),
    )


def fixed_anchors(
    datasets: Sequence[str], metrics: Sequence[str], anchors: Mapping[str, tuple[float, float]]
) -> Anchors:
    """Return {dataset: (low, high)} as anchors of these datasets, [D].

    Raises UserError for a metric other than top-1, a dataset without anchors, and a high one that is not above its low.
    """
    others = [f"{d} ({metric})" for d, metric in zip(datasets, metrics, strict=True) if metric != TOP1]
    if others:
        raise UserError(
            f"fixed anchors are top-1 accuracies, and another metric measures {', '.join(others)}; use the grid's own "
            "anchors"
        )
    unknown = [name for name in datasets if name not in anchors]
    if unknown:
        raise UserError(f"no fixed anchors for {', '.join(unknown)}; there are some for {', '.join(anchors)}")
    flat = [name for name in datasets if not anchors[name][1] > anchors[name][0]]
    if flat:
        raise UserError(f"the anchors of {', '.join(flat)} are {anchors[flat[0]]}; the high one must exceed the low")
    pairs = np.array([anchors[name] for name in datasets])
    return Anchors(pairs[:, 0], pairs[:, 1])


def _rows(
    matrix: Matrix, result: XScore, errors: Floats | None, drawn: Floats | None, level: float, *, fixed: bool
) -> tuple[ScoreRow, ...]:
    # NaN sorts last. One dataset gives an order also without scores, and then that is the order of the rows.
    order = np.argsort(-(result.score if len(matrix.datasets) > 1 else matrix.upward[:, 0]), kind="stable")
    ranks = places_of(result.score)
    low = high = rank_low = rank_high = np.full(len(matrix.models), np.nan)
    above = [math.nan] * len(order)
    if errors is not None and drawn is not None:
        low, high = pivotal(result.score, errors, level if fixed else 1 - CALIBRATION * (1 - level))
        if not fixed:
            high = np.minimum(high, 1.0)  # no true score exceeds 1 between anchors of its own grid
        rank_low, rank_high = interval(places_of(drawn), level)
        rank_low, rank_high = np.minimum(rank_low, ranks), np.maximum(rank_high, ranks)
        above[:-1] = [order_probability(drawn, i, j) for i, j in itertools.pairwise(order)]
    counts = matrix.counts
    return tuple(
        ScoreRow(
            rank=int(ranks[i]) if math.isfinite(ranks[i]) else None,
            model=matrix.models[i],
            score=float(result.score[i]),
            low=float(low[i]),
            high=float(high[i]),
            g=float(result.g[i]),
            v=float(result.v[i]),
            seeds=int(counts[i].min()),
            rank_low=float(rank_low[i]),
            rank_high=float(rank_high[i]),
            above_next=p,
            outside=tuple(d for d, out in zip(matrix.datasets, result.outside[i], strict=True) if out),
            absent=tuple(d for d, n in zip(matrix.datasets, counts[i], strict=True) if n == 0),
        )
        for i, p in zip(order, above, strict=True)
    )


def _notes(matrix: Matrix, result: XScore, *, grid: bool) -> tuple[str, ...]:
    notes = []
    read = [bool(column.any()) for column in matrix.counts.T]
    columns = zip(matrix.datasets, result.normalised.T, read, strict=True)
    flat = [d for d, column, present in columns if present and np.isnan(column).all()]
    absent, unscored = len(matrix.absent), int((matrix.counts == 0).any(axis=1).sum())
    runs = matrix.counts[matrix.counts > 0]
    if len(matrix.datasets) == 1:
        notes.append("One dataset only: the variance across datasets, and with it xScore, is undefined.")
    if flat and len(matrix.datasets) > 1:
        notes.append(f"No scale on {', '.join(flat)}: all models have the same value there, so no xScore exists.")
    if absent:
        effect = (
            f"{unscored} of {counted(len(matrix.models), 'model')} {'has' if unscored == 1 else 'have'} none at all on "
            f"some dataset and {'is' if unscored == 1 else 'are'} not scored; grid anchors may still move."
            if unscored
            else "Means there are over fewer seeds."
        )
        notes.append(f"{absent} of {matrix.values.size} cells {'has' if absent == 1 else 'have'} no run. {effect}")
    if grid and len(matrix.datasets) > 1 and 1 < len(matrix.models) <= FEW:
        notes.append(
            f"Only {len(matrix.models)} models set the scale: on each dataset the best has 1 and the worst 0, so these "
            "scores say little more than their order there."
        )
    if runs.size and runs.min() == 1:
        single = int((runs == 1).sum())
        who = (
            "The one value is" if runs.size == 1 else f"{single} of {runs.size} values {'is' if single == 1 else 'are'}"
        )
        notes.append(f"{who} from a single run: what another seed would give is unknown.")
    return tuple(notes)


def _undefined(result: XScore, errors: Floats) -> int:
    """Draws in which a model that has a score would have none."""
    return int(np.isnan(errors[:, np.isfinite(result.score)]).any(axis=1).sum())


def _unknown_test_noise(matrix: Matrix) -> str:
    """Say why the noise over test images is unknown."""
    unknown = without_test_noise(matrix)
    metrics = dict(zip(matrix.datasets, matrix.metrics, strict=True))
    sizes = [name for name in unknown if metrics[name] == TOP1]
    others = [f"{name} ({metrics[name]})" for name in unknown if metrics[name] != TOP1]
    said = [f"the size of a test split is unknown ({', '.join(sizes)})"] if sizes else []
    if others:
        said.append(f"the noise over test images of {', '.join(others)} needs the predictions of every run there")
    return "; ".join(said)


def _interval_notes(
    matrix: Matrix, source: Source | None, flat: tuple[str, ...], result: XScore, errors: Floats | None
) -> Iterator[str]:
    if source is None:
        yield f"No interval can be given: single runs, and {_unknown_test_noise(matrix)}."
    elif flat:
        yield (
            f"No interval is given: on {', '.join(flat)} the models differ no more than noise makes equal ones differ "
            "(Cochran's Q, p >= 0.05), so anchors taken from this grid are noise. More test images or seeds, or fixed "
            "anchors, would give one."
        )
    elif source == "test":
        yield SINGLE_RUN
    elif source == "seeds":
        yield NO_TEST_NOISE.format(_unknown_test_noise(matrix))
    if errors is not None:
        undefined = _undefined(result, errors)
        if undefined > UNDEFINED * len(errors):
            yield f"No interval is given: {undefined} of {len(errors)} draws have no score (models tied on a dataset)."
        elif undefined:
            yield f"{undefined} of {len(errors)} draws have no score (models tied on a dataset) and are left out."
