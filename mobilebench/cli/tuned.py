"""`mobilebench trials`: what a tuned cell tried."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from mobilebench.cli import completion
from mobilebench.cli.json_answer import answer, json_option

if TYPE_CHECKING:
    from mobilebench.tracking import Tracker


@click.command()
@click.argument("model", shell_complete=completion.models)
@click.argument("dataset", shell_complete=completion.datasets)
@click.option("--seed", type=int, help="Of the cell; default: the suite's first.")
@json_option
def trials(model: str, dataset: str, seed: int | None) -> None:
    """Show the settings that a tuned cell tried, with their readings on val, and which was chosen.

    They are read in this folder's journals, while they are trained too, or in the run of a cell trained elsewhere.
    """
    from mobilebench.analysis.tuned import trials_of_cell
    from mobilebench.cli.console import console, plain_table
    from mobilebench.config.suite import select_cells
    from mobilebench.evaluation.metrics import get_metric
    from mobilebench.execution.suites import open_suite

    def store() -> Tracker:
        from mobilebench.tracking import Tracker

        return Tracker()

    suite = open_suite(networks=False)
    cell = select_cells(suite, dataset, (model,), () if seed is None else (seed,))[0]
    found = trials_of_cell(suite, cell, store)
    answer(**asdict(cell), metric=found.metric, source=found.source, trials=list(found.rows))
    metric = get_metric(found.metric)
    names = list(found.rows[0].settings)
    table = plain_table(title=f"{cell.name}, {len(found.rows)} trials")
    for name in ("trial", *names, f"val {metric.title.lower()}{' %' if metric.percent else ''}", "epoch", "seconds"):
        table.add_column(name, justify="right")
    table.add_column("", overflow="fold")
    is_settled = all(row.state in {"ended", "no value"} for row in found.rows)
    for row in found.rows:
        best = "chosen" if is_settled else "best so far"
        remark = best if row.chosen else "" if row.state == "ended" else row.state
        numbers = [
            "" if row.val is None else metric.show(row.val),
            "" if row.epoch is None else str(row.epoch),
            "" if row.seconds is None else f"{row.seconds:.1f}",
        ]
        style = "bold" if row.chosen else None
        table.add_row(str(row.trial), *(str(row.settings[name]) for name in names), *numbers, remark, style=style)
    console.print(table)
    for row in found.rows:
        if row.detail:
            console.print(f"trial {row.trial}: {row.detail}", soft_wrap=True, markup=False)
    spent = sum(row.seconds or 0 for row in found.rows)
    console.print(f"{spent:.1f} s of training in all. Read from {found.source}.", soft_wrap=True)
