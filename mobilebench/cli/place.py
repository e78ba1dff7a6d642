"""Where a new model stands among published ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mobilebench.cli import completion
from mobilebench.cli.json_answer import answer, json_option
from mobilebench.cli.study import LAMBDA

if TYPE_CHECKING:
    from mobilebench.report.table import Table


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...", shell_complete=completion.models)
@click.option(
    "--from", "--matrix", "source", default="results", show_default=True, metavar="PATH",
    help="Results of the new models: a results folder or a CSV of cells.",
)  # fmt: skip
@click.option(
    "--reference", default="published", show_default=True, metavar="published|PATH",
    help="The grid that has all datasets: the published table, a results folder or a CSV.",
)  # fmt: skip
@LAMBDA
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("results/place"), show_default=True
)
@json_option
def place(models: tuple[str, ...], source: str, reference: str, lam: float, out: Path) -> None:
    """Place new models among those of a reference grid: score, place and interval.

    Without MODEL, every model that the reference lacks. From results on some of the reference's datasets the score over
    all of them is predicted. Writes the table, its LaTeX rows and a figure (PDF, PNG) to --out.
    """
    from mobilebench.analysis.placement import place_models
    from mobilebench.cli.console import console
    from mobilebench.report.placement import placement_table, sentence, to_frame, write_placement

    found = place_models(source, reference, models, lam=lam)
    answer(reference=found.reference.name, placements=to_frame(found.placements))
    _show(placement_table(found.placements, found.reference.matrix, found.reference.name))
    for note in (*found.placements[0].table.notes, *found.notes):
        console.print(f"[yellow]note[/yellow] {note}", soft_wrap=True)
    for placement in found.placements:
        console.print(f"[bold]{sentence(placement)}[/bold]", soft_wrap=True)
        if placement.outside:
            console.print(
                f"It leaves the range of the reference's models on {', '.join(placement.outside)}"
                f"{': the prediction extrapolates there' if placement.how == 'predicted' else ''}.",
                soft_wrap=True,
            )
    console.print("Written: " + ", ".join(map(str, write_placement(out, found))), soft_wrap=True)


def _show(table: Table) -> None:
    """Print the scores and places, without the results on each dataset, which a terminal has no room for."""
    from mobilebench.cli.console import console, plain_table

    kept = [number for number, name in enumerate(table.columns) if name in {"model", "xScore", "interval", "place"}]
    view = plain_table()
    for number in kept:
        view.add_column(table.columns[number], justify="right" if table.numeric[number] else "left", no_wrap=True)
    for row in table.rows:
        fields = [row[number] for number in kept]
        view.add_row(*(f"[bold]{field.text}[/bold]" if field.strong else field.text for field in fields))
    console.print(view)
    console.print(table.caption, soft_wrap=True)
