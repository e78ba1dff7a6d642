"""The predictions that runs kept, wherever they are, and the values of metrics that they give.

They are this project's files, or the tracking store's, fetched once.
"""

from __future__ import annotations

import math
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mobilebench.datasets.packing.packed import read_meta
from mobilebench.errors import TrackingError, UserError
from mobilebench.evaluation.metrics import get_metric, is_packaged, metric_of
from mobilebench.evaluation.predictions import PredictionsError, load_predictions
from mobilebench.runs.records import PREDICTIONS, predictions_path
from mobilebench.runs.score_check import RecordsError, name_cells
from mobilebench.scoring.measures import TOP1
from mobilebench.system.files import write_bytes
from mobilebench.system.layout import FETCHED, PACKED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from mobilebench.config.suite import Cell
    from mobilebench.evaluation.metrics import Metric
    from mobilebench.evaluation.predictions import Predictions
    from mobilebench.runs.records import Record
    from mobilebench.tracking import Tracker


class KeptPredictions:
    """Predictions by record. What is fetched from a store is kept by its digest, so it is fetched once."""

    def __init__(self, tracker: Tracker | None, results: Path | None, cache: Path = FETCHED) -> None:
        """results: this project's results folder, None to look in the store alone; tracker: None to fetch nothing."""
        self._tracker, self._results, self._cache = tracker, results, cache
        self._read = lru_cache(maxsize=16)(load_predictions)  # one dataset's are used several times in a row
        self._lost: dict[tuple[Cell, str], str] = {}
        self._edited: dict[str, list[Cell]] = {}

    def of(self, record: Record, split: str = "test") -> Predictions | None:
        """Return a run's predictions of a split; None where it kept none, or they cannot be had (see `why`)."""
        digest = record.predictions.get(split)
        if digest is None:
            return None
        fetched = self._cache / f"{digest}.npz"
        here = [predictions_path(self._results, record.cell, split)] if self._results is not None else []
        reasons = []
        for path in (*here, fetched):
            if path.exists():
                try:
                    return self._read(path, digest)
                except PredictionsError as error:
                    reasons.append(str(error))
        if self._tracker is not None:
            try:
                return self._fetch(self._tracker, record, split, fetched)
            except (TrackingError, PredictionsError, OSError) as error:
                reasons.append(str(error))
        self._lost[record.cell, split] = "; ".join(reasons)
        return None

    def _fetch(self, tracker: Tracker, record: Record, split: str, place: Path) -> Predictions:
        with TemporaryDirectory() as folder:
            found = tracker.artifact(record.run_id, f"{PREDICTIONS}/{split}.npz", Path(folder))
            if found is None:
                raise PredictionsError(f"run {record.run_id} lacks its predictions in {tracker.store}")
            predictions = load_predictions(found, record.predictions[split])
            with suppress(OSError):  # only speed is lost
                write_bytes(place, found.read_bytes())
        return predictions

    def why(self, record: Record, split: str = "test") -> str:
        """Return why predictions that were asked for could not be had, in words; "" where they are just not here."""
        return self._lost.get((record.cell, split), "")

    @property
    def problems(self) -> tuple[str, ...]:
        """Plain sentences on the predictions that could not be had, the runs of a dataset together, with what to do.

        What needs those of all runs of a dataset asks for no more after the first that cannot be had.
        """
        lost: dict[str, dict[Cell, str]] = {}
        for (cell, _), reason in self._lost.items():
            if reason:
                lost.setdefault(cell.dataset, {})[cell] = reason
        return tuple(
            f"predictions of runs on {dataset} cannot be had ({name_cells(reasons)}, and maybe others): "
            f"{next(iter(reasons.values()))}. `mobilebench train {dataset}` brings back those that a journal in this "
            "folder or the tracking store has, and with --redo makes them again"
            for dataset, reasons in lost.items()
        )

    def by_cell(self, records: Iterable[Record]) -> Callable[[tuple[str, str, int]], Predictions | None]:
        """Return a function of (model, dataset, seed): the predictions of these records' cells."""
        known = {(r.model, r.dataset, r.seed): r for r in records}
        return lambda key: self.of(known[key]) if key in known else None

    def value(self, record: Record, metric: Metric) -> float:
        """Return a metric of a finished run: as its run recorded it, else of the predictions that it kept.

        A metric from outside is computed anew where the run kept predictions, because its code may have changed since,
        and its noise is computed by the present code; `notes` then names the runs that recorded another value. Raises
        UserError where neither can be had, saying why, and MetricError where it is undefined.
        """
        recorded = record.metrics.get(metric.id)
        if recorded is not None and is_packaged(metric):
            return recorded
        predictions = self.of(record)
        if predictions is None and recorded is not None:
            return recorded
        if predictions is None:
            is_lost = "its predictions are not here" if record.predictions else "it kept no predictions"
            why = self.why(record) or is_lost
            others = ", ".join(record.metrics) or "nothing"
            raise UserError(f"run {record.run_id} has no {metric.id}: it recorded {others}, and {why}")
        value = metric.value(predictions)
        if recorded is not None and not _is_same(recorded, value, metric):
            self._edited.setdefault(metric.id, []).append(record.cell)
        return value

    @property
    def notes(self) -> tuple[str, ...]:
        """Plain sentences on values that are not those which their runs recorded."""
        return tuple(
            f"{name} of {len(cells)} runs ({name_cells(cells)}) is not what they recorded: the metric is from an "
            "installed package, and its code has changed since. Shown is what it gives now for the kept predictions"
            for name, cells in self._edited.items()
        )


