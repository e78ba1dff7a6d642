"""What commands print: tables and lines for a person, one JSON document for a program, progress while cells train."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from mobilebench.cli.json_answer import answer, note
from mobilebench.evaluation.metrics import get_metric

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from mobilebench.config.suite import Cell
    from mobilebench.report.table import Field
    from mobilebench.report.table import Table as ReportTable
    from mobilebench.training import EpochResult


class _Console(Console):
    """A console whose lines become notes of the document while a command answers in JSON."""

    @property
    def quiet(self) -> bool:
        """Whether nothing is written, neither table nor bar: stdout is the document's."""
        return answer()

    @quiet.setter
    def quiet(self, value: bool) -> None:
        assert not value, "this console is quiet where a command answers in JSON, and there alone"

    def on_broken_pipe(self) -> None:
        """Write no more where the reader has gone, as `head` does; the command's work is done to its end."""
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
        os.close(devnull)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, or with `--json` keep lines as notes; what tables show is in the document already."""
        if not self.quiet:
            super().print(*objects, **options)
        elif objects and all(isinstance(thing, str) for thing in objects):
            line = " ".join(objects)
            note((line if options.get("markup") is False else Text.from_markup(line).plain).strip("\n"))


console = _Console(highlight=False)


def plain_table(*columns: str, title: str | None = None, tight: bool = False) -> Table:
    """Return a table without a frame, columns two blanks apart; one if tight, for seven datasets on 80 columns."""
    return Table(
        *columns, title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False,
        collapse_padding=True, padding=0 if tight else (0, 1),
    )  # fmt: skip


def print_table(table: ReportTable, rows: int | None = None, *, part: str | None = None) -> None:
    """Print a report's table, its first `rows` if given, marked cells bold, its caption below.

    With `--json` all rows are a part of the document, under the table's name or the one given.
    """
    answer(**{part or table.name: [_plain_row(table, row) for row in table.rows]})
    shown = plain_table(*table.columns, tight=True)
    for row in table.rows[:rows]:
        shown.add_row(*(f"[bold]{cell.text}[/bold]" if cell.strong else cell.text for cell in row))
    console.print(shown)
    console.print(table.caption, soft_wrap=True)


def _plain_row(table: ReportTable, row: Sequence[Field]) -> dict[str, Any]:
    """Return a row by its headings; a heading without words stands over remarks."""
    cells = zip(table.columns, row, strict=True)
    return {heading or "remark": cell.text if cell.value is None else cell.value for heading, cell in cells}


class GridProgress:
    """Shows the progress of a grid: a bar on a terminal, elsewhere a line for each epoch, with rate and time left."""

    def __init__(self, progress: Progress, epochs: Mapping[Cell, int], clock: Callable[[], float] = monotonic) -> None:
        """epochs: of each cell that is to be trained, those that it may have done before included; clock: seconds."""
        self._progress = progress
        self._clock = clock
        self._began = clock()
        self._left: dict[Cell | tuple[Cell, int], int] = {}  # of cells, and of tuned ones' trials
        self._left.update(epochs.items())
        self._done = 0
        self._grid = progress.add_task("", total=sum(epochs.values()), detail="")
        self._shown: set[str] = set()

    def epoch(self, cell: Cell, result: EpochResult, epochs: int) -> None:
        """Show that an epoch of a cell is done."""
        self._left[cell] = epochs - result.epoch  # a cell that goes on where it was has fewer left than it was given
        self._epoch(cell.name, result, epochs)

    def trials_planned(self, cell: Cell, epochs: Mapping[int, int]) -> None:
        """Count the epochs of a tuned cell by its trials from now on."""
        self._left.pop(cell, None)
        self._left |= {(cell, trial): left for trial, left in epochs.items()}

    def trial_epoch(self, cell: Cell, trial: int, result: EpochResult, epochs: int) -> None:
        """Show that an epoch of a trial is done."""
        self._left[cell, trial] = epochs - result.epoch
        self._epoch(f"{cell.name} trial {trial}", result, epochs)

    def trial_ended(self, cell: Cell, trial: int, words: str) -> None:
        """Print how a trial ended."""
        self._left[cell, trial] = 0  # it may have stopped before its last epoch
        self._progress.console.print(f"{cell.name} trial {trial}: {words}", soft_wrap=True, markup=False)

    def _epoch(self, name: str, result: EpochResult, epochs: int) -> None:
        self._done += 1
        waiting = sum(self._left.values())
        read = "".join(f"  {split} {_shown(values)}" for split, values in result.curves().items())
        rest = f"{read}  loss {result.train_loss:.3f}  {result.images_per_second:,.0f} images/s"
        detail = f"{name} {result.epoch}/{epochs}{rest}"
        self._progress.update(self._grid, completed=self._done, total=self._done + waiting, detail=detail)
        if not self._progress.console.is_terminal:
            seconds = (self._clock() - self._began) / self._done * waiting
            left = f"{timedelta(seconds=round(seconds))} left" if waiting else "done"
            line = f"{name}  epoch {result.epoch}/{epochs}{rest}  {left}"
            self._progress.console.print(line, soft_wrap=True, markup=False)

    def note(self, cell: Cell, message: str) -> None:
        """Print something a person should know about a cell. The same message is printed once, for the first cell."""
        if message in self._shown:
            return
        self._shown.add(message)
        self._progress.console.print(f"[bold]{cell.name}[/bold]: {message}", soft_wrap=True)


def _shown(values: Mapping[str, float]) -> str:
    """Return the first metric of an epoch's readings of a split, as people read it."""
    name, value = next(item for item in values.items() if item[0] != "loss")
    metric = get_metric(name)
    return f"{metric.title.lower()} {metric.show(value)}{' %' if metric.percent else ''}"


@contextmanager
def grid_progress(epochs: Mapping[Cell, int]) -> Iterator[GridProgress]:
    """Show progress over cells, each with its number of epochs, while the block runs: one line of the terminal."""
    columns = (
        BarColumn(bar_width=10),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}", markup=False, table_column=Column(ratio=1, no_wrap=True)),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, expand=True) as progress:
        yield GridProgress(progress, epochs)
