"""The leaderboard as a table on the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mobilebench.cli.console import console, plain_table

if TYPE_CHECKING:
    from rich.table import Table

    from mobilebench.scoring import Matrix, ScoreTable


def show(table: ScoreTable, matrix: Matrix, title: str) -> None:
    """Print the scores, best first, and below them every model's top-1 per dataset in percent, in the same order."""
    runs = f"n = {len(matrix.seeds)} seeds" if len(matrix.seeds) > 1 else "single run per cell"
    console.print(f"[bold]{title}[/bold]: lambda {table.lam:g}, anchors {table.anchors_name}, {runs}", soft_wrap=True)
    console.print(_scores(table))
    console.print(_accuracies(table, matrix))
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


def _accuracies(table: ScoreTable, matrix: Matrix) -> Table:
    sizes = (f"{name}\nn = {size:,}" for name, size in zip(matrix.datasets, matrix.n_test, strict=True))
    view = _table("test top-1, %", *sizes)
    accuracy = dict(zip(matrix.models, 100 * matrix.mean, strict=True))
    for row in table.rows:
        view.add_row(row.model, *(f"{x:.1f}" if math.isfinite(x) else "absent" for x in accuracy[row.model]))
    return view


def _table(*columns: str) -> Table:
    view = plain_table()
    for name in columns:
        text = name in {"model", "test top-1, %"}
        view.add_column(name, justify="left" if text else "right", no_wrap=text)
    return view


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "-"
