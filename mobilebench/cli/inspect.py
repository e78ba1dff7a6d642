"""`mobilebench inspect`: what one cell got right and wrong."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from mobilebench.cli import completion
from mobilebench.cli.json_answer import answer, json_option


@click.command()
@click.argument("what", metavar="RUN|CELL|MODEL", shell_complete=completion.models)
@click.argument("dataset", required=False, shell_complete=completion.datasets)
@click.option("--seed", type=int, help="Of the cell; default: the suite's first.")
@click.option(
    "--split", type=click.Choice(["test", "val"]), default="test", show_default=True, help="Images to look at."
)
@click.option(
    "--out", type=click.Path(path_type=Path),
    help="Folder to write to.  [default: results/inspect/CELL, with the run and with val where they are asked for]",
)  # fmt: skip
@json_option
def inspect(what: str, dataset: str | None, seed: int | None, split: str, out: Path | None) -> None:
    """Show a cell's metrics, its classes, and write its confusion matrix, reliability and worst mistakes.

    Name an MLflow run, or a cell of this project: a model and a dataset, or MODEL.DATASET.SEED. Nothing is trained or
    predicted: the predictions that the run kept are read.
    """
    from mobilebench.analysis.caveats import chosen_on_test
    from mobilebench.analysis.inspect import cell_meant, folder_name, open_cell, open_run
    from mobilebench.analysis.named_runs import run_meant
    from mobilebench.cli.console import console, print_table
    from mobilebench.execution.suites import open_suite
    from mobilebench.report.inspect import class_table, metric_table, write_inspection
    from mobilebench.system.layout import RESULTS

    run_id = run_meant(what) if dataset is None else None
    if run_id is not None:
        from mobilebench.tracking import Tracker

        cell = open_run(Tracker(), run_id, split)
    else:
        cell = open_cell(cell_meant(open_suite(networks=False), what, dataset, seed), split)
    answer(run_id=cell.record.run_id, **asdict(cell.record.cell), split=cell.split)
    print_table(metric_table(cell))
    print_table(class_table(cell), rows=20)
    if len(cell.classes) > 20:
        console.print(f"The 20 classes found least often; classes.csv has all {len(cell.classes)}.")
    for line in chosen_on_test([cell.record]):
        console.print(f"[yellow]note[/yellow] {line}", soft_wrap=True)
    with console.status("drawing"):
        paths = write_inspection(out or RESULTS / "inspect" / folder_name(cell, run_id), cell)
    if cell.packed is None:
        console.print(
            f"[yellow]The packed {cell.record.dataset} that the run was trained on is not here: classes are numbered, "
            "and the mistakes are without pictures.[/yellow]",
            soft_wrap=True,
        )
    console.print("Written: " + ", ".join(map(str, paths)), soft_wrap=True)
