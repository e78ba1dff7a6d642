"""The leaderboard as a table on the terminal."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.table import Table

from mobilebench.cli.console import console

if TYPE_CHECKING:
    from mobilebench.score import Matrix, ScoreTable


def show(table: ScoreTable, matrix: Matrix, title: str) -> None:
    """Print the scores, best first, with each model's top-1 per dataset in percent."""
    runs = f"n = {len(matrix.seeds)} seeds" if len(matrix.seeds) > 1 else "single run per cell"
    view = Table(title=f"{title}: xScore (lambda {table.lam:g}, anchors {table.anchors_name}), {runs}")
    for name in ("rank", "model", "xScore", f"{100 * table.level:.0f} % interval", "G", "V", *matrix.datasets):
        view.add_column(name, justify="left" if name == "model" else "right")
    accuracy = dict(zip(matrix.models, 100 * matrix.mean, strict=True))
    for row in table.rows:
        interval = f"{_number(row.low)} to {_number(row.high)}"
        cells = [f"{value:.1f}" if math.isfinite(value) else "absent" for value in accuracy[row.model]]
        rank = "-" if row.rank is None else str(row.rank)
        view.add_row(rank, row.model, _number(row.score), interval, _number(row.g), _number(row.v), *cells)
    console.print(view)
    console.print(f"Datasets: top-1 in percent. Intervals resample {table.interval_over}.", soft_wrap=True)
    for note in table.notes:
        console.print(f"Note: {note}", soft_wrap=True)


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else "-"
