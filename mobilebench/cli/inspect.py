"""`mobilebench inspect`: what one cell got right and wrong."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("what", metavar="RUN|MODEL")
@click.argument("dataset", required=False)
@click.option("--seed", type=int, help="Of the cell; default: the suite's first.")
@click.option(
    "--split", type=click.Choice(["test", "val"]), default="test", show_default=True, help="Images to look at."
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write to.  [default: results/inspect/CELL]")
def inspect(what: str, dataset: str | None, seed: int | None, split: str, out: Path | None) -> None:
    """Show a cell's metrics, its classes, and write its confusion matrix, reliability and worst mistakes.

    Name an MLflow run, or a model and a dataset of this project. Nothing is trained or predicted: the predictions that
    the run kept are read.
    """
    from mobilebench.analysis.inspect import open_cell, open_run
    from mobilebench.cli.console import console, print_table
    from mobilebench.execution.suites import open_suite
    from mobilebench.report.inspect import class_table, metric_table, write_inspection
    from mobilebench.system.layout import RESULTS
    from mobilebench.tracking import Tracker

    cell = open_run(Tracker(), what, split) if dataset is None else open_cell(open_suite(), what, dataset, seed, split)
    console.print(metric_table(cell).caption)
    print_table(metric_table(cell))
    print_table(class_table(cell), rows=20)
    if len(cell.classes) > 20:
        console.print(f"The 20 classes found least often; classes.csv has all {len(cell.classes)}.")
    with console.status("drawing"):
        paths = write_inspection(out or RESULTS / "inspect" / cell.record.cell.name, cell)
    if cell.packed is None:
        console.print(
            f"[yellow]The packed {cell.record.dataset} that the run was trained on is not here: classes are numbered, "
            "and the mistakes are without pictures.[/yellow]",
            soft_wrap=True,
        )
    console.print("Written: " + ", ".join(map(str, paths)), soft_wrap=True)
