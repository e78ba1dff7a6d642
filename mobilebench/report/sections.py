"""The report as a list of sections; the Markdown and the HTML page are two renderings of the same list."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.analysis.origins import mixture
from mobilebench.errors import UserError
from mobilebench.evaluation.metrics import get_metric
from mobilebench.report import analysis, figures, plots
from mobilebench.report.aggregations import aggregation_findings
from mobilebench.report.analysis import between
from mobilebench.report.classes import class_tables
from mobilebench.report.devices import device_findings
from mobilebench.report.domains import domains_table
from mobilebench.report.imagenet import imagenet_findings
from mobilebench.report.low_data import low_data_findings
from mobilebench.report.notes import result_notes, score_notes
from mobilebench.report.ranking import ranking_table
from mobilebench.report.table import Field, Table, number, text
from mobilebench.scoring.measures import dataset_heads, heading
from mobilebench.scoring.ranking import rank_models
from mobilebench.scoring.subsets import complete
from mobilebench.scoring.uncertainty import without_test_noise
from mobilebench.scoring.xscore import ROUNDING
from mobilebench.studies.beyond_imagenet.context import Context
from mobilebench.studies.beyond_imagenet.published import PAPER_FOUR
from mobilebench.system.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mobilebench.analysis.origins import Origin
    from mobilebench.report.inputs import ReportInputs
    from mobilebench.report.style import Picture
    from mobilebench.scoring import Matrix, ScoreRow, ScoreTable


@dataclass(frozen=True)
class Section:
    """One heading with its sentences, figures and tables, in that order."""

    name: str
    title: str
    words: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()


def build(inputs: ReportInputs, more: tuple[Section, ...] = (), without: tuple[str, ...] = ()) -> tuple[Section, ...]:
    """Return the sections that these inputs fill, in reading order; the last one names those of a larger grid.

    more: further sections, before these. without: names of sections that are left out.
    """
    found, of_larger = [], []
    for name, title, make in _SECTIONS:
        if name in without:
            continue
        try:
            found.append(make(inputs))
        except UserError:
            if name in _OF_LARGER_GRIDS:
                of_larger.append(f"{title[0].lower()}{title[1:]}".rstrip("?"))
    last = _provenance(inputs)
    if of_larger:
        words = f"With more datasets, models or finished cells the report also shows: {'; '.join(of_larger)}."
        last = replace(last, words=(*last.words, words))
    return (*more, *found, last)


def section(name: str, inputs: ReportInputs) -> Section:
    """Return one section by its name, without making the others; one that cannot be filled says why.

    Raises KeyError for an unknown name.
    """
    if name == "provenance":
        return _provenance(inputs)
    title, make = {known: (title, make) for known, title, make in _SECTIONS}[name]
    try:
        return make(inputs)
    except UserError as reason:
        return Section(name, title, (f"Not shown: {reason}.",))


def proxy_dataset(inputs: ReportInputs) -> str:
    """Return the dataset that stands in for ImageNet: imagenette where present, the first one otherwise."""
    names = inputs.matrix.datasets
    return "imagenette" if "imagenette" in names else names[0]


def _leaderboard(inputs: ReportInputs) -> Section:
    scores = inputs.scores
    if not scores.has_scores:
        return _rankings(inputs)
    caption = (
        f"xScore = G - {scores.lam:g} V (Eq. 1 to 3), {scores.anchors_name} anchors, {len(scores.datasets)} datasets. "
        f"Intervals: {scores.level:.0%}, resampled over {scores.interval_over}. "
        f"{_above_words(scores)}Equal scores share a rank."
    )
    columns = (
        "rank",
        "model",
        "xScore",
        "interval",
        "G",
        "V",
        "rank interval",
        scores.above_next_name,
        "runs per cell",
        *pretrained_head(inputs),
    )
    notes = score_notes(scores, inputs.matrix)
    rows = tuple((*_score_cells(row, notes[row.model]), *pretrained_cell(inputs, row.model)) for row in scores.rows)
    table = Table("leaderboard", caption, columns, rows)
    return Section("leaderboard", "Leaderboard", _score_notes(inputs), (figures.leaderboard(inputs),), (table,))


def _score_notes(inputs: ReportInputs) -> tuple[str, ...]:
    mixed = mixture(inputs.made_with)
    said = (*inputs.scores.notes, *inputs.caveats)
    return (*said, f"{mixed}: see the table under provenance.") if mixed else said


def _rankings(inputs: ReportInputs) -> Section:
    """Return the models of each dataset, best first: what a grid without xScores has to say."""
    matrix = inputs.matrix
    measured = [name for name, counts in zip(matrix.datasets, matrix.counts.T, strict=True) if counts.any()]
    rankings = [rank_models(matrix, name) for name in measured]
    several, notes = len(rankings) > 1, result_notes(inputs)
    verdicts = [f"{ranking.dataset}: {ranking.verdict}" if several else ranking.verdict for ranking in rankings]
    return Section(
        "leaderboard",
        "Which model is best",
        (*verdicts, *_score_notes(inputs)),
        tuple(figures.ranking(ranking, notes) for ranking in rankings),
        tuple(ranking_table(ranking, inputs.costs or (), notes, inputs.pretrained) for ranking in rankings),
    )


def pretrained_head(inputs: ReportInputs) -> tuple[str, ...]:
    """Return the heading of the column on pretraining, () where all models are from scratch."""
    return ("pretrained on",) if inputs.pretrained else ()


def pretrained_cell(inputs: ReportInputs, model: str) -> tuple[Field, ...]:
    """Return the model's field of that column."""
    return (text(inputs.pretrained.get(model, "")),) if inputs.pretrained else ()


