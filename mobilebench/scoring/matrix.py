"""The matrix of results in long form: one row a cell in the CSV, one array [models, datasets, seeds] in memory.

`accuracy.csv` holds the cells. `noise.csv` beside it holds what the test images that models share add to them: a row
for each pair of models of a dataset. Without it, or for a dataset that is not in it, models are taken for tested apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobilebench.errors import UserError
from mobilebench.evaluation.metrics import MetricError, get_metric
from mobilebench.scoring.measures import TOP1, refusal, signs
from mobilebench.system.files import read_csv, require_columns, write_csv

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray
    from pandas import DataFrame

COLUMNS = ("model", "dataset", "seed", "metric", "value", "n_test", "run_id")
NEEDED = COLUMNS[:6]
EARLIER = "test_top1"  # the column of a CSV of versions that had top-1 alone
NOISE_COLUMNS = ("dataset", "model_a", "model_b", "covariance")
ACCURACY, NOISE = "accuracy.csv", "noise.csv"
CellKey = tuple[str, str, int]


@dataclass(frozen=True, eq=False)
class Matrix:
    """The test result of every cell of a grid, each dataset by its own metric."""

    models: tuple[str, ...]
    """Ids of the models, [M]."""
    datasets: tuple[str, ...]
    """Ids of the datasets, [D]."""
    seeds: tuple[int, ...]
    """The seeds, [S]."""
    values: NDArray[np.float64]
    """[M, D, S] values of the dataset's metric in its own unit (a fraction, never percent), NaN where a cell is absent.
    """
    n_test: NDArray[np.int64]
    """[D] test images; 0 where the size is unknown."""
    metrics: tuple[str, ...] = ()
    """Id of each dataset's metric, [D]; all `top1` where nothing else is said."""
    test_covariance: NDArray[np.float64] | None = None
    """[D, M, M] covariances, over draws of the test images, of the models' mean values (`paired.with_predictions`): in
    the square of the metric's unit, NaN for a dataset without and for an absent model. None where no dataset has any.
    """

    def __post_init__(self) -> None:
        shape = (len(self.models), len(self.datasets), len(self.seeds))
        if not self.metrics:
            object.__setattr__(self, "metrics", (TOP1,) * shape[1])
        if self.values.shape != shape or self.n_test.shape != (shape[1],) or len(self.metrics) != shape[1]:
            raise UserError(
                f"values {self.values.shape}, n_test {self.n_test.shape} and {len(self.metrics)} metrics do not fit "
                f"{shape} cells"
            )
        for name, ids in (("model", self.models), ("dataset", self.datasets), ("seed", self.seeds)):
            if len(set(ids)) < len(ids) or not ids:
                raise UserError(f"every {name} of a matrix is named once and there is at least one; found {ids}")
        within = self.values.copy()
        for d, metric in enumerate(map(get_metric, self.metrics)):
            part = self.values[:, d]
            bad = np.argwhere(metric.outside(part))
            if bad.size:
                m, s = bad[0]
                raise UserError(
                    f"{self.models[m]} on {self.datasets[d]}, seed {self.seeds[s]}: {refusal(part[m, s], metric)}"
                )
            within[:, d] = metric.within(part)
        object.__setattr__(self, "values", within)
        if self.test_covariance is not None:
            self._check_covariance(self.test_covariance)

    def _check_covariance(self, covariance: NDArray[np.float64]) -> None:
        count = len(self.models)
        if covariance.shape != (len(self.datasets), count, count):
            raise UserError(
                f"test_covariance is {covariance.shape}; {(len(self.datasets), count, count)} is expected, "
                "[datasets, models, models]"
            )
        for d, part in enumerate(covariance):
            known = np.isfinite(np.diagonal(part))
            inner = part[np.ix_(known, known)]
            if not known.any():
                continue
            if not (np.isfinite(inner).all() and np.allclose(inner, inner.T, rtol=1e-6, atol=1e-18)):
                raise UserError(f"the covariances on {self.datasets[d]} are not symmetric, or only of some pairs")
            if (np.diagonal(inner) < 0).any() or not known[self.counts[:, d] > 0].all():
                raise UserError(
                    f"the covariances on {self.datasets[d]} have a negative variance, or lack a model that has a value"
                )

    @property
    def paired(self) -> NDArray[np.bool_]:
        """Whether each dataset has covariances, [D]."""
        if self.test_covariance is None:
            return np.zeros(len(self.datasets), dtype=bool)
        known = np.isfinite(np.diagonal(self.test_covariance, axis1=1, axis2=2))
        return np.asarray(known.any(axis=1))

    @property
    def signs(self) -> NDArray[np.float64]:
        """[D]: 1 where a higher value is better, -1 where a lower one is."""
        return signs(self.metrics)

    @property
    def upward(self) -> NDArray[np.float64]:
        """`mean` with the sign turned where a lower value is better, [M, D]: of two numbers the higher is better."""
        return self.mean * self.signs

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean over the seeds present, [M, D]; NaN for a cell without any."""
        present = self.counts
        total = np.nansum(self.values, axis=2)
        return np.where(present > 0, total / np.maximum(present, 1), np.nan)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Seeds present in each cell, [M, D]."""
        counts: NDArray[np.int64] = (~np.isnan(self.values)).astype(np.int64).sum(axis=2)
        return counts

    @property
    def absent(self) -> tuple[CellKey, ...]:
        """The (model, dataset, seed) that have no value, in order."""
        return tuple(
            (self.models[m], self.datasets[d], self.seeds[s]) for m, d, s in np.argwhere(np.isnan(self.values))
        )

    def select(self, *, models: Sequence[str] | None = None, datasets: Sequence[str] | None = None) -> Matrix:
        """Return the matrix of these models and datasets, in the order given; raises UserError for an unknown name."""
        rows = _positions("model", self.models, models)
        columns = _positions("dataset", self.datasets, datasets)
        return Matrix(
            tuple(self.models[i] for i in rows),
            tuple(self.datasets[j] for j in columns),
            self.seeds,
            self.values[np.ix_(rows, columns)],
            self.n_test[columns],
            tuple(self.metrics[j] for j in columns),
            None if self.test_covariance is None else self.test_covariance[np.ix_(columns, rows, rows)],
        )

    def to_frame(self, run_ids: Mapping[CellKey, str] | None = None) -> DataFrame:
        """Return one row per present cell (see COLUMNS); a cell without a run id has an empty one."""
        import pandas as pd

        ids = run_ids or {}
        present = np.argwhere(~np.isnan(self.values))
        keys = [(self.models[m], self.datasets[d], self.seeds[s]) for m, d, s in present]
        columns = {
            "model": [model for model, _, _ in keys],
            "dataset": [dataset for _, dataset, _ in keys],
            "seed": [seed for _, _, seed in keys],
            "metric": [self.metrics[d] for d in present[:, 1]],
            "value": self.values[tuple(present.T)],
            "n_test": self.n_test[present[:, 1]],
            "run_id": [ids.get(key, "") for key in keys],
        }
        return pd.DataFrame(columns, columns=list(COLUMNS))

    @classmethod
    def from_frame(cls, frame: DataFrame) -> Matrix:
        """Build the matrix from rows with model, dataset, seed, metric, value, n_test; other columns are ignored.

        A frame with test_top1 in place of metric and value is of top-1. Raises UserError for an absent column, a value
        that is not a number, a cell given twice, or a dataset with two test sizes or metrics.
        """
        require_columns(frame, _needed(frame), "the frame")
        return cls._from_rows(frame.to_dict("records"), "the frame", "row", 0)

    def to_csv(self, path: str | Path, run_ids: Mapping[CellKey, str] | None = None) -> Path:
        """Write the rows of `to_frame` and replace `path` in one step."""
        return write_csv(path, self.to_frame(run_ids))

    @classmethod
    def from_csv(cls, path: str | Path) -> Matrix:
        """Read a CSV of the rows that `from_frame` takes; a folder (no ending) stands for the `accuracy.csv` in it.

        The covariances of an `accuracy.csv` are read from a `noise.csv` beside it. Raises UserError for an absent file,
        and as `from_frame` does, naming the line.
        """
        source = Path(path) / ACCURACY if Path(path).is_dir() or not Path(path).suffix else Path(path)
        if not source.exists():
            raise UserError(
                f"there is no file {source}; `mobilebench score` writes results/accuracy.csv once cells are trained. "
                f"Expected that, or a CSV with the columns {', '.join(NEEDED)}"
            )
        frame = read_csv(source, NEEDED[:3])
        require_columns(frame, _needed(frame), str(source))
        matrix = cls._from_rows(frame.to_dict("records"), str(source), "line", 2)
        beside = source.with_name(NOISE)
        return matrix.with_noise_csv(beside) if source.name == ACCURACY and beside.exists() else matrix

    def noise_frame(self) -> DataFrame:
        """Return one row per pair of models, each with itself too, of each dataset with covariances (NOISE_COLUMNS)."""
        import pandas as pd

        rows: list[tuple[str, str, str, float]] = []
        for d in np.flatnonzero(self.paired):
            assert self.test_covariance is not None
            part = self.test_covariance[d]
            rows += [
                (self.datasets[d], self.models[a], self.models[b], float(part[a, b]))
                for a in range(len(self.models))
                for b in range(a, len(self.models))
                if np.isfinite(part[a, b])
            ]
        return pd.DataFrame(rows, columns=list(NOISE_COLUMNS))

    def noise_to_csv(self, path: str | Path) -> Path:
        """Write the rows of `noise_frame`, a header alone where there are none, and replace `path` in one step."""
        return write_csv(path, self.noise_frame())

    def with_noise_csv(self, path: str | Path) -> Matrix:
        """Return the matrix with the covariances of a `noise.csv`.

        Raises UserError for a file of other models or datasets, and for one that lacks a pair or has it twice.
        """
        source = Path(path)
        again = f"`mobilebench score` writes {source} and {ACCURACY} together; run it again, or remove {source}"
        count = len(self.models)
        found = np.full((len(self.datasets), count, count), np.nan)
        for line, row in enumerate(read_csv(source, NOISE_COLUMNS).to_dict("records"), start=2):
            place = f"{source}, line {line}"
            try:
                d = self.datasets.index(row["dataset"])
                a, b = self.models.index(row["model_a"]), self.models.index(row["model_b"])
            except ValueError:
                raise UserError(
                    f"{place}: {row['model_a']} and {row['model_b']} on {row['dataset']} are not in {ACCURACY}; {again}"
                ) from None
            try:
                value = float(row["covariance"])
            except ValueError:
                value = math.nan
            if not math.isfinite(value):
                raise UserError(f"{place}: the covariance is {row['covariance']!r}; expected a number. {again}")
            if np.isfinite(found[d, a, b]):
                raise UserError(f"{place}: the pair is there twice; {again}")
            found[d, a, b] = found[d, b, a] = value
        if np.isnan(found).all():
            return self
        try:
            return replace(self, test_covariance=found)
        except UserError as error:
            raise UserError(f"{source}: {error}; {again}") from None

    @classmethod
    def _from_rows(cls, rows: Iterable[Mapping[Hashable, Any]], source: str, unit: str, first: int) -> Matrix:
        cells: dict[CellKey, float] = {}
        sizes: dict[str, int] = {}
        metrics: dict[str, str] = {}
        for number, row in enumerate(rows, start=first):
            place = f"{source}, {unit} {number}"
            key, metric, value, size = _parse(place, row)
            if key in cells:
                raise UserError(f"{place}: the cell {'.'.join(map(str, key))} is there twice")
            if sizes.setdefault(key[1], size) != size:
                raise UserError(f"{place}: {key[1]} has {size} test images here, {sizes[key[1]]} above")
            if metrics.setdefault(key[1], metric) != metric:
                raise UserError(f"{place}: {key[1]} is measured by {metric} here, by {metrics[key[1]]} above")
            cells[key] = value
        if not cells:
            raise UserError(f"{source} has no cell; run `mobilebench score` after at least one cell has finished")
        return cls.from_cells(cells, sizes, metrics)

    @classmethod
    def from_cells(
        cls, cells: Mapping[CellKey, float], n_test: Mapping[str, int], metrics: Mapping[str, str] | None = None
    ) -> Matrix:
        """Build the matrix from {(model, dataset, seed): value}; models and datasets keep their first-seen order.

        `metrics` is {dataset: metric id}; a dataset that it lacks is measured by top-1.
        """
        models, datasets = _unique(k[0] for k in cells), _unique(k[1] for k in cells)
        seeds = tuple(sorted({k[2] for k in cells}))
        values = np.full((len(models), len(datasets), len(seeds)), np.nan)
        for (model, dataset, seed), value in cells.items():
            values[models.index(model), datasets.index(dataset), seeds.index(seed)] = value
        sizes = np.array([n_test.get(d, 0) for d in datasets], dtype=np.int64)
        return cls(models, datasets, seeds, values, sizes, tuple((metrics or {}).get(d, TOP1) for d in datasets))


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _positions(kind: str, known: tuple[str, ...], wanted: Sequence[str] | None) -> list[int]:
    if wanted is None:
        return list(range(len(known)))
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise UserError(f"no {kind} {', '.join(unknown)} in the matrix; it has {', '.join(known)}")
    return [known.index(name) for name in wanted]


