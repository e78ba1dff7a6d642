"""Latency alone, of `mobilebench models profile`: measured, printed, and added to a file of device figures."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from mobilebench.cli.json_answer import answer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.table import Table

    from mobilebench.export.device_latency import Asked, Measured, Subject


def measure_latencies(subjects: Sequence[Subject], asked: Asked, append: Path | None) -> None:
    """Measure, print and, with `append`, write a row for each subject, runtime and number of threads."""
    from rich.progress import track

    from mobilebench.cli.console import console
    from mobilebench.export.device_latency import measured, raise_unless_possible
    from mobilebench.models.cost import device_file, timing

    if append is not None and append.exists():
        device_file.read_device_results(append)  # refuse a damaged file before the work, not after it
    raise_unless_possible(subjects, asked)
    load, figures, replaced = timing.busy(), [], 0
    for subject in track(subjects, "measuring", console=console, disable=not console.is_terminal):
        found = list(measured(subject, asked))
        figures += found
        if append is not None:
            replaced += device_file.add_device_rows(append, [each.row for each in found])
    answer(latencies=[asdict(each.row) | {"iqr_ms": each.timing.iqr_ms} for each in figures], warm_up=timing.WARM_UP)
    console.print(_table(figures))
    _print_notes(figures, asked)
    if load:
        console.print(f"[yellow]{load}[/yellow]", soft_wrap=True)
    if append is not None:
        console.print(f"{len(figures)} rows written to {append}, {replaced} of them in place of older ones.")


def _table(figures: Sequence[Measured]) -> Table:
    from mobilebench.cli.console import plain_table

    table = plain_table()
    table.add_column("model", no_wrap=True)
    table.add_column("runtime", no_wrap=True)
    for name in ("threads", "px", "median ms", "p90", "IQR", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    for row, timing in figures:
        unsteady = " !" if timing.unsteady else ""
        table.add_row(
            row.model, f"{row.runtime} {row.precision}", str(row.threads), row.resolution, f"{timing.median_ms:.2f}",
            f"{timing.p90_ms:.2f}", f"{timing.iqr_ms:.2f}{unsteady}", str(timing.n),
        )  # fmt: skip
    return table


def _print_notes(figures: Sequence[Measured], asked: Asked) -> None:
    from mobilebench.cli.console import console
    from mobilebench.models.cost.timing import WARM_UP
    from mobilebench.system.words import counted

    versions = ", ".join(dict.fromkeys(f"{row.runtime} {row.version}" for row, _ in figures))
    console.print(
        f"{figures[0].row.device}; {versions}; {counted(asked.batch, 'image')} a call; {WARM_UP} calls to warm up, "
        "then n calls one after another. Of networks whose training branches can be folded: folded.",
        soft_wrap=True,
    )
    if any(timing.unsteady for _, timing in figures):
        console.print(
            "[yellow]! the middle half of the times spreads over a tenth of the median: something else used the "
            "machine, or its clock changed; more --runs, or an idle machine, says more[/yellow]",
            soft_wrap=True,
        )
