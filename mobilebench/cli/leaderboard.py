"""The leaderboard as a table on the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mobilebench.cli.console import console, plain_table
from mobilebench.cli.json_answer import answer
from mobilebench.evaluation.metrics import get_metric
from mobilebench.scoring.measures import dataset_heads, heading

if TYPE_CHECKING:
    from rich.table import Table

    from mobilebench.scoring import Matrix, ScoreTable


def show(table: ScoreTable, matrix: Matrix, title: str) -> None:
    """Print the scores, best first, and below them every model's result per dataset, in the same order."""
    answer(
        lam=table.lam,
        anchors=table.anchors_name,
        level=table.level,
        interval_over=table.interval_over,
        models=table.to_frame(),
        cells=matrix.to_frame(),
    )
    runs = f"n = {len(matrix.seeds)} seeds" if len(matrix.seeds) > 1 else "single run per cell"
    console.print(f"[bold]{title}[/bold]: lambda {table.lam:g}, anchors {table.anchors_name}, {runs}", soft_wrap=True)
    console.print(_scores(table))
    console.print(_values(table, matrix))
    console.print(f"Intervals resample {table.interval_over}.", soft_wrap=True)
    for note in table.notes:
        console.print(f"Note: {note}", soft_wrap=True)


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


def _table(*columns: str, first: bool = False) -> Table:
    """Return an empty table; `first`: its first column holds the models' names, whatever it is called."""
    view = plain_table()
    for number, name in enumerate(columns):
        text = name == "model" or (first and not number)
        view.add_column(name, justify="left" if text else "right", no_wrap=text)
    return view


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "-"
