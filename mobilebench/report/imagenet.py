"""What ImageNet accuracy says of a measured suite of pretrained models: a panel a dataset, and tables."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.analysis.pretraining import SCRATCH
from mobilebench.errors import UserError
from mobilebench.report.figures import WIDTH, axis, runs_line
from mobilebench.report.notes import result_notes
from mobilebench.report.prediction import RULE, Row, beyond_table, in_order, prediction_table
from mobilebench.report.style import BLUE, INK, LINE, Picture, canvas, styled
from mobilebench.scoring.beyond import beyond
from mobilebench.scoring.correlation import fit
from mobilebench.scoring.prediction import FEWEST, THRESHOLD, Association, Predictor, associations
from mobilebench.system.words import counted

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from mobilebench.report.inputs import ReportInputs
    from mobilebench.report.table import Table

NAME = "ImageNet top-1"
Findings = tuple[tuple[str, ...], tuple[Picture, ...], tuple["Table", ...]]


def imagenet_findings(inputs: ReportInputs) -> Findings:
    """Return sentences, figures and tables on how results go with the ImageNet accuracy of the weights.

    Raises UserError where fewer than 5 pretrained models have a known one.
    """
    values = {
        model: inputs.imagenet[model].percent
        for model in inputs.matrix.models
        if model in inputs.imagenet and inputs.pretrained.get(model, SCRATCH) != SCRATCH
    }
    if len(values) < FEWEST:
        raise UserError(
            f"of {counted(len(values), 'pretrained model')} the ImageNet accuracy is known, and {FEWEST} are needed; "
            "results/imagenet.csv with the columns model and top1 (percent) says it of further ones"
        )
    predictor = Predictor(NAME, values)
    found = [each for each in associations(inputs.matrix, predictor) if math.isfinite(each.r.low)]
    if not found:
        raise UserError(f"no dataset has results of {FEWEST} models whose ImageNet accuracy is known and that differ")
    words = (f"{RULE}.", f"ImageNet top-1: {_sources(inputs, values)}.")
    tables = [
        _table(inputs, found),
        *_above(inputs, predictor),
        *_logits(inputs, predictor),
        *_beyond(inputs, predictor),
    ]
    return words, (_panels(inputs, predictor, found),), tuple(tables)


def _sources(inputs: ReportInputs, values: dict[str, float]) -> str:
    of_source: dict[str, list[str]] = {}
    for model in values:
        of_source.setdefault(inputs.imagenet[model].source.partition(",")[0], []).append(model)
    unknown = [model for model in inputs.matrix.models if model not in values]
    said = [f"{counted(len(models), 'model')} by {source}" for source, models in of_source.items()]
    return ", ".join(said) + (f"; unknown, and left out here: {', '.join(unknown)}" if unknown else "")


def _rows(inputs: ReportInputs, found: list[Association]) -> tuple[Row, ...]:
    return in_order([Row(inputs.domains.get(a.dataset, ""), "", a.dataset, NAME, a) for a in found])


def _table(inputs: ReportInputs, found: list[Association]) -> Table:
    caption = (
        f"Results against {NAME}, n models. Brackets: 95% interval over models. Slope: by least squares, in "
        "points for a point, both of 0 to 100. Noise: share of the variance between models that comes from test "
        f"images and from training (1 point is assumed of single runs). {runs_line(inputs)}"
    )
    return prediction_table("prediction", _rows(inputs, found), caption)


def _above(inputs: ReportInputs, predictor: Predictor) -> list[Table]:
    """Return the same table of the models above 70 % alone, where these are enough and not all."""
    some = predictor.above(THRESHOLD)
    found = [each for each in associations(inputs.matrix, some) if math.isfinite(each.r.low)]
    if not found or len(some.values) == len(predictor.values):
        return []
    caption = f"The same of the models above {THRESHOLD:g}% on ImageNet alone."
    return [prediction_table("prediction_above", _rows(inputs, found), caption)]


def _logits(inputs: ReportInputs, predictor: Predictor) -> list[Table]:
    """Return the same table on logits, where a metric lies between 0 and 1."""
    found = [each for each in associations(inputs.matrix, predictor, logit=True) if math.isfinite(each.r.low)]
    caption = (
        "The same with both axes as logits, ln(p / (1 - p)), p at least half an image away from 0 and 1; slope: logits "
        "a logit."
    )
    return [prediction_table("prediction_logit", _rows(inputs, found), caption)] if found else []


def _beyond(inputs: ReportInputs, predictor: Predictor) -> list[Table]:
    try:
        return [beyond_table("beyond_imagenet", beyond(inputs.matrix, predictor), NAME)]
    except UserError:  # too few datasets or complete models
        return []


@styled()
def _panels(inputs: ReportInputs, predictor: Predictor, found: list[Association]) -> Picture:
    """Return one scatter a dataset, two abreast, with the fitted line and its 95 % band."""
    columns = min(2, len(found))
    rows = -(-len(found) // columns)
    figure, axes = canvas(WIDTH, 0.5 + 2.1 * rows, rows, columns)
    noted = [
        (_panel(inputs, predictor, panel, each), _notes(inputs, predictor, each))
        for panel, each in zip(axes, found, strict=False)
    ]
    for spare in axes[len(found) :]:
        spare.set_visible(False)
    figure.supxlabel(f"{NAME} (%)", fontsize=9)
    caption = (
        f"Results against the {NAME} of the weights, {counted(len(found), 'dataset')}: line and 95% band by least "
        f"squares, r with its 95% interval (Fisher). {runs_line(inputs)}"
    )
    return Picture("imagenet", caption, figure, tuple(noted))


def _panel(inputs: ReportInputs, predictor: Predictor, panel: Axes, found: Association) -> Artist:
    label, shown = axis(inputs, found.dataset)
    x = np.array([predictor.values[model] for model in found.models])
    y = shown[[inputs.matrix.models.index(model) for model in found.models]]
    line, at = fit(x, y), np.linspace(x.min(), x.max(), 60)
    middle, half = line.slope * at + line.intercept, line.band(x, at)
    panel.fill_between(at, middle - half, middle + half, color=LINE, alpha=0.6, linewidth=0)
    panel.plot(at, middle, color=BLUE, linewidth=1.4)
    (points,) = panel.plot(x, y, "o", color=INK, markersize=3.5)
    panel.set_title(f"{found.dataset}, n = {found.n}\nr {found.r.value:.2f} [{found.r.low:.2f}, {found.r.high:.2f}]")
    panel.set_ylabel(label.partition(" on ")[0].removeprefix("test "), fontsize=7.5)
    return points


def _notes(inputs: ReportInputs, predictor: Predictor, found: Association) -> tuple[str, ...]:
    results = result_notes(inputs)
    return tuple(
        f"{results[model, found.dataset]}\n{NAME} {predictor.values[model]:.2f} % ({inputs.imagenet[model].source})"
        for model in found.models
    )