def _above_words(scores: ScoreTable) -> str:
    """Say what the column on the order of neighbours is, and what it is not."""
    name = scores.above_next_name
    if scores.source is None:
        return ""
    if scores.source == "seeds+test":
        return f"{name}: probability that the model truly stands above the one below it. "
    return f"{name}: how often it does, given this one kind of noise; no probability that it truly does. "


def _score_cells(row: ScoreRow, note: str) -> tuple[Field, ...]:
    marks = (f" (outside the anchors on {', '.join(row.outside)})" if row.outside else "") + (
        f" (absent: {', '.join(row.absent)})" if row.absent else ""
    )
    return (
        number(row.rank, 0, note=note),
        text(row.model + marks),
        number(row.score, note=note),
        between(row.low, row.high),
        number(row.g, note=note),
        number(row.v, note=note),
        between(row.rank_low, row.rank_high, digits=0),
        number(row.above_next, 2),
        Field("single run", 1.0) if row.seeds == 1 else number(row.seeds, 0),
    )


def _claims(inputs: ReportInputs) -> Section:
    costs = {row.model: row for row in inputs.costs or ()}
    context = Context(
        inputs.matrix,
        inputs.scores,
        {name: row.params for name, row in costs.items()},
        {name: row.macs for name, row in costs.items()},
        inputs.elements or {},
        inputs.element_notes,
        inputs.element_remarks,
    )
    return Section("claims", "The paper's claims", (), (), (analysis.claims_table(context),))


def _matrix(inputs: ReportInputs) -> Section:
    if len(inputs.matrix.datasets) == 1:
        raise UserError("of one dataset the first table holds every result")
    matrix, order = inputs.matrix, [inputs.matrix.models.index(row.model) for row in inputs.scores.rows]
    best = np.max(np.where(np.isnan(matrix.mean), -np.inf, matrix.upward), axis=0)
    notes, columns = result_notes(inputs), range(len(best))
    caption = (
        f"Test results ({heading(matrix.metrics)}), best of each dataset bold. {figures.runs_line(inputs)} "
        f"{_spread_words(inputs)}"
    )
    rows = tuple(
        (
            text(matrix.models[i]),
            *(value_cell(matrix, i, j, notes, strong=bool(matrix.upward[i, j] >= best[j] - ROUNDING)) for j in columns),
        )
        for i in order
    )
    named = dataset_heads(matrix.datasets, matrix.metrics)
    heads = tuple(f"{d} (n={n:,})" if n else d for d, n in zip(named, matrix.n_test, strict=True))
    table = Table("accuracy", caption, ("model", *heads), rows)
    return Section("matrix", "Results by dataset", (), (figures.heat_map(inputs), figures.profiles(inputs)), (table,))


def _spread_words(inputs: ReportInputs) -> str:
    if inputs.matrix.counts.max() > 1:
        return "± is the standard deviation over seeds where there are several."
    if not without_test_noise(inputs.matrix):
        return "± is the 95% half-width from the n test images."
    return "Where the noise over test images is unknown there is no ±."


def value_cell(matrix: Matrix, i: int, j: int, notes: Mapping[tuple[str, str], str], *, strong: bool) -> Field:
    """Return the result of model i on dataset j, with its spread and, of `result_notes`, what it rests on."""
    metric = get_metric(matrix.metrics[j])
    values = matrix.values[i, j]
    values = values[~np.isnan(values)]
    if not values.size:
        return Field("absent", float("nan"))
    mean, half = float(values.mean()), math.nan
    if values.size > 1:
        half = float(values.std(ddof=1))
    elif matrix.counts.max() == 1:
        half = 1.96 * _test_sd(matrix, i, j)
    shown = metric.show(mean) + (f" ±{metric.show(half)}" if math.isfinite(half) else "")
    return Field(shown, mean, strong=strong, note=notes.get((matrix.models[i], matrix.datasets[j]), ""))


