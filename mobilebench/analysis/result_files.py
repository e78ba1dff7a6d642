"""Results read from files alone: the published table, a results folder, a CSV of cells. No tracking server is asked."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mobilebench.analysis.caveats import caveats
from mobilebench.analysis.collect import to_matrix
from mobilebench.analysis.costs import costs_of, profiled_costs
from mobilebench.analysis.kept import KeptPredictions, metrics_of, values_of
from mobilebench.analysis.pretraining import pretraining_of
from mobilebench.analysis.score_files import ScoreOrigin, noted, read_origin, scored_with
from mobilebench.config.suite import Cell, ScoreSettings
from mobilebench.errors import UserError
from mobilebench.runs.records import read_results
from mobilebench.scoring import Matrix, compute_scores
from mobilebench.scoring.matrix import ACCURACY
from mobilebench.scoring.paired import with_predictions
from mobilebench.studies.beyond_imagenet import published
from mobilebench.studies.beyond_imagenet.context import published_costs
from mobilebench.studies.study import PUBLISHED
from mobilebench.system.files import read_csv

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mobilebench.models.cost.cost_file import CostRow
    from mobilebench.runs.records import Record
    from mobilebench.scoring import ScoreTable
    from mobilebench.scoring.matrix import CellKey

UNCHECKED = "Read from files, not checked against a tracking server."


@dataclass(frozen=True, eq=False)
class FileResults:
    """Results as files hold them."""

    name: str
    """What they are: the experiment where the files say it, else the path."""
    matrix: Matrix
    """The results."""
    settings: ScoreSettings
    """Lambda and anchors that they were scored with, as far as the files say."""
    folder: Path | None
    """The results folder; None for a CSV and the published table."""
    run_ids: Mapping[CellKey, str] = field(default_factory=dict)
    """{(model, dataset, seed): id of the run}, where the files say it."""
    origin: ScoreOrigin | None = None
    """What the folder's tables are of; None where nothing says so."""
    records: tuple[Record, ...] = ()
    """The result files of the runs behind the cells, where they are there."""
    costs: tuple[CostRow, ...] = ()
    """What the models cost, as far as the files say."""
    notes: tuple[str, ...] = ()
    """Plain sentences that a reader must see."""

    @property
    def pretrained(self) -> dict[str, str]:
        """What each model was pretrained on, as its result files say; {} where all are from scratch."""
        return pretraining_of(self.records)

    @property
    def kept(self) -> KeptPredictions:
        """The predictions in the folder."""
        return KeptPredictions(None, self.folder)

    def score(self, *, lam: float | None = None, anchors: str | None = None) -> ScoreTable:
        """Return the scores, with the folder's lambda and anchors (`grid` or `paper`) where none are given."""
        used = self.settings.lam if lam is None else lam
        fixed = published.paper_anchors() if (anchors or self.settings.anchors) == "paper" else None
        table = noted(compute_scores(self.matrix, lam=used, anchors=fixed))
        return replace(table, notes=(*self.notes, *caveats(self.records), *table.notes))


def are_files(name: str) -> bool:
    """Return whether a name means files: `published`, a CSV, or a folder that holds results."""
    return name == PUBLISHED or name.endswith(".csv") or _holds_results(Path(name))


