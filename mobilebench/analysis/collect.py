"""From the tracking server to the score: the grid's records, checked, as one accuracy matrix."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from mobilebench.config.suite import Cell, ScoreSettings
from mobilebench.errors import UserError
from mobilebench.execution.suites import suite_of_experiment
from mobilebench.runs.records import read_results
from mobilebench.runs.score_check import CheckedRecords, RecordsError, check, compare_files, raise_if_incomplete
from mobilebench.scoring import Matrix, compute_scores
from mobilebench.studies.beyond_imagenet.published import paper_anchors
from mobilebench.system.files import read_csv

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from mobilebench.config.suite import Suite
    from mobilebench.runs.records import Record
    from mobilebench.scoring import ScoreTable
    from mobilebench.tracking import Tracker


# What xscore.csv calls the anchors, and what `score --anchors` calls them.
_ANCHORS: dict[str, Literal["grid", "paper"]] = {"grid": "grid", "fixed": "paper"}


@dataclass(frozen=True)
class ScoredExperiment:
    """What `score` makes: the checked records, their matrix and the table of scores."""

    experiment: str
    protocol_hash: str
    checked: CheckedRecords
    matrix: Matrix
    table: ScoreTable


def score_experiment(
    tracker: Tracker,
    experiment: str,
    *,
    lam: float,
    anchors: str,
    allow_partial: bool = False,
    results: Path | None = None,
) -> ScoredExperiment:
    """Return the scores of an experiment; `anchors` is `grid` or `paper`, `results` has files the runs must agree with.

    Raises RecordsError naming every cell that is missing, doubled, unfinished, of another protocol or in disagreement;
    with allow_partial only the last of these.
    """
    found = tracker.records(experiment)
    cells, protocol_hash = _grid(experiment, found)
    checked = check(found, cells, protocol_hash)
    if results is not None:
        wrong = compare_files(checked.records, [r for r in read_results(results) if r.protocol_hash == protocol_hash])
        checked = CheckedRecords(checked.records, (*checked.problems, *wrong), checked.ignored)
    raise_if_incomplete(checked, allow_partial=allow_partial)
    matrix = to_matrix(checked.records, cells)
    table = compute_scores(matrix, lam=lam, anchors=paper_anchors() if anchors == "paper" else None)
    return ScoredExperiment(experiment, protocol_hash, checked, matrix, table)


def _grid(experiment: str, found: list[Record]) -> tuple[list[Cell], str]:
    """Return the cells the experiment should have and its protocol.

    They are the suite's that runs under this name, in params.yaml or packaged; for an unknown name, the product of
    whatever models, datasets and seeds the records name, if all are of one protocol.
    """
    suite = suite_of_experiment(experiment)
    if suite is not None:
        return list(suite.cells()), suite.protocol.hash
    hashes = sorted({record.protocol_hash for record in found})
    if len(hashes) != 1:
        raise RecordsError(
            f"experiment {experiment!r} has runs of {len(hashes)} protocols ({', '.join(hashes) or 'none'}) and no "
            "suite of that name says which counts; run score in the project folder whose params.yaml names it"
        )
    axes = [dict.fromkeys(getattr(record, key) for record in found) for key in ("dataset", "seed", "model")]
    return [Cell(m, d, s) for d in axes[0] for s in axes[1] for m in axes[2]], hashes[0]


def raise_if_stale(records: Iterable[Record], suite: Suite) -> None:
    """Raise RecordsError when scored runs are of another protocol than the suite's: params.yaml has changed since."""
    others = sorted({record.protocol_hash for record in records} - {suite.protocol.hash})
    if others:
        raise RecordsError(
            f"the scored runs are of protocol {', '.join(others)}, params.yaml has {suite.protocol.hash}; run "
            "`mobilebench score` (or `dvc repro`) again"
        )


def scored_with(results: Path, wanted: ScoreSettings) -> tuple[ScoreSettings, str]:
    """Return lambda and anchors as `score` wrote them to xscore.csv, and a sentence where params.yaml `wanted` others.

    What follows the score (leaderboard, report) shows these, so that all three speak of the same numbers. Without an
    xscore.csv they are params.yaml's. Raises UserError for a file whose rows disagree or that says neither.
    """
    path = results / "xscore.csv"
    if not path.is_file():
        return wanted, ""
    rows = {tuple(row) for row in read_csv(path, ("lambda", "anchors"))[["lambda", "anchors"]].to_numpy().tolist()}
    try:
        ((lam, anchors),) = rows
        used = ScoreSettings(lam=float(lam), anchors=_ANCHORS[anchors])
    except (ValueError, KeyError):
        raise UserError(
            f"{path} does not say one lambda and one kind of anchors ({', '.join(_ANCHORS)}) for all of its rows; run "
            "`mobilebench score` again"
        ) from None
    if used == wanted:
        return used, ""
    return used, (
        f"Scored with lambda {used.lam:g} and {used.anchors} anchors, as `mobilebench score` was called; params.yaml "
        f"has lambda {wanted.lam:g} and {wanted.anchors} anchors."
    )


def recomputed(results: Path, wanted: ScoreSettings) -> tuple[Matrix, ScoreTable]:
    """Return the matrix in a results folder and its scores, with what `score` used; a note says where that differs.

    Raises UserError when `mobilebench score` has not written its tables, or as `scored_with` does.
    """
    matrix = Matrix.from_csv(results)
    used, note = scored_with(results, wanted)
    table = compute_scores(matrix, lam=used.lam, anchors=paper_anchors() if used.anchors == "paper" else None)
    return matrix, replace(table, notes=(note, *table.notes)) if note else table


def to_matrix(records: tuple[Record, ...], cells: list[Cell]) -> Matrix:
    """Return the accuracy matrix of checked records over the whole grid, NaN where a cell is absent.

    Raises UserError when the runs on a dataset were read on different numbers of test images.
    """
    sizes: dict[str, int] = {}
    for record in records:
        if sizes.setdefault(record.dataset, record.n_test or 0) != record.n_test:
            usual = sizes[record.dataset]
            raise UserError(f"{record.cell.name} was read on {record.n_test} test images, others on {usual}")
    models, datasets = (tuple(dict.fromkeys(getattr(c, key) for c in cells)) for key in ("model", "dataset"))
    seeds = tuple(sorted({cell.seed for cell in cells}))
    top1 = np.full((len(models), len(datasets), len(seeds)), np.nan)
    for r in records:
        top1[models.index(r.model), datasets.index(r.dataset), seeds.index(r.seed)] = r.test_top1
    return Matrix(models, datasets, seeds, top1, np.array([sizes.get(d, 0) for d in datasets], dtype=np.int64))


def write_scores(scored: ScoredExperiment, results: Path) -> tuple[Path, Path]:
    """Write accuracy.csv and xscore.csv, each replaced in one step, and return their paths."""
    runs = {(r.model, r.dataset, r.seed): r.run_id for r in scored.checked.records}
    accuracy = scored.matrix.to_csv(results / "accuracy.csv", runs)
    return accuracy, scored.table.to_csv(results / "xscore.csv")
