"""A results folder that somebody publishes: its scores read again, and held against the files beside them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mobilebench.analysis.result_files import read_files
from mobilebench.analysis.score_files import SCORE, read_origin
from mobilebench.errors import UserError
from mobilebench.runs.records import result_path
from mobilebench.scoring.matrix import ACCURACY
from mobilebench.system.files import read_csv

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from mobilebench.analysis.result_files import FileResults
    from mobilebench.analysis.score_files import ScoreOrigin
    from mobilebench.runs.records import Record
    from mobilebench.scoring import Matrix, ScoreTable

XSCORE = "xscore.csv"
_AGAIN = "run `mobilebench score` again where the runs are, and publish all of its files"


def read_scored(folder: Path) -> tuple[FileResults, ScoreOrigin, ScoreTable]:
    """Return a results folder, or the `results` of a project folder, what it is of and its scores, computed again.

    Raises UserError where `mobilebench score` did not write its tables, where one was changed since, where the scores
    do not follow from the results, and where a result file says otherwise than the tables.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; expected a results folder as `mobilebench score` leaves it")
    here = folder if (folder / SCORE).exists() else folder / "results"
    origin = read_origin(here)
    if origin is None:
        raise UserError(
            f"{folder} has no {SCORE}; expected a results folder as `mobilebench score` leaves it, with {ACCURACY}, "
            f"{XSCORE} and {SCORE}, or the project folder that has it"
        )
    if missing := [name for name in (ACCURACY, XSCORE) if not (here / name).is_file()]:  # its score.json names neither
        raise UserError(f"{here} has no {', '.join(missing)}; {_AGAIN}")
    files = read_files(here)
    matrix, table = files.matrix, files.score()
    if (table.lam, table.anchors_name) != (origin.lam, origin.anchors):
        raise UserError(
            f"{here / XSCORE} has lambda {table.lam:g} and {table.anchors_name} anchors, {SCORE} has lambda "
            f"{origin.lam:g} and {origin.anchors} anchors; {_AGAIN}"
        )
    if set(origin.run_ids) != set(files.run_ids.values()):
        raise UserError(f"{here / SCORE} names other runs than {ACCURACY} does; {_AGAIN}")
    _raise_if_other_scores(here, table)
    _raise_if_contradicted(here, files.records, matrix)
    return files, origin, table


def _raise_if_other_scores(folder: Path, table: ScoreTable) -> None:
    """Raise UserError unless xscore.csv holds, to rounding, the scores that follow from the results."""
    said = {row["model"]: row["xscore"] for row in read_csv(folder / XSCORE, ("model", "xscore")).to_dict("records")}
    if set(said) != set(table.models):
        raise UserError(f"{folder / XSCORE} is of other models than {ACCURACY}; {_AGAIN}")
    for row in table.rows:
        try:
            written = float(said[row.model] or "nan")
        except ValueError:
            raise UserError(f"{folder / XSCORE}: the xScore of {row.model} is no number; {_AGAIN}") from None
        if not math.isclose(written, row.score, rel_tol=0, abs_tol=1e-9) and not _both_undefined(written, row.score):
            raise UserError(
                f"{folder / XSCORE} gives {row.model} an xScore of {written:g}, and from {ACCURACY} follows "
                f"{row.score:g}; {_AGAIN}"
            )


def _both_undefined(a: float, b: float) -> bool:
    return math.isnan(a) and math.isnan(b)


def _raise_if_contradicted(folder: Path, records: Iterable[Record], matrix: Matrix) -> None:
    """Raise UserError where a result file of a scored run says otherwise than the tables."""
    digests: dict[str, Record] = {}
    for record in records:
        cell, path = record.cell, result_path(folder, record.cell)
        try:
            m, d, s = (
                matrix.models.index(cell.model),
                matrix.datasets.index(cell.dataset),
                matrix.seeds.index(cell.seed),
            )
        except ValueError:
            raise UserError(f"{path} is of a scored run whose cell is not in {ACCURACY}; {_AGAIN}") from None
        value, n = float(matrix.values[m, d, s]), int(matrix.n_test[d])
        recorded = record.metrics.get(matrix.metrics[d], value)  # a metric computed from predictions is in no record
        if recorded != value or record.n_test != n:
            raise UserError(
                f"{path} has {matrix.metrics[d]} {recorded:g} on {record.n_test} test images, {ACCURACY} has {value:g} "
                f"on {n}; {_AGAIN}"
            )
        first = digests.setdefault(cell.dataset, record)
        if first.data_digest != record.data_digest:
            raise UserError(f"{path} was read on other data than {result_path(folder, first.cell)}; {_AGAIN}")
