"""The leaderboard as a table on the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.measure import Measurement

from mobilebench.cli.console import console, plain_table
from mobilebench.cli.json_answer import answer
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

    Column = tuple[str, list[str]]


def show(
    table: ScoreTable,
    matrix: Matrix,
    title: str,
    costs: Sequence[CostRow] = (),
    *,
    dataset: str | None = None,
    models: Sequence[str] | None = None,
    pretrained: Mapping[str, str] | None = None,
) -> None:
    """Print the scores, or where there are none the models of each dataset, best first, with what they cost.

    dataset: the models of this dataset alone; models: these alone; pretrained: what each model was pretrained on.
    """
    answer(
        lam=table.lam,
        anchors=table.anchors_name,
        level=table.level,
        interval_over=table.interval_over,
        models=table.to_frame(),
        cells=matrix.to_frame(),
        pretrained_on=pretrained or {},
    )
    if dataset is not None or not table.has_scores:
        _show_rankings(table, matrix, title, costs, pretrained or {}, dataset=dataset, models=models)
    else:
        _show_scores(table if models is None else table.among(models), matrix, title, pretrained or {})


def _show_scores(table: ScoreTable, matrix: Matrix, title: str, pretrained: Mapping[str, str]) -> None:
    """Print the scores, best first, and below them every model's result per dataset, in the same order."""
    runs = f"n = {len(matrix.seeds)} seeds" if len(matrix.seeds) > 1 else "single run per cell"
    console.print(f"[bold]{title}[/bold]: lambda {table.lam:g}, anchors {table.anchors_name}, {runs}", soft_wrap=True)
    console.print(_scores(table, pretrained))
    console.print(_values(table, matrix))
    console.print(f"Intervals resample {table.interval_over}.", soft_wrap=True)
    for note in table.notes:
        console.print(f"Note: {note}", soft_wrap=True)


