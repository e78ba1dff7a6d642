"""From the tracking server to the score: the grid's records, checked, as one matrix."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.analysis.identities import identities_here, packed_otherwise
from mobilebench.analysis.kept import KeptPredictions, metrics_of, values_of
from mobilebench.analysis.origins import Origin, origins
from mobilebench.analysis.score_files import SCORE, ScoreOrigin, noted, read_origin
from mobilebench.config.suite import Cell
from mobilebench.errors import UserError
from mobilebench.execution.suites import suite_of_experiment
from mobilebench.runs.events import Finish
from mobilebench.runs.journal import Journal, JournalError
from mobilebench.runs.records import read_results
from mobilebench.runs.score_check import CheckedRecords, RecordsError, check, compare_files, raise_if_incomplete
from mobilebench.scoring import Matrix, compute_scores
from mobilebench.scoring.matrix import ACCURACY, NOISE
from mobilebench.scoring.paired import with_predictions
from mobilebench.studies.beyond_imagenet.published import paper_anchors
from mobilebench.system.files import write_text
from mobilebench.system.layout import STATE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from mobilebench.config.suite import Suite
    from mobilebench.evaluation.metrics import Metric
    from mobilebench.runs.records import Record
    from mobilebench.scoring import ScoreTable
    from mobilebench.tracking import Tracker


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
    unbuilt: tuple[str, ...] = ()
    """Models that cannot be built here: whether their runs are of the present code is not known."""
    notes: tuple[str, ...] = ()
    """Plain sentences on values and predictions that a reader must see."""


def score_experiment(
    tracker: Tracker,
    experiment: str,
    *,
    lam: float,
    anchors: str,
    metric: str | None = None,
    allow_partial: bool = False,
    results: Path | None = None,
) -> ScoredExperiment:
    """Return the scores of an experiment; `anchors` is `grid` or `paper`.

    metric: what every dataset is scored by, None for each dataset's own. Of runs that did not record it, it is computed
    from the predictions that they kept; where all runs on a dataset kept theirs, its noise is that over the test images
    which all models share.

    results: the folder of this project's result files. Runs must then agree with them, and be of the identity that
    their cells have here; without it the newest runs of each cell's recipe count, and `checked.undecided` names the
    cells where that was a choice.

    Raises RecordsError naming every cell that is missing, doubled, unfinished, of another recipe, superseded or in
    disagreement; with allow_partial only the last of these. Raises it too for cells that the metric cannot be had of.
    """
    files = read_results(results) if results is not None else []
    # Without an experiment of that name every file's run is missing, and each says where it is.
    runs = tracker.runs(experiment) if not files or tracker.has_experiment(experiment) else []
    found = [run.record for run in runs]
    grid = _grid(experiment, found)
    identities, unbuilt = ({}, []) if results is None or grid.suite is None else identities_here(grid.suite)
    checked = check(found, grid.recipes, identities)
    if results is not None:
        ours = [file for file in files if grid.recipes.get(file.cell) == file.recipe_hash]
        checked = compare_files(checked, found, ours, _has_journal, tracker.whereabouts)
    raise_if_incomplete(checked, allow_partial=allow_partial)
    kept = KeptPredictions(tracker, results)
    metrics = metrics_of(checked.records, metric, list(grid.recipes))
    values = values_of(checked.records, metrics, kept)
    matrix = to_matrix(checked.records, list(grid.recipes), metrics, values)
    matrix = with_predictions(matrix, kept.by_cell(checked.records))
    table = compute_scores(matrix, lam=lam, anchors=paper_anchors() if anchors == "paper" else None)
    taken = {record.run_id for record in checked.records}
    made_with = origins(run.tags for run in runs if run.record.run_id in taken)
    return ScoredExperiment(
        experiment,
        grid.protocol,
        checked,
        matrix,
        noted(table),
        made_with,
        tuple(unbuilt),
        (*(packed_otherwise(grid.suite) if results is not None and grid.suite else ()), *kept.notes, *kept.problems),
    )


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
        recipes = {cell: suite.protocol.recipe_hash_for(cell.model, cell.dataset) for cell in suite.cells()}
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


def _has_journal(file: Record) -> bool:
    """Return whether this folder's journal of a file's cell goes to its end, so that it can be delivered again."""
    try:
        return Journal(STATE / file.identity.name).last(Finish) is not None
    except JournalError:
        return False


def raise_if_stale(records: Iterable[Record], suite: Suite) -> None:
    """Raise RecordsError when scored runs are of other recipes than the suite's: params.yaml has changed since."""
    others = [r for r in records if r.recipe_hash != suite.protocol.recipe_hash_for(r.model, r.dataset)]
    if others:
        names = ", ".join(sorted(record.cell.name for record in others)[:5])
        raise RecordsError(
            f"{len(others)} of the scored runs are of other recipes than params.yaml has now ({names}"
            f"{', ...' if len(others) > 5 else ''}); run `mobilebench score` (or `dvc repro`) again"
        )


def to_matrix(
    records: tuple[Record, ...], cells: list[Cell], metrics: Mapping[str, Metric], of_cell: Mapping[Cell, float]
) -> Matrix:
    """Return the matrix of checked records over the whole grid, NaN where a cell is absent.

    metrics: each dataset's; of_cell: each record's value.

    Raises UserError when the runs on a dataset were read on different numbers of test images.
    """
    sizes: dict[str, int] = {}
    for record in records:
        if sizes.setdefault(record.dataset, record.n_test or 0) != record.n_test:
            usual = sizes[record.dataset]
            raise UserError(f"{record.cell.name} was read on {record.n_test} test images, others on {usual}")
    models, datasets = (tuple(dict.fromkeys(getattr(c, key) for c in cells)) for key in ("model", "dataset"))
    seeds = tuple(sorted({cell.seed for cell in cells}))
    values = np.full((len(models), len(datasets), len(seeds)), np.nan)
    for r in records:
        values[models.index(r.model), datasets.index(r.dataset), seeds.index(r.seed)] = of_cell[r.cell]
    n_test = np.array([sizes.get(d, 0) for d in datasets], dtype=np.int64)
    return Matrix(models, datasets, seeds, values, n_test, tuple(metrics[d].id for d in datasets))


def write_scores(scored: ScoredExperiment, results: Path) -> tuple[Path, ...]:
    """Write accuracy.csv, noise.csv and xscore.csv, and beside them what they are of (score.json); return their paths.

    Each is replaced in one step, score.json last: killed before it, the tables don't agree with it and are refused.
    """
    runs = {(r.model, r.dataset, r.seed): r.run_id for r in scored.checked.records}
    tables = (
        scored.matrix.to_csv(results / ACCURACY, runs),
        scored.matrix.noise_to_csv(results / NOISE),
        scored.table.to_csv(results / "xscore.csv"),
    )
    origin = ScoreOrigin(
        experiment=scored.experiment,
        protocol=scored.protocol_hash,
        lam=scored.table.lam,
        anchors=scored.table.anchors_name,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        run_ids=tuple(runs.values()),
        files={path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in tables},
    )
    with suppress(UserError):  # the same score again leaves the same file: DVC has nothing to do
        before = read_origin(results)
        if before is not None and replace(origin, date=before.date) == before:
            origin = before
    write_text(results / SCORE, json.dumps(asdict(origin), indent=1) + "\n")
    return tables