def _test_sd(matrix: Matrix, i: int, j: int) -> float:
    """Standard deviation of a single run's result over test images; NaN where it is unknown."""
    if matrix.test_covariance is not None and matrix.paired[j]:
        return math.sqrt(matrix.test_covariance[j, i, i])
    if matrix.datasets[j] in without_test_noise(matrix):
        return math.nan
    p = float(matrix.mean[i, j])
    return math.sqrt(p * (1 - p) / int(matrix.n_test[j]))


def _domains(inputs: ReportInputs) -> Section:
    words = (
        "A mean over the few datasets of a domain describes these datasets, and says little of others of their kind."
    )
    return Section("domains", "Results by domain", (words,), (), (domains_table(inputs),))


def _aggregations(inputs: ReportInputs) -> Section:
    words, charts, tables = aggregation_findings(inputs)
    return Section("aggregations", "Which model is best overall", words, charts, tables)


def _low_data(inputs: ReportInputs) -> Section:
    words, charts, tables = low_data_findings(inputs)
    return Section("low_data", "With fewer train images", words, charts, tables)


def _datasets(inputs: ReportInputs) -> Section:
    words = "Intervals above hold the suite of datasets fixed. Here the datasets themselves are the sample."
    table = analysis.datasets_table(inputs.matrix, inputs.scores, score_notes(inputs.scores, inputs.matrix))
    return Section("datasets", "What hangs on the choice of datasets", (words,), (), (table,))


def _lambda(inputs: ReportInputs) -> Section:
    if not any(row.rank for row in inputs.scores.rows):
        raise UserError("no model has an xScore")
    table = analysis.swaps_table(inputs.scores)
    words = () if table.rows else ("No pair of models changes places for any lambda between 0 and 1.",)
    return Section(
        "lambda", "What hangs on lambda", words, (plots.lambda_plot(inputs.scores),), (table,) if table.rows else ()
    )


def _proxy(inputs: ReportInputs) -> Section:
    name = proxy_dataset(inputs)
    pictures = (figures.figure_1(inputs, name), plots.proxy_scatter(inputs, name))
    table = analysis.proxies_table(inputs.matrix, inputs.scores.lam)
    return Section("proxy", "Does one dataset predict the xScore?", (), pictures, (table,))


def _imagenet(inputs: ReportInputs) -> Section:
    words, pictures, tables = imagenet_findings(inputs)
    return Section("imagenet", "Does ImageNet accuracy predict?", words, pictures, tables)


def _subsets(inputs: ReportInputs) -> Section:
    matrix, lam = complete(inputs.matrix), inputs.scores.lam
    if len(matrix.datasets) < 3:
        raise UserError(f"subsets need 3 or more datasets; this suite has {len(matrix.datasets)}")
    size = 4 if len(matrix.datasets) > 4 else len(matrix.datasets) - 1
    words, (choice, every) = analysis.subset_findings(matrix, size, lam=lam, marked=PAPER_FOUR)
    tables = (choice, every, *analysis.proxy_scores_table(matrix, PAPER_FOUR, lam=lam))
    several = len(matrix.datasets) > 3  # of three datasets there is one size of subset, and nothing to draw
    pictures = (plots.subset_plot(matrix, lam, PAPER_FOUR, "the paper's four"),) if several else ()
    return Section("subsets", "Can fewer datasets stand in for all?", (words,), pictures, tables)


def _cost(inputs: ReportInputs) -> Section:
    known = tuple(row for row in inputs.costs or () if row.model in inputs.matrix.models)
    if not known:
        raise UserError("no cost of any of these models is known; `mobilebench models profile` measures them")
    table = analysis.cost_table(inputs, known)
    what = analysis.merit(inputs)
    pictures = (plots.pareto_plot(inputs, known),) if what and any(row.model in what.upward for row in known) else ()
    return Section("cost", "Cost and accuracy", (), pictures, (table,))


def _devices(inputs: ReportInputs) -> Section:
    words, pictures, tables = device_findings(inputs)
    return Section("devices", "Accuracy against latency on a device", words, pictures, tables)


