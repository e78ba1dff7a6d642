"""Finished runs as what they made: `load_model` and `load_predictions` of the public API."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal, NamedTuple

from mobilebench.analysis.kept import KeptPredictions
from mobilebench.analysis.named_runs import records_of
from mobilebench.config.suite import Cell, parse_suite
from mobilebench.datasets.packing.packed import read_meta
from mobilebench.errors import UserError
from mobilebench.evaluation.predictions import load_predictions as read_predictions
from mobilebench.execution.exported import is_exported, read_exported, weights_of
from mobilebench.execution.model_file import MODEL, WEIGHTS, describe, read_model_file, stored_weights, weights_in
from mobilebench.models.names import split
from mobilebench.models.weights.files import fetched_path
from mobilebench.runs.events import Finish
from mobilebench.runs.journal import Journal
from mobilebench.runs.records import PREDICTIONS
from mobilebench.system.files import read_text, write_bytes
from mobilebench.system.layout import PACKED, RESULTS, STATE
from mobilebench.system.provenance import SUITE
from mobilebench.tracking import Tracker
from mobilebench.tracking.reader import record_from

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mobilebench.evaluation.predictions import Predictions
    from mobilebench.execution.classifier import TrainedModel
    from mobilebench.execution.model_file import ModelFile
    from mobilebench.runs.records import Record

_RUN = "run:"
_FORMS = (
    "expected run:ID, EXPERIMENT/MODEL/DATASET, EXPERIMENT/MODEL/DATASET/SEED, a folder with the artifacts of a run or "
    "its model.safetensors, or what `mobilebench export` wrote as safetensors"
)


class TrainedFiles(NamedTuple):
    """A finished run's network as files, and what is known of the run."""

    made: ModelFile
    weights: Path
    record: Record | None
    """Its record; None for a folder of artifacts alone. The run id of one that was never delivered is ""."""
    run_id: str | None
    """MLflow's id of its run; None for a folder that is of no delivered journal."""


class _Trained(NamedTuple):
    """What is known of a run whose network is wanted, for one that kept no model.json."""

    cell: Cell
    data_digest: str
    network: str


def load_model(what: str | Path) -> TrainedModel:
    """Return a finished run's network in eval mode, which takes plain images and returns logits [N, classes].

    Args:
        what: `run:ID`, an MLflow run; `EXPERIMENT/MODEL/DATASET`, the finished cell of the lowest seed, or with
            `/SEED` that one, of the tracking store that `MLFLOW_TRACKING_URI` or this folder names; or a folder: a
            journal's (`.mobilebench/cells/...`), one with a run's artifacts, or what `mobilebench export` wrote as
            safetensors (a folder, or one file; a run's `model.safetensors` is one such file). A folder that exists goes
            before a cell of the same spelling.

    The network takes a float tensor [N, 3, R, R] in [0, 1], or PIL images of any size, and normalises them itself. It
    has `classes` (names in the order of the logits), `resolution` (R, pixels), `metric` (an id) and `run_id`.
    Raises UserError where there is no such finished run, its weights are gone, or its network cannot be built here.
    """
    from mobilebench.execution.classifier import trained_model

    with trained_files(what) as found:
        return trained_model(found.made, found.weights, found.run_id)


@contextmanager
def trained_files(what: str | Path) -> Iterator[TrainedFiles]:
    """Yield a finished run's network as files, by any name that `load_model` takes; raises as it does.

    Files of a store on another machine are there until the block ends.
    """
    path = Path(what)
    if path.suffix == ".safetensors" and not path.exists():
        raise UserError(f"there is no file {path}; {_FORMS}")
    if is_exported(path):
        said = read_exported(path)
        yield TrainedFiles(said.made, weights_of(path), said.record, said.record.run_id if said.record else None)
        return
    if (folder := _folder(what)) is not None:
        yield _of_folder(folder)
        return
    tracker = Tracker()
    record = _record(str(what), tracker)
    with TemporaryDirectory() as temporary:
        weights = _weights(tracker, record, Path(temporary))
        if weights is None:
            raise UserError(
                f"run {record.run_id} has no artifact {WEIGHTS} at {tracker.run(record.run_id).artifact_uri}, and this "
                "folder has no journal of it. Bring that place back, or load it in the folder it was trained in"
            )
        kept = _artifact(tracker, record, MODEL, Path(temporary))
        if kept is not None:
            made = read_model_file(kept)
        else:
            trained = _Trained(record.cell, record.data_digest, record.network)
            made = _reconstructed(trained, _artifact(tracker, record, SUITE, Path(temporary)))
        yield TrainedFiles(made, weights, record, record.run_id)


def load_predictions(what: str | Path, split: Literal["test", "val"] = "test") -> Predictions:
    """Return what a finished run's network said of every image of a split.

    Args:
        what: as `load_model` takes it, or the path of an .npz file of predictions.
        split: `test` or `val`; of a file it is whichever the file is of.

    Raises UserError where there is no such finished run, or it kept no predictions of the split.
    """
    if Path(what).suffix == ".npz":
        return read_predictions(Path(what))
    if (folder := _folder(what)) is not None:
        return read_predictions(_artifacts(folder) / PREDICTIONS / f"{split}.npz")
    tracker = Tracker()
    record = _record(str(what), tracker)
    kept = KeptPredictions(tracker, RESULTS)
    found = kept.of(record, split)
    if found is None:
        known = ", ".join(record.predictions) or "none"
        why = kept.why(record, split) or f"it kept those of: {known}"
        raise UserError(f"run {record.run_id} ({record.cell.name}) has no predictions on {split}: {why}")
    return found


