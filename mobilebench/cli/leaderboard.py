"""The leaderboard as a table on the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.measure import Measurement

from mobilebench.cli.console import console, plain_table
from mobilebench.evaluation.metrics import get_metric
from mobilebench.scoring.measures import dataset_heads, heading, short
from mobilebench.scoring.ranking import rank_models

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

    from mobilebench.evaluation.metrics import Metric
    from mobilebench.models.cost.cost_file import CostRow
    from mobilebench.scoring import Matrix, ScoreTable
    from mobilebench.scoring.ranking import Ranking


def show(
    table: ScoreTable,
    matrix: Matrix,
    title: str,
    costs: Sequence[CostRow] = (),
    *,
    dataset: str | None = None,
    models: Sequence[str] | None = None,
) -> None:
    """Print the scores, or where there are none the models of each dataset, best first, with what they cost.

    dataset: the models of this dataset alone; models: these alone.
    """
    if dataset is not None or not table.has_scores:
        _show_rankings(table, matrix, title, costs, dataset=dataset, models=models)
    else:
        _show_scores(table if models is None else table.among(models), matrix, title)


def _show_scores(table: ScoreTable, matrix: Matrix, title: str) -> None:
    """Print the scores, best first, and below them every model's result per dataset, in the same order."""
    runs = f"n = {len(matrix.seeds)} seeds" if len(matrix.seeds) > 1 else "single run per cell"
    console.print(f"[bold]{title}[/bold]: lambda {table.lam:g}, anchors {table.anchors_name}, {runs}", soft_wrap=True)
    console.print(_scores(table))
    console.print(_values(table, matrix))
    console.print(f"Intervals resample {table.interval_over}.", soft_wrap=True)
    for note in table.notes:
        console.print(f"Note: {note}", soft_wrap=True)


def _show_rankings(
    table: ScoreTable,
    matrix: Matrix,
    title: str,
    costs: Sequence[CostRow],
    *,
    dataset: str | None,
    models: Sequence[str] | None,
) -> None:
    """Print a table for each dataset, or for one."""
    console.print(f"[bold]{title}[/bold]", soft_wrap=True)
    wanted = matrix.select(datasets=[dataset]) if dataset else matrix  # an unknown one is refused
    chosen = set(matrix.models if models is None else models)
    measured = [
        name
        for name, counts in zip(wanted.datasets, wanted.counts.T, strict=True)
        if any(n for model, n in zip(wanted.models, counts, strict=True) if model in chosen)
    ]
    for name in measured:
        ranking = rank_models(matrix, name, models=models)
        console.print()
        runs = {row.runs for row in ranking.rows}
        each = f"{min(runs)} to {max(runs)} runs each" if len(runs) > 1 else _runs(min(runs))
        metric = get_metric(ranking.metric)
        images = f"n = {ranking.n_test:,} test images" if ranking.n_test else "test images of unknown number"
        console.print(f"[bold]{name}[/bold]: test {metric.title}, {images}, {each}", soft_wrap=True)
        _print_ranking(ranking, costs)
        for words in (ranking.verdict, ranking.intervals, ranking.order):
            if words:
                console.print(words, soft_wrap=True)
    notes = sorted({row.latency_note for row in costs if row.latency_ms and row.latency_note})
    if notes:
        console.print(f"Latency: {'; '.join(notes)}.", soft_wrap=True)
    for note in table.notes if dataset is None else ():
        console.print(f"Note: {note}", soft_wrap=True)


def _runs(count: int) -> str:
    return "a single run each" if count == 1 else f"{count} runs each"


def _print_ranking(ranking: Ranking, costs: Sequence[CostRow]) -> None:
    """Print a ranking in one table where the width allows it, else in two."""
    cost = {row.model: row for row in costs if row.model in {row.model for row in ranking.rows}}
    several = len({row.runs for row in ranking.rows}) > 1
    together = [(True, True, False), (False, True, False), (False, True, True), (False, several, True)]
    apart = [(True, True, False), (False, several, False), (False, several, True), (False, False, True)]
    forms = [(*form, cost) for form in together if cost] + [(*form, {}) for form in apart]
    for ranks, runs, tight, beside in forms:
        view = _ranking(ranking, beside, ranks=ranks, runs=runs, tight=tight)
        if Measurement.get(console, console.options.update(max_width=10_000), view).maximum <= console.width:
            break
    console.print(view)
    if cost and not beside:
        console.print(_costs(ranking, cost))


