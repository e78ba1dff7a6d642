"""What latency is held against: how good each model is, how sure that is, and who may be as good as the best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mobilebench.evaluation.metrics import get_metric
from mobilebench.report.notes import result_notes, score_notes
from mobilebench.scoring.measures import title
from mobilebench.scoring.ranking import rank_models, value_intervals
from mobilebench.scoring.uncertainty import order_probability

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mobilebench.report.inputs import ReportInputs
    from mobilebench.scoring import ScoreTable

SURE = 0.95  # probability from which a model is told apart from another


@dataclass(frozen=True)
class Quality:
    """What latency is held against: xScore, or the results on one dataset."""

    name: str
    """Part of file names."""
    title: str
    """With "%" where it is shown in percent."""
    words: str
    """The same for a sentence."""
    values: Mapping[str, float]
    """{model: the value as a person reads it}, of the models that have one."""
    ends: Mapping[str, tuple[float, float]]
    """{model: (low, high)} of its interval, in the same unit; NaN where no noise is known."""
    sign: int
    """1 where higher is better, else -1."""
    digits: int
    """Behind the point."""
    covered: str
    """A sentence on what the intervals cover."""
    group: str
    """A sentence on what it means not to be told apart."""
    notes: Mapping[str, str]
    """{model: what its value rests on}."""
    tied: Callable[[Sequence[str]], tuple[str, ...] | None]
    """Of some models those that cannot be told apart from the best, it included; None where no noise is known."""

    def show(self, value: float) -> str:
        """Return a value for people."""
        return f"{value:.{self.digits}f}"


def qualities(inputs: ReportInputs) -> list[Quality]:
    """Return xScore, or where no model has one the results on each dataset that has some."""
    if inputs.scores.has_scores:
        return [_of_scores(inputs)]
    read = zip(inputs.matrix.datasets, inputs.matrix.counts.T, strict=True)
    return [_of_dataset(inputs, dataset) for dataset, counts in read if counts.any()]


def _of_scores(inputs: ReportInputs) -> Quality:
    scores = inputs.scores
    rows = [row for row in scores.rows if row.rank is not None]
    order = [row.model for row in rows]
    return Quality(
        name="xscore",
        title="xScore",
        words="xScore",
        values={row.model: row.score for row in rows},
        ends={row.model: (row.low, row.high) for row in rows},
        sign=1,
        digits=3,
        covered=f"Intervals: {scores.level:.0%}, over {scores.interval_over}.",
        group=(
            f"Not told apart: the best stands truly above it with a probability below {SURE:g} "
            f"({scores.above_next_name})."
        ),
        notes=score_notes(scores, inputs.matrix),
        tied=lambda models: _tied_scores(scores, sorted(models, key=order.index)),
    )


def _tied_scores(scores: ScoreTable, models: Sequence[str]) -> tuple[str, ...] | None:
    """Return, of models in the order of their scores, those that the first is not surely above."""
    if scores.draws is None:
        return None
    at = [scores.models.index(model) for model in models]
    surely = [order_probability(scores.draws, at[0], other) >= SURE for other in at[1:]]
    return (models[0], *(model for model, above in zip(models[1:], surely, strict=True) if not above))


def _of_dataset(inputs: ReportInputs, dataset: str) -> Quality:
    matrix = inputs.matrix
    column = matrix.datasets.index(dataset)
    metric, found = get_metric(matrix.metrics[column]), value_intervals(matrix, dataset)
    scale = 100 if metric.percent else 1
    ends = {model: (scale * low, scale * high) for model, (low, high) in found.ends.items()}
    means = dict(zip(matrix.models, matrix.mean[:, column], strict=True))
    notes = {model: note for (model, name), note in result_notes(inputs).items() if name == dataset}

    def tied(models: Sequence[str]) -> tuple[str, ...] | None:
        ranking = rank_models(matrix, dataset, models=models)
        return None if ranking.source is None else tuple(row.model for row in ranking.rows if row.may_be_best)

    return Quality(
        name=dataset,
        title=f"{dataset}, {title(metric)}",
        words=f"{metric.title} on {dataset}",
        values={model: scale * float(means[model]) for model in ends},
        ends=ends,
        sign=1 if metric.higher_is_better else -1,
        digits=2 if metric.percent else 4,
        covered=f"Intervals: {found.level:.0%}, over {found.over}."
        if found.over
        else "No interval: no noise is known.",
        group=(
            "Not told apart: multiple comparisons with the best (Hsu 1981) among the models under the budget, "
            f"{found.level:.0%}."
        ),
        notes=notes,
        tied=tied,
    )