def fetch_run(model_id: str) -> Path:
    """Lay the weights of the run that a model's id names (`ID@run:RUN`) where training looks for them; return the file.

    Raises UserError where there is no such finished run or its weights are gone.
    """
    final = fetched_path(model_id)
    if final.is_file():
        return final
    tracker = Tracker()
    record = _record(split(model_id).weights, tracker)
    with TemporaryDirectory() as temporary:
        weights = _weights(tracker, record, Path(temporary))
        made = _artifact(tracker, record, MODEL, Path(temporary))
        if weights is None:
            raise UserError(f"run {record.run_id} has no artifact {WEIGHTS}, and this folder has no journal of it")
        if made is not None:
            write_bytes(final.with_suffix(".json"), made.read_bytes())
        return write_bytes(final.with_suffix(weights.suffix), weights.read_bytes(), durable=True)


def _folder(what: str | Path) -> Path | None:
    """Return the folder that is meant, None where a run is."""
    path = Path(what)
    if not isinstance(what, Path) and (what.startswith(_RUN) or not path.is_dir()):
        return None
    if weights_in(_artifacts(path)) is None:
        state = "its training has not ended" if (path / "journal.jsonl").exists() else "it is of no finished run"
        raise UserError(f"{path} has no {WEIGHTS}: {state}; {_FORMS}")
    return path


def _artifacts(folder: Path) -> Path:
    return journal.artifacts if (journal := Journal(folder)).path.exists() else folder


def _of_folder(folder: Path) -> TrainedFiles:
    journal = Journal(folder) if (folder / "journal.jsonl").exists() else Journal(folder.parent)
    start, finish, artifacts = journal.start, journal.last(Finish), _artifacts(folder)
    weights, run_id, record = weights_in(artifacts) or artifacts / WEIGHTS, None, None
    if start is not None and finish is not None:
        run_id = journal.delivery.run_id
        record = record_from(run_id or "", "FINISHED", finish.time, start.tags | finish.tags, finish.metrics)
    if (artifacts / MODEL).exists():
        return TrainedFiles(read_model_file(artifacts / MODEL), weights, record, run_id)
    if start is None:
        raise UserError(
            f"{folder} has {weights.name} and no {MODEL}, which an earlier version did not keep; load the run instead, "
            "as run:ID, where its dataset is packed"
        )
    tags = start.tags
    cell = Cell(tags["model"], tags["dataset"], int(tags["seed"]))
    suite = artifacts / SUITE
    trained = _Trained(cell, tags["data_digest"], tags.get("network", ""))
    return TrainedFiles(_reconstructed(trained, suite if suite.exists() else None), weights, record, run_id)


def _reconstructed(run: _Trained, suite: Path | None) -> ModelFile:
    """Return what a run of an earlier version did not keep of its network, from its suite and the packed data here."""
    if suite is None:
        raise UserError(f"the run of {run.cell.name} kept neither {MODEL} nor {SUITE}: it cannot be built from them")
    kept = parse_suite(read_text(suite, "the JSON of a suite"), f"{SUITE} of {run.cell.name}")
    meta = read_meta(PACKED / run.cell.dataset)
    if meta.data_digest != run.data_digest:
        raise UserError(
            f"{run.cell.name} was trained on {run.cell.dataset} {run.data_digest[:12]}, here is {meta.data_digest[:12]}"
            f": its classes and statistics may differ, and an earlier version did not keep them. Bring back that data"
        )
    return describe(run.cell, kept.protocol.recipe_for(run.cell.model, run.cell.dataset), meta, run.network)


def _artifact(tracker: Tracker, record: Record, name: str, folder: Path) -> Path | None:
    """Return an artifact of a run from the store, else from its journal in this folder, else None."""
    here = Journal(STATE / record.identity.name).artifacts / name
    return tracker.artifact(record.run_id, name, folder) or (here if here.is_file() else None)


def _weights(tracker: Tracker, record: Record, folder: Path) -> Path | None:
    """Return the weights of a run likewise."""
    return stored_weights(tracker, record.run_id, folder) or weights_in(Journal(STATE / record.identity.name).artifacts)


def _record(what: str, tracker: Tracker) -> Record:
    """Return the finished run that is meant; raises UserError naming what there is."""
    if what.startswith(_RUN):
        record = tracker.run(what.removeprefix(_RUN)).record
        if record.status != "FINISHED":
            raise UserError(f"run {record.run_id} ({record.cell.name}) is {record.status}; expected a finished run")
        return record
    parts = what.split("/")
    seed = int(parts.pop()) if len(parts) > 3 and parts[-1].isdecimal() else None
    if len(parts) < 3 or not all(parts):
        raise UserError(f"{what!r} is no folder here and no name of a run; {_FORMS}")
    dataset, model, experiment = parts.pop(), parts.pop(), "/".join(parts)
    records = records_of(experiment, tracker)
    found = sorted((cell.seed, cell) for cell in records if (cell.model, cell.dataset) == (model, dataset))
    chosen = next((cell for number, cell in found if seed in {None, number}), None)
    if chosen is None:
        seeds = ", ".join(str(number) for number, _ in found)
        there = f"seeds {seeds}" if found else _cells(list(records))
        raise UserError(
            f"experiment {experiment!r} has no finished run of {'/'.join(what.split('/')[-3:])}; it has {there}"
        )
    return records[chosen]


def _cells(cells: list[Cell]) -> str:
    found = {"models": [cell.model for cell in cells], "datasets": [cell.dataset for cell in cells]}
    return " and ".join(f"{kind} {', '.join(sorted(set(names)))}" for kind, names in found.items())
