"""What one cell got right and wrong: per class, which class for which, how sure it was, and its worst mistakes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.analysis.kept import KeptPredictions
from mobilebench.config.suite import select_cells
from mobilebench.datasets.packing.packed import open_packed
from mobilebench.errors import UserError
from mobilebench.evaluation.metrics import BINS, confidence_bins, default_metric
from mobilebench.evaluation.predictions import PredictionsError
from mobilebench.evaluation.target import ONE_CLASS
from mobilebench.runs.records import read_result, result_path
from mobilebench.system.layout import PACKED, RESULTS
from mobilebench.system.names import did_you_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mobilebench.config.suite import Cell, Suite
    from mobilebench.datasets.packing.packed import Packed
    from mobilebench.evaluation.predictions import Predictions
    from mobilebench.runs.records import Record
    from mobilebench.tracking import Tracker

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


@dataclass(frozen=True)
class ClassRow:
    """How one class fared. Shares are fractions, NaN where there is nothing to take a share of."""

    name: str
    images: int
    """Images of the class in the split."""
    predicted: int
    """Images that were said to be of it."""
    recall: float
    """Share of its images that were found."""
    precision: float
    """Share of what was said to be of it that is."""
    f1: float
    """Harmonic mean of the two; 0 where nothing is right, NaN where the class is neither there nor predicted."""
    mistaken_for: str
    """The class that its missed images were most often taken for, with how many; "" where none was missed."""


@dataclass(frozen=True)
class Mistake:
    """One image whose class was not found."""

    image: int
    """Its place in the predictions."""
    truth: str
    said: str
    probability: float
    """What the network gave the class that it said."""


@dataclass(frozen=True, eq=False)
class Reliability:
    """How often a confident network is right, in BINS bins of equal width of the predicted class's probability."""

    confidence: Floats
    """[B] mean probability of the images of each bin, NaN where it is empty."""
    accuracy: Floats
    """[B] share of them that is right."""
    images: Ints
    """[B] images of each bin."""


@dataclass(frozen=True, eq=False)
class Inspected:
    """A cell's record, its predictions on a split, its classes' names and, where they are here, its images."""

    record: Record
    split: str
    predictions: Predictions
    classes: tuple[str, ...]
    packed: Packed | None

    @property
    def own_metrics(self) -> tuple[str, ...]:
        """Ids of the metrics that its data is read by: as it is packed here, and as it was when the run ended."""
        meta = None if self.packed is None else self.packed.meta
        now = () if meta is None else (meta.metric or default_metric(meta.target).id,)
        return tuple(dict.fromkeys((*now, self.record.metric)))


def confusion(predictions: Predictions) -> Ints:
    """Return [C, C] counts: rows are the truth, columns what was said.

    Raises UserError where images have several labels.
    """
    if predictions.target not in ONE_CLASS:
        raise UserError("a confusion matrix needs one class per image; these images have several labels each")
    classes = predictions.classes
    pairs = predictions.targets.astype(np.int64) * classes + predictions.predicted.astype(np.int64)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def per_class(predictions: Predictions, classes: tuple[str, ...]) -> list[ClassRow]:
    """Return a row per class, in the order of the classes."""
    if predictions.target in ONE_CLASS:
        table = confusion(predictions)
        right, images, said = table.diagonal(), table.sum(axis=1), table.sum(axis=0)
    else:
        table = None
        right = (predictions.targets & predictions.predicted).sum(axis=0)
        images, said = predictions.targets.sum(axis=0), predictions.predicted.sum(axis=0)
    rows = []
    for number, name in enumerate(classes):
        hits, n, p = int(right[number]), int(images[number]), int(said[number])
        rows.append(
            ClassRow(
                name,
                n,
                p,
                hits / n if n else math.nan,
                hits / p if p else math.nan,
                2 * hits / (n + p) if n + p else math.nan,
                "" if table is None else _mistaken_for(table[number], number, classes),
            )
        )
    return rows


def _mistaken_for(row: Ints, own: int, classes: tuple[str, ...]) -> str:
    others = row.copy()
    others[own] = 0
    most = int(others.argmax())
    return f"{classes[most]} ({others[most]})" if others[most] else ""


def worst_mistakes(predictions: Predictions, classes: tuple[str, ...], most: int = 24) -> list[Mistake]:
    """Return the mistakes that the network was surest of, surest first.

    Of several labels, an image counts once, by the class it was most wrongly sure of.
    """
    probability = predictions.probabilities
    if predictions.target in ONE_CLASS:
        given = probability[np.arange(len(predictions)), predictions.predicted]
        wrong = predictions.predicted != predictions.targets
    else:
        wrongly = np.where(predictions.predicted != predictions.targets, np.abs(probability - 0.5), -1.0)
        given, wrong = wrongly.max(axis=1), (wrongly >= 0).any(axis=1)
    order = [int(i) for i in np.argsort(-given, kind="stable") if wrong[i]][:most]
    return [_mistake(predictions, classes, i) for i in order]


