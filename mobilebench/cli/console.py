"""What commands print: tables and lines for a person, one JSON document for a program, progress while cells train."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from mobilebench.cli.json_answer import answer, note
from mobilebench.evaluation.metrics import get_metric

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

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
    """Shows the progress of a grid: epochs done, their rate, and the time left for all cells that wait."""

    def __init__(self, progress: Progress, cells: int, epochs: int) -> None:
        self._progress = progress
        self._grid = progress.add_task("all cells", total=cells * epochs, detail="")
        self._shown: set[str] = set()

    def epoch(self, cell: Cell, result: EpochResult, epochs: int) -> None:
        """Show that an epoch of a cell is done."""
        read = "".join(f"  {split} {_shown(values)}" for split, values in result.curves().items())
        line = f"{cell.name}  epoch {result.epoch}/{epochs}  loss {result.train_loss:.3f}{read}"
        self._progress.update(self._grid, advance=1, detail=f"{line}  {result.images_per_second:,.0f} images/s")
        if not self._progress.console.is_terminal and result.epoch == epochs:
            self._progress.console.print(f"{line}  {result.images_per_second:,.0f} images/s", soft_wrap=True)

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
def grid_progress(cells: int, epochs: int) -> Iterator[GridProgress]:
    """Show progress over `cells` x `epochs` while the block runs."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("epochs"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield GridProgress(progress, cells, epochs)