def read_files(source: str | Path, *, metric: str | None = None) -> FileResults:
    """Return the results of `published` (Table 3), of a results folder, or of a CSV of cells.

    Of a folder that is its accuracy.csv, as `mobilebench score` wrote it; where it has none, or another `metric` is
    asked for, its result files and the predictions beside them. Raises UserError where there is neither, for a damaged
    or changed table, and for runs that do not make one matrix.
    """
    if str(source) == PUBLISHED:
        found = FileResults(published.SOURCE, published.matrix(), ScoreSettings(), None, costs=published_costs())
        return _of_metric(found, metric, PUBLISHED)
    path = Path(source)
    if not path.is_dir():
        matrix = Matrix.from_csv(path)  # says what was expected where there is nothing
        found = FileResults(str(path), matrix, ScoreSettings(), None, _run_ids(path), notes=(UNCHECKED,))
        return _of_metric(found, metric, str(path))
    records = tuple(record for record in read_results(path) if record.status == "FINISHED")
    if not (path / ACCURACY).exists():
        if not records:
            raise UserError(
                f"{path} has no results: expected {ACCURACY}, as `mobilebench score` writes it, or "
                "cells/DATASET/MODEL.DATASET.SEED.json, as `mobilebench train` does"
            )
        return _of_records(path, records, metric)
    matrix, origin, run_ids = Matrix.from_csv(path), read_origin(path), _run_ids(path / ACCURACY)
    scored = set(run_ids.values())
    ours = tuple(record for record in records if record.run_id in scored)
    if metric is not None and set(matrix.metrics) != {metric}:
        if records:
            return _of_records(path, ours or records, metric)
        _refuse(matrix, metric, str(path))
    settings, _ = scored_with(path, ScoreSettings())
    costs = costs_of(path, ours) or profiled_costs(path, matrix.models)
    return FileResults(_name(path, origin), matrix, settings, path, run_ids, origin, ours, costs, (UNCHECKED,))


def load_matrix(source: str | Path) -> Matrix:
    """Return the matrix of `published` (Table 3), of a results folder, or of a CSV of cells; raises UserError."""
    return read_files(source).matrix


def _holds_results(path: Path) -> bool:
    return (path / ACCURACY).is_file() or (path / "cells").is_dir()


def _name(path: Path, origin: ScoreOrigin | None) -> str:
    return f"{origin.experiment} ({path})" if origin else str(path)


def _run_ids(table: Path) -> dict[CellKey, str]:
    """Return the run of each cell of a table whose cells `Matrix.from_csv` has read; nothing where it names none."""
    frame = read_csv(table, ("model", "dataset", "seed"))
    if "run_id" not in frame:
        return {}
    rows = frame.to_dict("records")
    return {(row["model"], row["dataset"], int(float(row["seed"]))): row["run_id"] for row in rows if row["run_id"]}


def _of_records(path: Path, records: tuple[Record, ...], metric: str | None) -> FileResults:
    for dataset in dict.fromkeys(record.dataset for record in records):
        data = {record.data_digest for record in records if record.dataset == dataset}
        if len(data) > 1:
            raise UserError(
                f"the result files in {path} are of {len(data)} states of {dataset} ({', '.join(sorted(data))}), which "
                "do not compare; keep those of one"
            )
    axes = [sorted({getattr(record, key) for record in records}) for key in ("dataset", "seed", "model")]
    cells = [Cell(m, d, s) for d in axes[0] for s in axes[1] for m in axes[2]]
    kept = KeptPredictions(None, path)
    metrics = metrics_of(records, metric, cells)
    matrix = to_matrix(records, cells, metrics, values_of(records, metrics, kept))
    matrix = with_predictions(matrix, kept.by_cell(records))
    protocols = sorted({record.protocol_hash for record in records})
    several = f"The runs are of {len(protocols)} protocols: {', '.join(protocols)}." if len(protocols) > 1 else ""
    notes = tuple(note for note in (UNCHECKED, several, *kept.notes) if note)
    run_ids = {(r.model, r.dataset, r.seed): r.run_id for r in records}
    costs = costs_of(path, records) or ()
    return FileResults(str(path), matrix, ScoreSettings(), path, run_ids, None, records, costs, notes)


def _of_metric(found: FileResults, metric: str | None, source: str) -> FileResults:
    if metric is not None:
        _refuse(found.matrix, metric, source)
    return found


def _refuse(matrix: Matrix, metric: str, source: str) -> None:
    if set(matrix.metrics) != {metric}:
        raise UserError(
            f"{source} holds {', '.join(dict.fromkeys(matrix.metrics))} and no predictions, so {metric} cannot be "
            "computed from it; give the results folder of the runs, with its cells/ and predictions/"
        )