def _ranking(ranking: Ranking, costs: Mapping[str, CostRow], *, ranks: bool, runs: bool, tight: bool) -> Table:
    metric = get_metric(ranking.metric)
    percent = f"{100 * ranking.level:.0f} %"
    heads = [
        *(["rank"] if ranks else []), "model", heading((metric.id,)).replace(", ", "\n"), f"{percent}\ninterval",
        *(["runs"] if runs else []),
        "minus\nbest", f"{percent}\ninterval", "P(>\nnext)", *(_cost_heads(costs) if costs else []),
    ]  # fmt: skip
    view = _table(*heads, whole=True, tight=tight)
    for row in ranking.rows:
        name = f"[bold]{row.model}[/bold]" if row.may_be_best and ranking.source else row.model
        behind = math.isfinite(row.behind_low) or row is not ranking.rows[0]
        view.add_row(
            *([str(row.rank)] if ranks else []), name, metric.show(row.value), _between(metric, row.low, row.high),
            *([str(row.runs)] if runs else []), _behind(metric, row.behind) if behind else "-",
            _between(metric, row.behind_low, row.behind_high, signed=True),
            f"{row.above_next:.2f}" if math.isfinite(row.above_next) else "-",
            *(_cost_cells(costs.get(row.model), costs) if costs else []),
        )  # fmt: skip
    return view


def _behind(metric: Metric, value: float) -> str:
    return ("+" if value > 0 else "") + metric.show(value)


def _between(metric: Metric, low: float, high: float, *, signed: bool = False) -> str:
    if not math.isfinite(low):
        return "-"
    return f"{short(metric, low, signed=signed)} to {short(metric, high, signed=signed)}"


def _costs(ranking: Ranking, costs: Mapping[str, CostRow]) -> Table:
    view = _table("model", *_cost_heads(costs), whole=True)
    for row in ranking.rows:
        view.add_row(row.model, *_cost_cells(costs.get(row.model), costs))
    return view


def _cost_heads(costs: Mapping[str, CostRow]) -> list[str]:
    return ["params\nM", "MACs\nM", *(["ms"] if any(row.latency_ms for row in costs.values()) else [])]


def _cost_cells(row: CostRow | None, costs: Mapping[str, CostRow]) -> list[str]:
    timed = any(other.latency_ms for other in costs.values())
    if row is None:
        return ["-"] * (2 + timed)
    macs = row.macs / 1e6
    latency = [f"{row.latency_ms:.1f}" if row.latency_ms else "-"] if timed else []
    return [f"{row.params / 1e6:.2f}", f"{macs:.0f}" if macs >= 10 else f"{macs:.1f}", *latency]


def _scores(table: ScoreTable) -> Table:
    view = _table("rank", "model", "xScore", f"{100 * table.level:.0f} % interval", table.above_next_name, "G", "V")
    for row in table.rows:
        rank = "-" if row.rank is None else str(row.rank)
        interval = f"{_number(row.low)} to {_number(row.high)}"
        sure = f"{row.above_next:.2f}" if math.isfinite(row.above_next) else "-"
        view.add_row(rank, row.model, _number(row.score), interval, sure, _number(row.g), _number(row.v))
    return view


def _values(table: ScoreTable, matrix: Matrix) -> Table:
    heads = zip(dataset_heads(matrix.datasets, matrix.metrics), matrix.n_test, strict=True)
    view = _table(f"test: {heading(matrix.metrics)}", *(f"{name}\nn = {size:,}" for name, size in heads), first=True)
    metrics = [get_metric(name) for name in matrix.metrics]
    of_model = dict(zip(matrix.models, matrix.mean, strict=True))
    for row in table.rows:
        values = zip(metrics, of_model[row.model], strict=True)
        view.add_row(row.model, *(metric.show(x) if math.isfinite(x) else "absent" for metric, x in values))
    return view


def _table(*columns: str, first: bool = False, whole: bool = False, tight: bool = False) -> Table:
    """Return an empty table; `first`: its first column holds the models' names, whatever it is called.

    whole: no column is broken but the models' names; tight: columns are one blank apart.
    """
    view = plain_table(tight=tight)
    for number, name in enumerate(columns):
        text = name == "model" or (first and not number)
        view.add_column(name, justify="left" if text else "right", no_wrap=text != whole, overflow="fold")
    return view


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "-"