def _needed(frame: DataFrame) -> tuple[str, ...]:
    """Return the columns that a table of cells must have: today's, or those of versions that had top-1 alone."""
    is_earlier = EARLIER in frame.columns and "value" not in frame.columns
    return ("model", "dataset", "seed", EARLIER, "n_test") if is_earlier else NEEDED


def _parse(place: str, row: Mapping[Hashable, Any]) -> tuple[CellKey, str, float, int]:
    column = "value" if "value" in row else EARLIER
    try:
        value, size = float(row[column]), _whole(row["n_test"])
        key = (row["model"], row["dataset"], _whole(row["seed"]))
        metric = row["metric"] if column == "value" else TOP1
    except (TypeError, ValueError) as error:
        raise UserError(f"{place}: {error}; expected whole seed and n_test, a number as {column}") from None
    named = all(isinstance(name, str) and name for name in (*key[:2], metric))
    if not math.isfinite(value) or size < 0 or not named:
        raise UserError(f"{place}: {dict(row)} is not a cell (name, name, seed, metric, number, size >= 0)")
    try:
        get_metric(metric)
    except MetricError as error:
        raise UserError(f"{place}: {error}") from None
    return key, metric, value, size


def _whole(value: str | float) -> int:
    """Return a whole number; a column that has met an absent value in pandas holds it as a float."""
    number = int(value)
    if number != float(value):
        raise ValueError(f"{value} is not a whole number")
    return number
