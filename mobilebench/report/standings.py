"""The models of one suite in one table: place, score, intervals, the result on each dataset, and what they cost."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.report.analysis import between
from mobilebench.report.notes import result_notes, score_notes
from mobilebench.report.ranking import ranking_table
from mobilebench.report.sections import pretrained_cell, pretrained_head, value_cell
from mobilebench.report.table import Field, Table, number, text
from mobilebench.scoring.measures import dataset_heads, heading
from mobilebench.scoring.ranking import rank_models, value_intervals
from mobilebench.scoring.xscore import ROUNDING

if TYPE_CHECKING:
    from pandas import DataFrame

    from mobilebench.models.cost.cost_file import CostRow
    from mobilebench.report.inputs import ReportInputs
    from mobilebench.scoring.ranking import Ranking


def rankings_of(inputs: ReportInputs) -> tuple[Ranking, ...]:
    """Return the ranking of each dataset that has a run, where there are no xScores; else nothing."""
    if inputs.scores.has_scores:
        return ()
    matrix = inputs.matrix
    measured = [name for name, counts in zip(matrix.datasets, matrix.counts.T, strict=True) if counts.any()]
    return tuple(rank_models(matrix, name) for name in measured)


def standings(inputs: ReportInputs, rankings: tuple[Ranking, ...], prefix: str) -> tuple[Table, ...]:
    """Return the table of scores, or where there are none one of each ranking; names begin with the prefix."""
    if inputs.scores.has_scores:
        return (_scores(inputs, f"{prefix}_standings"),)
    notes = result_notes(inputs)
    tables = (ranking_table(ranking, inputs.costs or (), notes, inputs.pretrained) for ranking in rankings)
    return tuple(replace(table, name=f"{prefix}_{table.name}") for table in tables)


def _scores(inputs: ReportInputs, name: str) -> Table:
    matrix, scores = inputs.matrix, inputs.scores
    notes, of_scores = result_notes(inputs), score_notes(scores, matrix)
    costs = {row.model: row for row in inputs.costs or ()}
    latency = any(row.latency_ms for row in costs.values())
    best = np.max(np.where(np.isnan(matrix.mean), -np.inf, matrix.upward), axis=0)
    rows = []
    for row in scores.rows:
        i, note = matrix.models.index(row.model), of_scores[row.model]
        rows.append((
            number(row.rank, 0, note=note),
            text(row.model),
            number(row.score, note=note),
            between(row.low, row.high),
            between(row.rank_low, row.rank_high, 0),
            *(
                value_cell(matrix, i, j, notes, strong=bool(matrix.upward[i, j] >= best[j] - ROUNDING))
                for j in range(len(matrix.datasets))
            ),
            *_cost_cells(costs.get(row.model), latency=latency),
            *pretrained_cell(inputs, row.model),
        ))  # fmt: skip
    columns = (
        "rank", "model", "xScore", "interval", "rank interval", *dataset_heads(matrix.datasets, matrix.metrics),
        "params (M)", "MACs (M)", *(["latency (ms)"] if latency else []), *pretrained_head(inputs),
    )  # fmt: skip
    caption = (
        f"xScore = G - {scores.lam:g} V, {scores.anchors_name} anchors; intervals {100 * scores.level:.0f} %, over "
        f"{scores.interval_over}. Datasets: test results ({heading(matrix.metrics)}), the best bold. MACs are "
        'multiply-adds, the "FLOPs" of most papers on small networks.'
    )
    return Table(name, caption, columns, tuple(rows))


def _cost_cells(cost: CostRow | None, *, latency: bool) -> tuple[Field, ...]:
    if cost is None:
        return (number(None),) * (3 if latency else 2)
    spans = [_span(cost.params_range, "parameters"), _span(cost.macs_range, "multiply-adds")]
    found = (number(cost.params / 1e6, 2, note=spans[0]), number(cost.macs / 1e6, 1, note=spans[1]))
    return (*found, *([number(cost.latency_ms, 1, note=cost.latency_note)] if latency else []))


def _span(span: tuple[int, int] | None, what: str) -> str:
    return f"{span[0]:,} to {span[1]:,} {what}, by dataset; here their mean" if span else ""


def standings_frame(inputs: ReportInputs) -> DataFrame:
    """Return one row per model: the columns of `xscore.csv`, value_, low_ and high_ of each dataset, and the costs.

    Values are in the metric's own unit, so a top-1 is a fraction; what is unknown is NaN.
    """
    frame, matrix = inputs.scores.to_frame(), inputs.matrix
    for j, dataset in enumerate(matrix.datasets):
        values = dict(zip(matrix.models, matrix.mean[:, j], strict=True))
        ends = value_intervals(matrix, dataset).ends if matrix.counts[:, j].any() else {}
        frame[f"value_{dataset}"] = [values[model] for model in frame["model"]]
        for k, end in enumerate(("low", "high")):
            frame[f"{end}_{dataset}"] = [ends.get(model, (np.nan, np.nan))[k] for model in frame["model"]]
    costs = {row.model: row for row in inputs.costs or ()}
    known = [costs.get(model) for model in frame["model"]]
    for column in ("params", "macs", "latency_ms"):
        frame[column] = [getattr(row, column) if row else None for row in known]
    return frame.astype({"params": "Int64", "macs": "Int64"})
