"""Gather what a report shows: the matrix from results/, runs, costs and learning curves from the tracking server."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mobilebench.analysis.caveats import caveats
from mobilebench.analysis.collect import raise_if_stale
from mobilebench.analysis.costs import costs_of
from mobilebench.analysis.devices import BUDGETS, device_figures, sizes_of
from mobilebench.analysis.kept import KeptPredictions
from mobilebench.analysis.origins import origins
from mobilebench.analysis.pretraining import pretraining_of
from mobilebench.analysis.score_files import raise_if_other, read_origin, recomputed
from mobilebench.config.data import DerivedData
from mobilebench.datasets.packing.packed import read_meta
from mobilebench.errors import UserError
from mobilebench.models.weights.imagenet import imagenet_of, networks_of
from mobilebench.report.domains import domains_of
from mobilebench.report.inputs import Curve, ReportInputs, RunRef
from mobilebench.scoring.low_data import LowData
from mobilebench.studies.beyond_imagenet.built import built_elements
from mobilebench.system.files import read_csv
from mobilebench.system.layout import DEVICE_RESULTS, PACKED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mobilebench.analysis.result_files import FileResults
    from mobilebench.config.data import DataSource
    from mobilebench.config.suite import Suite
    from mobilebench.runs.records import Record
    from mobilebench.scoring import Matrix
    from mobilebench.tracking import Tracker


def report_inputs(
    suite: Suite, results: Path, tracker: Tracker, devices: Path | None = None, budgets: Sequence[float] = BUDGETS
) -> ReportInputs:
    """Return the inputs of the report on the suite's scored experiment.

    devices: a file of device figures; None for the project's device_results.csv, where it has one. budgets: see
    `analysis.devices.DeviceFigures`. Raises UserError when `mobilebench score` has not written its tables yet, or wrote
    those of another experiment, and for a damaged file of device figures.
    """
    figures = devices or (DEVICE_RESULTS if DEVICE_RESULTS.exists() else None)
    raise_if_other(read_origin(results), suite)
    matrix, scores = recomputed(results, suite.score)
    scored = set(read_csv(results / "accuracy.csv", ("run_id",))["run_id"])
    taken = [run for run in tracker.runs(suite.experiment) if run.record.run_id in scored]
    records = [run.record for run in taken]
    raise_if_stale(records, suite)
    elements = built_elements(matrix.models)
    kept = KeptPredictions(tracker, results)
    return ReportInputs(
        matrix=matrix,
        scores=scores,
        suite=suite.suite,
        experiment=suite.experiment,
        protocol_hash=suite.protocol.hash,
        protocol=asdict(suite.protocol),
        dataset_digests={record.dataset: record.data_digest for record in records},
        made_with=origins(run.tags for run in taken),
        runs={(r.model, r.dataset, r.seed): RunRef(r.run_id, tracker.run_url(r.run_id)) for r in records},
        curves=tuple(_curve(tracker, record) for record in records),
        costs=costs_of(results, records),
        devices=device_figures(figures, matrix.models, sizes_of(suite), budgets) if figures else None,
        pretrained=pretraining_of(records),
        imagenet=imagenet_of(networks_of(suite), results),
        low_data=_low_data(matrix, suite.data_sources),
        caveats=caveats(records),
        elements=elements.flags if any(elements.flags.values()) else None,
        element_notes=elements.notes,
        element_remarks=elements.remarks,
        kept=kept.by_cell(records),
        domains=domains_of(matrix.datasets, suite.data_sources),
        classes=_classes(matrix.datasets),
        source=f"Runs of MLflow experiment {suite.experiment!r}.",
    )


def inputs_of_files(
    found: FileResults, devices: Path | None = None, budgets: Sequence[float] = BUDGETS
) -> ReportInputs:
    """Return the inputs of a report on results read from files: no learning curves, no protocol's settings.

    devices: a file of device figures; None for none. Raises UserError where it is damaged.
    """
    elements = built_elements(found.matrix.models)
    origin = found.origin
    return ReportInputs(
        matrix=found.matrix,
        scores=found.score(),
        suite="",
        experiment=found.name,
        protocol_hash=origin.protocol if origin else "",
        protocol={},
        dataset_digests={record.dataset: record.data_digest for record in found.records},
        runs={key: RunRef(run_id) for key, run_id in found.run_ids.items()},
        costs=found.costs or None,
        devices=device_figures(devices, found.matrix.models, None, budgets) if devices else None,
        pretrained=found.pretrained,
        imagenet=imagenet_of({}, found.folder),
        elements=elements.flags if any(elements.flags.values()) else None,
        element_notes=elements.notes,
        element_remarks=elements.remarks,
        kept=found.kept.by_cell(found.records),
        domains=domains_of(found.matrix.datasets, {}),
        source=f"Results of {found.name}, read from files and not checked against a tracking server.",
    )


def _low_data(matrix: Matrix, sources: Mapping[str, DataSource]) -> LowData | None:
    """Return the datasets of which others have fewer train images; None without such, or where they lie elsewhere."""
    shares: dict[str, dict[str, int]] = {}
    for name in matrix.datasets:
        source = sources.get(name)
        if isinstance(source, DerivedData) and source.of in matrix.datasets:
            with suppress(UserError):  # not packed here
                base = shares.get(source.of) or {source.of: _train_images(source.of)}
                shares[source.of] = base | {name: _train_images(name)}
    names = [name for of in shares.values() for name in of]
    return LowData(matrix.select(datasets=names), shares) if names else None


def _train_images(dataset: str) -> int:
    return read_meta(PACKED / dataset).counts["train"]


def keep_report(tracker: Tracker, experiment: str, results: Path, paths: Iterable[Path]) -> str:
    """Keep the written report as artifacts of a run of kind `report`, and return the run's id.

    It is in an experiment of its own, `<experiment>-report`: the table of an experiment's runs is that of its cells.
    """
    with TemporaryDirectory() as folder:
        for path in paths:
            copy = Path(folder) / path.relative_to(results)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        return tracker.log_artifacts(f"{experiment}-report", "report", "report", Path(folder))


def _classes(datasets: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the names of the classes of those datasets that are packed here."""
    found = {}
    for dataset in datasets:
        with suppress(UserError):
            found[dataset] = read_meta(PACKED / dataset).classes
    return found


def _curve(tracker: Tracker, record: Record) -> Curve:
    """Return the curve of a run's metric on test, or on val where test was read once."""
    found = tracker.curves(record.run_id, [f"{split}_{record.metric}" for split in ("test", "val")])
    read = "test" if found[f"test_{record.metric}"] else "val"
    points = found[f"{read}_{record.metric}"]
    split = record.chosen_on or read  # where test chose the epoch, what stands for val are its images
    epochs, values = zip(*points, strict=True) if points else ((), ())
    return Curve(record.model, record.dataset, record.seed, tuple(epochs), tuple(values), record.metric, split)
