"""The models of one dataset, best first, as a table of the report, with what they cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilebench.evaluation.metrics import get_metric
from mobilebench.report.notes import ranking_note
from mobilebench.report.table import Field, Table, interval_cell, number, text
from mobilebench.scoring.measures import short, title

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mobilebench.evaluation.metrics import Metric
    from mobilebench.models.cost.cost_file import CostRow
    from mobilebench.scoring.ranking import Ranking


def ranking_table(
    ranking: Ranking,
    costs: Sequence[CostRow],
    notes: Mapping[tuple[str, str], str],
    pretrained: Mapping[str, str],
) -> Table:
    """Return the models of a dataset, best first; bold are those that cannot be told apart from the best.

    notes: what each (model, dataset) rests on, as `notes.result_notes` says; pretrained: what each model was pretrained
    on, empty where all are from scratch.
    """
    metric = get_metric(ranking.metric)
    cost = {row.model: row for row in costs}
    latency = any(row.latency_ms for row in costs)
    rows = []
    for row in ranking.rows:
        known = cost.get(row.model)
        note = ranking_note(row, notes[row.model, ranking.dataset])
        rows.append((
            number(row.rank, 0, note=note),
            Field(row.model, row.model, strong=row.may_be_best and ranking.source is not None),
            Field(metric.show(row.value), row.value, note=note),
            _between(metric, row.low, row.high),
            number(row.runs, 0),
            _signed(metric, row.behind),
            _between(metric, row.behind_low, row.behind_high, signed=True),
            number(row.above_next, 2),
            number(row.p_best) if not row.p_best < 0.001 else Field("<0.001", row.p_best),
            number(known.params / 1e6 if known else None, 2),
            number(known.macs / 1e6 if known else None, 1),
            *([_latency(known)] if latency else []),
            *([text(pretrained.get(row.model, ""))] if pretrained else []),
        ))  # fmt: skip
    measured_on = sorted({row.latency_note for row in costs if row.latency_ms and row.latency_note})
    caption = (
        f"{ranking.dataset}, {ranking.n_test:,} test images. Bold: not told apart from the best (p of the best, "
        f"corrected for all models, is {1 - ranking.level:.2f} or more). {ranking.intervals} {ranking.order} "
        f"MACs are multiply-adds.{' Latency: ' + '; '.join(measured_on) + '.' if measured_on else ''}"
    )
    columns = (
        "rank", "model", title(metric), "interval", "runs", "minus the best", "its interval", "P(> next)",
        "p of the best", "params (M)", "MACs (M)", *(["latency (ms)"] if latency else []),
        *(["pretrained on"] if pretrained else []),
    )  # fmt: skip
    return Table(f"ranking_{ranking.dataset}", caption, columns, tuple(rows))


def _latency(cost: CostRow | None) -> Field:
    if cost is None:
        return number(None)
    return number(cost.latency_ms, 1, note=cost.latency_note if cost.latency_ms else "")


def _signed(metric: Metric, value: float) -> Field:
    return Field(("+" if value > 0 else "") + metric.show(value), value)


def _between(metric: Metric, low: float, high: float, *, signed: bool = False) -> Field:
    return interval_cell(f"{short(metric, low, signed=signed)} to {short(metric, high, signed=signed)}", low, high)
