"""The report's look into the datasets: which classes are found, and which are taken for which."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mobilebench.analysis.inspect import confusion, per_class
from mobilebench.evaluation.target import ONE_CLASS
from mobilebench.report.inspect import MOST_CLASSES, draw_confusion
from mobilebench.report.table import Field, Table, text
from mobilebench.scoring.measures import signs
from mobilebench.system.words import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mobilebench.evaluation.predictions import Predictions
    from mobilebench.report.inputs import ReportInputs
    from mobilebench.report.style import Picture

SHOWN = 12  # classes of a dataset, those found least often


def class_tables(inputs: ReportInputs) -> tuple[list[Table], list[Picture]]:
    """Return a table of the classes found least often, and the best model's confusion matrix, for each dataset.

    Datasets with a cell whose predictions are not here are left out; classes without a known name have their number. Of
    several labels there is no confusion matrix.
    """
    tables, pictures = [], []
    for dataset in inputs.matrix.datasets:
        runs = _predictions(inputs, dataset)
        if not runs:
            continue
        count = next(iter(runs.values()))[0].classes
        names = inputs.classes.get(dataset, tuple(f"class {number}" for number in range(count)))
        tables.append(_table(dataset, names, runs))
        best = _best(inputs, dataset)
        if runs[best][0].target in ONE_CLASS and len(names) <= MOST_CLASSES:
            counts = np.sum([confusion(run) for run in runs[best]], axis=0)
            what = f"{best} on {dataset}, {counted(len(runs[best]), 'run')} of {len(runs[best][0])} test images"
            pictures.append(draw_confusion(f"confusion_{dataset}", what, counts, names))
    return tables, pictures


def _predictions(inputs: ReportInputs, dataset: str) -> dict[str, list[Predictions]]:
    """Return {model: predictions of its runs}; empty where some run of the dataset has none."""
    matrix = inputs.matrix
    found: dict[str, list[Predictions]] = {}
    for m, model in enumerate(matrix.models):
        for s, seed in enumerate(matrix.seeds):
            if np.isnan(matrix.values[m, matrix.datasets.index(dataset), s]):
                continue
            predictions = inputs.kept((model, dataset, seed))
            if predictions is None:
                return {}
            found.setdefault(model, []).append(predictions)
    return found


def _best(inputs: ReportInputs, dataset: str) -> str:
    matrix = inputs.matrix
    column = matrix.mean[:, matrix.datasets.index(dataset)] * signs(matrix.metrics)[matrix.datasets.index(dataset)]
    return matrix.models[int(np.nanargmax(column))]


def _table(dataset: str, names: tuple[str, ...], runs: dict[str, list[Predictions]]) -> Table:
    models = list(runs)
    recall: NDArray[np.float64] = np.array(
        [np.mean([[row.recall for row in per_class(run, names)] for run in runs[model]], axis=0) for model in models]
    )
    images = [row.images for row in per_class(runs[models[0]][0], names)]
    there = [number for number in range(len(names)) if images[number]]
    order = sorted(there, key=lambda number: (recall[:, number].mean(), names[number]))[:SHOWN]
    rows = []
    for number in order:
        low, high = int(recall[:, number].argmin()), int(recall[:, number].argmax())
        rows.append(
            (
                text(names[number]),
                Field(str(images[number]), images[number]),
                _share(recall[:, number].mean(), note=f"n = {counted(images[number], 'test image')} in each run"),
                *(
                    _share(recall[m, number], models[m] if recall[high, number] > recall[low, number] else "")
                    for m in (high, low)
                ),
            )
        )
    some = f"the {len(order)} of {len(there)} classes found least often" if len(order) < len(there) else "every class"
    caption = (
        f"{dataset}: share of a class's test images that is found (recall, %), {some}; mean over "
        f"{counted(len(models), 'model')} and their runs, and the two models that it is highest and lowest for."
    )
    return Table(f"classes_{dataset}", caption, ("class", "images", "mean", "highest", "lowest"), tuple(rows))


def _share(value: float, model: str = "", note: str = "") -> Field:
    return Field(f"{100 * value:.1f}{f' {model}' if model else ''}", float(value), note=note)
