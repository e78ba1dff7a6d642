"""The accuracy matrix in long form: one row a cell in the CSV, one array [models, datasets, seeds] in memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobilebench.errors import UserError
from mobilebench.system.files import read_csv, require_columns, write_csv

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray
    from pandas import DataFrame

COLUMNS = ("model", "dataset", "seed", "test_top1", "n_test", "run_id")
CellKey = tuple[str, str, int]


@dataclass(frozen=True, eq=False)
class Matrix:
    """Test top-1 of every cell of a grid."""

    models: tuple[str, ...]
    """Ids of the models, [M]."""
    datasets: tuple[str, ...]
    """Ids of the datasets, [D]."""
    seeds: tuple[int, ...]
    """The seeds, [S]."""
    top1: NDArray[np.float64]
    """[M, D, S] fractions, NaN where a cell is absent."""
    n_test: NDArray[np.int64]
    """[D] test images; 0 where the size is unknown, and then there is no test-sample interval."""

    def __post_init__(self) -> None:
        shape = (len(self.models), len(self.datasets), len(self.seeds))
        if self.top1.shape != shape or self.n_test.shape != (shape[1],):
            raise UserError(f"top1 {self.top1.shape} and n_test {self.n_test.shape} do not fit {shape} cells")
        for name, ids in (("model", self.models), ("dataset", self.datasets), ("seed", self.seeds)):
            if len(set(ids)) < len(ids) or not ids:
                raise UserError(f"every {name} of a matrix is named once and there is at least one; found {ids}")
        bad = (self.top1 < 0) | (self.top1 > 1)
        if bad.any():
            m, d, s = np.argwhere(bad)[0]
            raise UserError(
                f"{self.models[m]} on {self.datasets[d]}, seed {self.seeds[s]}: top-1 {self.top1[m, d, s]:g} is not a "
                "fraction in [0, 1]; divide percent by 100",
            )

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean over the seeds present, [M, D] fractions; NaN for a cell without any."""
        present = self.counts
        total = np.nansum(self.top1, axis=2)
        return np.where(present > 0, total / np.maximum(present, 1), np.nan)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Seeds present in each cell, [M, D]."""
        counts: NDArray[np.int64] = (~np.isnan(self.top1)).astype(np.int64).sum(axis=2)
        return counts

    @property
    def absent(self) -> tuple[CellKey, ...]:
        """The (model, dataset, seed) that have no accuracy, in order."""
        return tuple((self.models[m], self.datasets[d], self.seeds[s]) for m, d, s in np.argwhere(np.isnan(self.top1)))

    def select(self, *, models: Sequence[str] | None = None, datasets: Sequence[str] | None = None) -> Matrix:
        """Return the matrix of these models and datasets, in the order given; raises UserError for an unknown name."""
        rows = _positions("model", self.models, models)
        columns = _positions("dataset", self.datasets, datasets)
        return Matrix(
            tuple(self.models[i] for i in rows),
            tuple(self.datasets[j] for j in columns),
            self.seeds,
            self.top1[np.ix_(rows, columns)],
            self.n_test[columns],
        )

    def to_frame(self, run_ids: Mapping[CellKey, str] | None = None) -> DataFrame:
        """Return one row per present cell (see COLUMNS); a cell without a run id has an empty one."""
        import pandas as pd

        ids = run_ids or {}
        present = np.argwhere(~np.isnan(self.top1))
        keys = [(self.models[m], self.datasets[d], self.seeds[s]) for m, d, s in present]
        columns = {
            "model": [model for model, _, _ in keys],
            "dataset": [dataset for _, dataset, _ in keys],
            "seed": [seed for _, _, seed in keys],
            "test_top1": self.top1[tuple(present.T)],
            "n_test": self.n_test[present[:, 1]],
            "run_id": [ids.get(key, "") for key in keys],
        }
        return pd.DataFrame(columns, columns=list(COLUMNS))

    @classmethod
    def from_frame(cls, frame: DataFrame) -> Matrix:
        """Build the matrix from rows with model, dataset, seed, test_top1, n_test; other columns are ignored.

        Raises UserError for an absent column, a value that is not a number, a cell given twice, or a dataset with two
        test sizes.
        """
        require_columns(frame, COLUMNS[:5], "the frame")
        return cls._from_rows(frame.to_dict("records"), "the frame", "row", 0)

    def to_csv(self, path: str | Path, run_ids: Mapping[CellKey, str] | None = None) -> Path:
        """Write the rows of `to_frame` and replace `path` in one step."""
        return write_csv(path, self.to_frame(run_ids))

    @classmethod
    def from_csv(cls, path: str | Path) -> Matrix:
        """Read a CSV of the rows that `from_frame` takes; a folder (no ending) stands for the `accuracy.csv` in it.

        Raises UserError for an absent file, and as `from_frame` does, naming the line.
        """
        source = Path(path) / "accuracy.csv" if Path(path).is_dir() or not Path(path).suffix else Path(path)
        if not source.exists():
            raise UserError(
                f"there is no file {source}; `mobilebench score` writes results/accuracy.csv once cells are trained. "
                f"Expected that, or a CSV with the columns {', '.join(COLUMNS[:5])}"
            )
        return cls._from_rows(read_csv(source, COLUMNS[:5]).to_dict("records"), str(source), "line", 2)

    @classmethod
    def _from_rows(cls, rows: Iterable[Mapping[Hashable, Any]], source: str, unit: str, first: int) -> Matrix:
        cells: dict[CellKey, float] = {}
        sizes: dict[str, int] = {}
        for number, row in enumerate(rows, start=first):
            place = f"{source}, {unit} {number}"
            key, value, size = _parse(place, row)
            if key in cells:
                raise UserError(f"{place}: the cell {'.'.join(map(str, key))} is there twice")
            if sizes.setdefault(key[1], size) != size:
                raise UserError(f"{place}: {key[1]} has {size} test images here, {sizes[key[1]]} above")
            cells[key] = value
        if not cells:
            raise UserError(f"{source} has no cell; run `mobilebench score` after at least one cell has finished")
        return cls.from_cells(cells, sizes)

    @classmethod
    def from_cells(cls, cells: Mapping[CellKey, float], n_test: Mapping[str, int]) -> Matrix:
        """Build the matrix from {(model, dataset, seed): fraction}; models and datasets keep their first-seen order."""
        models, datasets = _unique(k[0] for k in cells), _unique(k[1] for k in cells)
        seeds = tuple(sorted({k[2] for k in cells}))
        top1 = np.full((len(models), len(datasets), len(seeds)), np.nan)
        for (model, dataset, seed), value in cells.items():
            top1[models.index(model), datasets.index(dataset), seeds.index(seed)] = value
        return cls(models, datasets, seeds, top1, np.array([n_test.get(d, 0) for d in datasets], dtype=np.int64))


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _positions(kind: str, known: tuple[str, ...], wanted: Sequence[str] | None) -> list[int]:
    if wanted is None:
        return list(range(len(known)))
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise UserError(f"no {kind} {', '.join(unknown)} in the matrix; it has {', '.join(known)}")
    return [known.index(name) for name in wanted]


def _parse(place: str, row: Mapping[Hashable, Any]) -> tuple[CellKey, float, int]:
    try:
        value, size = float(row["test_top1"]), _whole(row["n_test"])
        key = (row["model"], row["dataset"], _whole(row["seed"]))
    except (TypeError, ValueError) as error:
        raise UserError(f"{place}: {error}; expected whole seed and n_test, fraction test_top1") from None
    named = all(isinstance(name, str) and name for name in key[:2])
    if not math.isfinite(value) or size < 0 or not named:
        raise UserError(f"{place}: {dict(row)} is not a cell (name, name, seed, fraction, size >= 0)")
    return key, value, size


def _whole(value: str | float) -> int:
    """Return a whole number; a column that has met an absent value in pandas holds it as a float."""
    number = int(value)
    if number != float(value):
        raise ValueError(f"{value} is not a whole number")
    return number
