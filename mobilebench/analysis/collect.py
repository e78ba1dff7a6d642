"""From the tracking server to the score: the grid's records, checked, as one accuracy matrix."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from mobilebench.analysis.origins import Origin, origins
from mobilebench.config.protocol import recipe_hash
from mobilebench.config.suite import Cell, ScoreSettings
from mobilebench.datasets.packing.packed import read_meta
from mobilebench.errors import UserError
from mobilebench.execution.suites import suite_of_experiment
from mobilebench.models.fingerprint import UNBUILT
from mobilebench.runs.events import Finish
from mobilebench.runs.identity import wanted
from mobilebench.runs.journal import Journal, JournalError
from mobilebench.runs.records import read_results
from mobilebench.runs.score_check import CheckedRecords, RecordsError, check, compare_files, raise_if_incomplete
from mobilebench.scoring import Matrix, compute_scores
from mobilebench.studies.beyond_imagenet.published import paper_anchors
from mobilebench.system.files import read_csv
from mobilebench.system.layout import PACKED, STATE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from mobilebench.config.suite import Suite
    from mobilebench.runs.identity import Identity
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
    made_with: tuple[Origin, ...]
    """What the scored runs were made with, most frequent first."""


def score_experiment(
    tracker: Tracker,
    experiment: str,
    *,
    lam: float,
    anchors: str,
    allow_partial: bool = False,
    results: Path | None = None,
) -> ScoredExperiment:
    """Return the scores of an experiment; `anchors` is `grid` or `paper`.

    results: the folder of this project's result files. Runs must then agree with them, and be of the identity that
    their cells have here; without it the newest runs of each cell's recipe count.

    Raises RecordsError naming every cell that is missing, doubled, unfinished, of another recipe, superseded or in
    disagreement; with allow_partial only the last of these.
    """
    files = read_results(results) if results is not None else []
    # Without an experiment of that name every file's run is missing, and each says where it is.
    runs = tracker.runs(experiment) if not files or tracker.has_experiment(experiment) else []
    found = [run.record for run in runs]
    grid = _grid(experiment, found)
    identities = {} if results is None or grid.suite is None else _identities(grid.suite)
    checked = check(found, grid.recipes, identities)
    if results is not None:
        ours = [file for file in files if grid.recipes.get(file.cell) == file.recipe_hash]
        checked = compare_files(checked, found, ours, _has_journal, tracker.whereabouts)
    raise_if_incomplete(checked, allow_partial=allow_partial)
    matrix = to_matrix(checked.records, list(grid.recipes))
    table = compute_scores(matrix, lam=lam, anchors=paper_anchors() if anchors == "paper" else None)
    taken = {record.run_id for record in checked.records}
    made_with = origins(run.tags for run in runs if run.record.run_id in taken)
    return ScoredExperiment(experiment, grid.protocol, checked, matrix, table, made_with)


@dataclass(frozen=True)
class _Grid:
    """What an experiment should have: each cell with its recipe's hash, of a protocol of that hash, and of a suite."""

    protocol: str
    recipes: dict[Cell, str]
    suite: Suite | None = None


def _grid(experiment: str, found: list[Record]) -> _Grid:
    """Return the grid of the suite that runs under this name, in params.yaml or packaged.

    For an unknown name it is the product of whatever models, datasets and seeds the records name, if each cell has
    runs of one recipe only.
    """
    suite = suite_of_experiment(experiment)
    if suite is not None:
        recipes = {cell: recipe_hash(suite.protocol.recipe_for(cell.model, cell.dataset)) for cell in suite.cells()}
        return _Grid(suite.protocol.hash, recipes, suite)
    ours = [record for record in found if record.recipe_hash]  # without one, it is of an earlier version
    finished = {(record.cell, record.recipe_hash) for record in ours if record.status == "FINISHED"}
    hashes = sorted({record.protocol_hash for record in found})
    if not finished or len({cell for cell, _ in finished}) != len(finished):
        raise RecordsError(
            f"experiment {experiment!r} has runs of {len(hashes)} protocols ({', '.join(hashes) or 'none'}) and no "
            "suite of that name says which counts; run score in the project folder whose params.yaml names it"
        )
    of_cell = dict(finished)
    axes = [dict.fromkeys(getattr(record, key) for record in ours) for key in ("dataset", "seed", "model")]
    cells = [Cell(m, d, s) for d in axes[0] for s in axes[1] for m in axes[2]]
    return _Grid(" ".join(hashes), {cell: of_cell.get(cell, "") for cell in cells})


def _identities(suite: Suite) -> dict[Cell, Identity]:
    """Return what the suite's cells would be trained with here, as far as data and networks can be had here."""
    found: dict[Cell, Identity] = {}
    for dataset in suite.datasets:
        try:
            meta = read_meta(PACKED / dataset)
        except UserError:  # not packed here: the newest runs count
            continue
        for cell in suite.cells(dataset):
            identity = wanted(suite, cell, meta)
            if identity.network != UNBUILT:
                found[cell] = identity
    return found


def _has_journal(file: Record) -> bool:
    """Return whether this folder's journal of a file's cell goes to its end, so that it can be delivered again."""
    try:
        return Journal(STATE / f"{file.cell.name}-{file.identity.digest}").last(Finish) is not None
    except JournalError:
        return False


def raise_if_stale(records: Iterable[Record], suite: Suite) -> None:
    """Raise RecordsError when scored runs are of other recipes than the suite's: params.yaml has changed since."""
    others = [r for r in records if r.recipe_hash != recipe_hash(suite.protocol.recipe_for(r.model, r.dataset))]
    if others:
        names = ", ".join(sorted(record.cell.name for record in others)[:5])
        raise RecordsError(
            f"{len(others)} of the scored runs are of other recipes than params.yaml has now ({names}"
            f"{', ...' if len(others) > 5 else ''}); run `mobilebench score` (or `dvc repro`) again"
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