def _mistake(predictions: Predictions, classes: tuple[str, ...], image: int) -> Mistake:
    probability = predictions.probabilities[image]
    if predictions.target in ONE_CLASS:
        said, truth = int(predictions.predicted[image]), int(predictions.targets[image])
        return Mistake(image, classes[truth], classes[said], float(probability[said]))
    wrongly = np.where(predictions.predicted[image] != predictions.targets[image], np.abs(probability - 0.5), -1.0)
    number = int(wrongly.argmax())
    is_there = bool(predictions.targets[image, number])
    words = ("{} is there", "no {}") if is_there else ("no {}", "{} is there")
    given = probability[number] if not is_there else 1 - probability[number]
    return Mistake(image, words[0].format(classes[number]), words[1].format(classes[number]), float(given))


def reliability(predictions: Predictions) -> Reliability:
    """Return the bins of a reliability diagram. Raises UserError where images have many labels."""
    if predictions.target not in ONE_CLASS:
        raise UserError("a reliability diagram needs one class per image; these images have several labels each")
    given, bins = confidence_bins(predictions)
    right = predictions.predicted == predictions.targets
    images = np.bincount(bins, minlength=BINS)
    filled = np.where(images > 0, images, np.nan)
    return Reliability(
        np.bincount(bins, weights=given, minlength=BINS) / filled,
        np.bincount(bins, weights=right, minlength=BINS) / filled,
        images,
    )


def cell_meant(suite: Suite, what: str, dataset: str | None, seed: int | None, command: str = "inspect") -> Cell:
    """Return the cell that a person names: a model and a dataset, or in one word, with dots or slashes between.

    It is of the suite's first seed where none is said. Raises UserError naming what there is, and the command.
    """
    if dataset is not None:
        return select_cells(suite, dataset, (what,), () if seed is None else (seed,))[0]
    for cell in suite.cells():
        with_seed = {cell.name, f"{cell.model}/{cell.dataset}/{cell.seed}"}
        without = {cell.name.rpartition(".")[0], f"{cell.model}/{cell.dataset}"}
        if what in (with_seed | without if seed in {None, cell.seed} else set()):
            return cell
    if what in suite.models:
        raise UserError(
            f"{what} is a model, and a cell is one on a dataset: write `mobilebench {command} {what} DATASET`, of "
            f"{', '.join(suite.datasets)}"
        )
    names = [cell.name for cell in suite.cells()]
    hint = did_you_mean(what, [*suite.models, *names])
    raise UserError(
        f"{what!r} is no MLflow run (32 hex digits) and no cell or model of params.yaml{f'; {hint}' if hint else '.'} "
        f"Cells are written as {names[0]}, or as a model and a dataset"
    )


def folder_name(cell: Inspected, run_id: str | None) -> str:
    """Return the name of the folder that an inspection is written to: no two things share one.

    run_id: of the run that was asked for by its id, which may be another than the cell's in this project.
    """
    parts = (cell.record.cell.name, run_id or "", "" if cell.split == "test" else cell.split)
    return ".".join(part for part in parts if part)


def open_cell(cell: Cell, split: str) -> Inspected:
    """Return a finished cell of this project.

    Raises UserError for a cell without a result, PredictionsError where its predictions are not here.
    """
    record = read_result(result_path(RESULTS, cell))
    if record is None:
        raise UserError(
            f"{cell.name} has no result here; run `mobilebench train {cell.dataset} --model {cell.model}` first"
        )
    return _inspected(record, split, KeptPredictions(None, RESULTS))


def open_run(tracker: Tracker, run_id: str, split: str) -> Inspected:
    """Return a run with its predictions, which are this folder's where it has them, else the tracking store's.

    Raises TrackingError or PredictionsError.
    """
    return _inspected(tracker.run(run_id).record, split, KeptPredictions(tracker, RESULTS))


def _inspected(record: Record, split: str, kept: KeptPredictions) -> Inspected:
    predictions = kept.of(record, split)
    if predictions is None:
        raise PredictionsError(
            f"run {record.run_id} ({record.cell.name}) has no predictions on {split}: "
            f"{kept.why(record, split) or _why_none(record, split)}"
        )
    packed = _packed(record)
    names = packed.meta.classes if packed is not None else tuple(str(number) for number in range(predictions.classes))
    return Inspected(record, split, predictions, names, packed)


def _why_none(record: Record, split: str) -> str:
    if split in record.predictions:
        return f"their file is not here; `mobilebench train {record.dataset}` fetches it from the tracking server"
    if record.predictions:
        return f"its data has no {split} split; it kept those of {', '.join(record.predictions)}"
    if record.status != "FINISHED":
        return f"it is {record.status}"
    return "it was trained before predictions were kept"


def _packed(record: Record) -> Packed | None:
    """Return the packed data that a run was trained on, None where this folder has other data or none."""
    try:
        packed = open_packed(PACKED / record.dataset)
    except UserError:
        return None
    return packed if packed.meta.data_digest == record.data_digest else None