def _is_same(recorded: float, value: float, metric: Metric) -> bool:
    """Return whether a recorded value is that of the kept predictions, whose logits are rounded to 16 bits."""
    rounding = 1e-9 if metric.needs == "labels" else 1e-3
    return math.isclose(recorded, value, rel_tol=rounding, abs_tol=rounding)


def metrics_of(records: Iterable[Record], asked: str | None, cells: Iterable[Cell]) -> dict[str, Metric]:
    """Return the metric of each dataset of a grid: the one asked for, else what its packed data here or its runs say.

    Raises RecordsError where the runs on a dataset disagree.
    """
    said: dict[str, set[str]] = {}
    for record in records:
        said.setdefault(record.dataset, set()).add(record.metric)
    found = {}
    for dataset in dict.fromkeys(cell.dataset for cell in cells):
        names = {asked} if asked else _own_metric(dataset) or said.get(dataset, {TOP1})
        if len(names) > 1:
            raise RecordsError(
                f"the runs on {dataset} were read by {' and by '.join(sorted(names))}; say which is meant with --metric"
            )
        found[dataset] = get_metric(names.pop())
    return found


def _own_metric(dataset: str) -> set[str]:
    try:
        meta = read_meta(PACKED / dataset)
    except UserError:
        return set()
    return {metric_of(meta.metric, meta.target).id}


def values_of(records: Iterable[Record], metrics: Mapping[str, Metric], kept: KeptPredictions) -> dict[Cell, float]:
    """Return the value of each record's metric. Raises RecordsError naming every cell that it cannot be had of."""
    found, problems = {}, []
    of_earlier, not_for = False, dict[str, str]()
    for record in records:
        try:
            found[record.cell] = kept.value(record, metrics[record.dataset])
        except UserError as error:
            problems.append(f"  {record.cell.name}: {error}")
            of_earlier |= not record.predictions
            predictions = kept.of(record)
            if predictions is not None and predictions.target not in metrics[record.dataset].targets:
                not_for[record.dataset] = metrics[record.dataset].id
    if problems:
        lines = "\n".join(problems)
        # Equal identity, equal result: the same numbers again, and the run that is replaced stays in the store.
        advice = (
            "\n`mobilebench train DATASET --redo` trains cells again that kept no predictions" if of_earlier else ""
        )
        others = [name for name in metrics if name not in not_for]
        if not_for and others:
            name = next(iter(not_for.values()))
            advice += (
                f"\n{name} is for {', '.join(others)} alone. Without --metric every dataset is read by its own: "
                f"`metric: {name}` for one in params.yaml (data_sources), or `mobilebench inspect MODEL DATASET`, "
                "shows it there"
            )
        raise RecordsError(f"{len(problems)} cells have no value to be scored:\n{lines}{advice}")
    return found