def _elements(inputs: ReportInputs) -> Section:
    if not inputs.elements:
        raise UserError("; ".join(inputs.element_remarks) or "the architectural elements of these models are not known")
    table = analysis.elements_table(inputs)
    if not table.rows:
        raise UserError("every element is in all of these models or in none")
    words = (
        f"n = {len(inputs.scores.models)} networks, chosen by hand and different in many elements at once: "
        "a difference is an association, and no test here can make it a cause."
    )
    notes = (f"{element}: {note}." for element, found in inputs.element_notes.items() for note in found)
    remarks = (f"Left out: {remark}." for remark in inputs.element_remarks)
    return Section(
        "elements", "Architectural elements", (words, *notes, *remarks), (plots.element_plot(inputs),), (table,)
    )


def _curves(inputs: ReportInputs) -> Section:
    if not any(curve.epochs for curve in inputs.curves):
        raise UserError("no learning curves come with these accuracies")
    return Section("curves", "Learning curves", (), (plots.curves_plot(inputs),))


def _classes(inputs: ReportInputs) -> Section:
    tables, pictures = class_tables(inputs)
    if not tables:
        raise UserError("no dataset has the predictions of all its runs here")
    words = (
        "`mobilebench inspect MODEL DATASET` shows one run: every class, its confusion matrix, how far its "
        "probabilities can be trusted, and the mistakes it was surest of."
    )
    return Section("classes", "Which classes are found", (words,), tuple(pictures), tuple(tables))


_OF_LARGER_GRIDS = ("datasets", "lambda", "proxy", "subsets")
_SECTIONS: tuple[tuple[str, str, Callable[[ReportInputs], Section]], ...] = (
    ("leaderboard", "Leaderboard", _leaderboard),
    ("claims", "The paper's claims", _claims),
    ("matrix", "Results by dataset", _matrix),
    ("domains", "Results by domain", _domains),
    ("aggregations", "Which model is best overall", _aggregations),
    ("low_data", "With fewer train images", _low_data),
    ("classes", "Which classes are found", _classes),
    ("curves", "Learning curves", _curves),
    ("datasets", "What hangs on the choice of datasets", _datasets),
    ("lambda", "What hangs on lambda", _lambda),
    ("proxy", "Does one dataset predict the xScore?", _proxy),
    ("imagenet", "Does ImageNet accuracy predict?", _imagenet),
    ("subsets", "Can fewer datasets stand in for all?", _subsets),
    ("cost", "Cost and accuracy", _cost),
    ("devices", "Accuracy against latency on a device", _devices),
    ("elements", "Architectural elements", _elements),
)


def _provenance(inputs: ReportInputs) -> Section:
    protocol = tuple((text(key), text(value)) for key, value in _flat(inputs.protocol))
    tables = []
    if protocol:
        tables.append(Table("protocol", f"Protocol {inputs.protocol_hash}.", ("setting", "value"), protocol))
    if inputs.dataset_digests:
        digests = tuple((text(name), text(digest)) for name, digest in inputs.dataset_digests.items())
        tables.append(Table("data", "Content digests of the packed datasets.", ("dataset", "digest"), digests))
    if inputs.made_with:
        rows = tuple(_origin_cells(origin) for origin in inputs.made_with)
        header = ("runs", "mobilebench", "torch", "torchvision", "timm", "device")
        tables.append(Table("made_with", "What the runs were made with.", header, rows))
    if inputs.runs:
        rows = tuple(_run_cells(inputs, key) for key in inputs.runs)
        tables.append(
            Table(
                "runs",
                "The run behind each cell.",
                ("model", "dataset", "seed", heading(inputs.matrix.metrics), "run"),
                rows,
            )
        )
    return Section(
        "provenance", "Where the numbers come from", (inputs.source,) if inputs.source else (), (), tuple(tables)
    )


def _origin_cells(origin: Origin) -> tuple[Field, ...]:
    said = (origin.commit, origin.torch, origin.torchvision, origin.timm, origin.device)
    return number(origin.runs, 0), *(text(value) for value in said)


def _run_cells(inputs: ReportInputs, key: tuple[str, str, int]) -> tuple[Field, ...]:
    model, dataset, seed = key
    matrix, run = inputs.matrix, inputs.runs[key]
    column = matrix.datasets.index(dataset)
    value = float(matrix.values[matrix.models.index(model), column, matrix.seeds.index(seed)])
    n = int(matrix.n_test[column])
    note = f"{model} on {dataset}, single run, seed {seed}" + (f"\nn = {counted(n, 'test image')}" if n else "")
    shown = Field(get_metric(matrix.metrics[column]).show(value), value, note=note)
    return text(model), text(dataset), number(seed, 0), shown, text(run.run_id, run.url)


def _flat(settings: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)