def _show_rankings(
    table: ScoreTable,
    matrix: Matrix,
    title: str,
    costs: Sequence[CostRow],
    pretrained: Mapping[str, str],
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
    rankings = [rank_models(matrix, name, models=models) for name in measured]
    answer(rankings=rankings)
    for name, ranking in zip(measured, rankings, strict=True):
        console.print()
        runs = {row.runs for row in ranking.rows}
        each = f"{min(runs)} to {max(runs)} runs each" if len(runs) > 1 else _runs(min(runs))
        metric = get_metric(ranking.metric)
        images = f"n = {ranking.n_test:,} test images" if ranking.n_test else "test images of unknown number"
        console.print(f"[bold]{name}[/bold]: test {metric.title}, {images}, {each}", soft_wrap=True)
        _print_ranking(ranking, costs, pretrained)
        for words in (ranking.verdict, ranking.intervals, ranking.order):
            if words:
                console.print(words, soft_wrap=True)
    notes = sorted({row.latency_note for row in costs if row.latency_ms and row.latency_note})
    if notes:
        console.print(f"Latency of one image: {'; '.join(notes)}.", soft_wrap=True)
    for note in table.notes if dataset is None else ():
        console.print(f"Note: {note}", soft_wrap=True)


def _runs(count: int) -> str:
    return "a single run each" if count == 1 else f"{count} runs each"


def _print_ranking(ranking: Ranking, costs: Sequence[CostRow], pretrained: Mapping[str, str]) -> None:
    """Print a ranking in as few tables as the width allows: results, distances to the best and costs stay together."""
    differ = len({row.runs for row in ranking.rows}) > 1
    forms = [_tables(ranking, costs, pretrained, runs=runs) for runs in ((True,) if differ else (True, False))]
    for view in min(forms, key=len):
        console.print(view)


def _tables(ranking: Ranking, costs: Sequence[CostRow], pretrained: Mapping[str, str], *, runs: bool) -> list[Table]:
    groups = [_results(ranking, runs=runs), *([_distances(ranking)] if len(ranking.rows) > 1 else [])]
    known = {row.model: row for row in costs}
    if any(row.model in known for row in ranking.rows):
        groups.append(_costs(ranking, known))
    if pretrained:
        groups.append([("pretrained on", [_broken(pretrained.get(row.model, "-")) for row in ranking.rows])])
    tables: list[list[Column]] = [[]]
    for group in groups:
        if tables[-1] and not _fits(_of_columns(ranking, [*tables[-1], *group], tight=True)):
            tables.append([])
        tables[-1] += group
    loose = [_of_columns(ranking, columns, tight=False) for columns in tables]
    return [
        view if _fits(view) else _of_columns(ranking, columns, tight=True)
        for view, columns in zip(loose, tables, strict=True)
    ]


def _fits(view: Table) -> bool:
    return Measurement.get(console, console.options.update(max_width=10_000), view).maximum <= console.width


def _of_columns(ranking: Ranking, columns: Sequence[Column], *, tight: bool) -> Table:
    view = _table("model", *(head for head, _ in columns), whole=True, tight=tight)
    for k, row in enumerate(ranking.rows):
        name = f"[bold]{row.model}[/bold]" if row.may_be_best and ranking.source else row.model
        view.add_row(name, *(cells[k] for _, cells in columns))
    return view


def _results(ranking: Ranking, *, runs: bool) -> list[Column]:
    metric, rows = get_metric(ranking.metric), ranking.rows
    return [
        ("test\n%" if metric.percent else "test", [metric.show(row.value) for row in rows]),
        (f"{100 * ranking.level:.0f} %\ninterval", [_between(metric, row.low, row.high) for row in rows]),
        *([("runs", [str(row.runs) for row in rows])] if runs else []),
    ]


def _distances(ranking: Ranking) -> list[Column]:
    metric, rows = get_metric(ranking.metric), ranking.rows
    ends = [_between(metric, row.behind_low, row.behind_high, signed=True) for row in rows]
    return [
        ("minus\nbest", ["-", *(_behind(metric, row.behind) for row in rows[1:])]),
        (f"{100 * ranking.level:.0f} %\ninterval", ends),
        ("P(>\nnext)", [f"{row.above_next:.2f}" if math.isfinite(row.above_next) else "-" for row in rows]),
    ]


def _costs(ranking: Ranking, costs: Mapping[str, CostRow]) -> list[Column]:
    rows = [costs.get(row.model) for row in ranking.rows]
    columns = [
        ("params\nM", [f"{row.params / 1e6:.2f}" if row else "-" for row in rows]),
        ("MACs\nM", [f"{row.macs / 1e6:.{0 if row.macs >= 1e7 else 1}f}" if row else "-" for row in rows]),
    ]
    if any(row and row.latency_ms for row in rows):
        columns.append(("ms", [f"{row.latency_ms:.1f}" if row and row.latency_ms else "-" for row in rows]))
    return columns


def _broken(pretraining: str) -> str:
    """Return what a model was pretrained on, one set a line."""
    return pretraining.replace(", then ", ",\nthen ").replace("; ", ";\n")


def _behind(metric: Metric, value: float) -> str:
    return ("+" if value > 0 else "") + metric.show(value)


def _between(metric: Metric, low: float, high: float, *, signed: bool = False) -> str:
    if not math.isfinite(low):
        return "-"
    return f"{short(metric, low, signed=signed)} to {short(metric, high, signed=signed)}"


def _scores(table: ScoreTable, pretrained: Mapping[str, str]) -> Table:
    heads = ("rank", "model", "xScore", f"{100 * table.level:.0f} % interval", table.above_next_name, "G", "V")
    view = _table(*heads, tight=bool(pretrained))
    view.columns[3].no_wrap = True  # an interval
    if pretrained:
        view.add_column("pretrained on", no_wrap=True)
    for row in table.rows:
        rank = "-" if row.rank is None else str(row.rank)
        interval = f"{_number(row.low)} to {_number(row.high)}"
        sure = f"{row.above_next:.2f}" if math.isfinite(row.above_next) else "-"
        start = [_broken(pretrained.get(row.model, "-"))] if pretrained else []
        view.add_row(rank, row.model, _number(row.score), interval, sure, _number(row.g), _number(row.v), *start)
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
