"""One progress bar on standard error: how far, how fast, how long still."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@contextmanager
def progress(what: str, total: int | None, *, in_bytes: bool = False) -> Iterator[Callable[[int], None]]:
    """Show a bar while the block runs; it yields `advance(n)`. total: images, or bytes; None where unknown.

    Work done in blocks may advance past the total with its last one; the bar does not.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    count = DownloadColumn() if in_bytes else MofNCompleteColumn()
    rate = TextColumn("{task.fields[rate]}")
    columns = (TextColumn("{task.description}"), BarColumn(), count, rate, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(what, total=total, rate="")

        def advance(n: int) -> None:
            bar.advance(task, n if total is None else min(n, total - bar.tasks[0].completed))
            speed = bar.tasks[0].speed
            bar.update(task, rate=_rate(speed, in_bytes=in_bytes))

        yield advance


def _rate(speed: float | None, *, in_bytes: bool) -> str:
    if not speed:
        return ""
    return f"{speed / 1e6:.1f} MB/s" if in_bytes else f"{speed:,.0f}/s"
