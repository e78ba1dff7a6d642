"""Commands on what a matrix says: the paper's claims, its consistency, and which datasets could stand in for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from mobilebench.report.table import Table as Grid
    from mobilebench.studies.beyond_imagenet.claims import Claim

_COLOURS = {
    "supported": "green", "leans for": "green", "leans against": "yellow", "contradicted": "red",
    "undecided": "cyan", "not testable": "bright_black",
}  # fmt: skip
_matrix_option = click.option(
    "--matrix", "source", default="published", show_default=True, metavar="published|PATH",
    help="The published Table 3, a results folder, or a CSV of cells.",
)  # fmt: skip
_lambda_option = click.option(
    "--lambda", "lam", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Weight of the variance."
)


@click.command()
@_matrix_option
@_lambda_option
@click.option("--anchors", type=click.Choice(["grid", "paper"]), default="grid", show_default=True)
def claims(source: str, lam: float, anchors: str) -> None:
    """Hold the paper's claims against a matrix and print the evidence on both sides."""
    from mobilebench.cli.console import console
    from mobilebench.studies.beyond_imagenet.audit import CAVEATS
    from mobilebench.studies.beyond_imagenet.claims import check_claims
    from mobilebench.studies.beyond_imagenet.context import PUBLISHED, load_context

    context = load_context(source, lam=lam, paper_anchors=anchors == "paper")
    matrix = context.matrix
    console.print(f"{source}: {len(matrix.models)} models x {len(matrix.datasets)} datasets, lambda {lam:g}")
    for note in context.scores.notes:
        console.print(f"[yellow]note[/yellow] {note}", soft_wrap=True)
    for claim in check_claims(context):
        _show(console, claim, CAVEATS.get(claim.name) if source == PUBLISHED else None)


def _show(console: Console, claim: Claim, caveat: str | None) -> None:
    colour = _COLOURS[claim.verdict]
    console.print(f"\n[bold]{claim.statement}[/bold]\n  [bold {colour}]{claim.verdict}[/bold {colour}]", soft_wrap=True)
    _lines(console, "rule    ", (claim.rule,))
    _lines(console, "for     ", claim.pro)
    _lines(console, "against ", claim.contra)
    _lines(console, "note    ", (*claim.notes, *([caveat] if caveat else [])))


def _lines(console: Console, label: str, lines: Iterable[str]) -> None:
    for line in lines:
        console.print(f"  {label}", line, markup=False, soft_wrap=True)


@click.command("audit-paper")
@click.option("--report", "folder", type=click.Path(file_okay=False), help="Also write a report on Table 3 there.")
def audit_paper(folder: str | None) -> None:
    """Recompute the paper's tables from each other and print every disagreement."""
    from mobilebench.cli.console import console
    from mobilebench.report.published import findings_table, what_if_table

    for table in (findings_table(), what_if_table()):
        _print(console, table, len(table.rows))
    if folder:
        _write(console, folder)


def _write(console: Console, folder: str) -> None:
    from mobilebench.report import write_report
    from mobilebench.studies.beyond_imagenet.context import published_inputs

    paths = write_report(folder, published_inputs())
    console.print(f"{paths[0]} and {len(paths) - 1} more files are written", soft_wrap=True)


@click.command()
@_matrix_option
@_lambda_option
@click.option("--size", type=click.IntRange(2), default=4, show_default=True, help="Datasets in a subset.")
@click.option("--top", type=click.IntRange(1), default=10, show_default=True, help="Rows to print.")
@click.option("--output", type=click.Path(dir_okay=False), help="Write every subset to this CSV.")
def subsets(source: str, lam: float, size: int, top: int, output: str | None) -> None:
    """Rank every subset of datasets by how well it stands in for all of them."""
    from mobilebench.cli.console import console
    from mobilebench.report import table as grid
    from mobilebench.report.analysis import proxy_scores_table, subsets_table
    from mobilebench.scoring.subsets import complete
    from mobilebench.studies.beyond_imagenet.context import load_matrix
    from mobilebench.system.files import write_text

    matrix = complete(load_matrix(source))
    table = subsets_table(matrix, size, lam=lam)
    _print(console, table, top)
    for extra in proxy_scores_table(matrix, lam=lam):
        _print(console, extra, len(extra.rows))
    if output:
        console.print(f"{write_text(output, grid.to_csv(table))} is written", soft_wrap=True)


@click.command()
@click.option("--matrix", "source", required=True, metavar="PATH", help="A results folder or CSV of the new models.")
@click.option(
    "--reference", "known", default="published", show_default=True, metavar="published|PATH",
    help="The grid that has all datasets: Table 3, a results folder or a CSV.",
)  # fmt: skip
@_lambda_option
def predict(source: str, known: str, lam: float) -> None:
    """Score new models from a few datasets, and predict their xScore over all of a reference grid's."""
    from mobilebench.cli.console import console
    from mobilebench.report.analysis import prediction_table
    from mobilebench.studies.beyond_imagenet.context import load_matrix

    table = prediction_table(load_matrix(source), load_matrix(known), lam=lam)
    _print(console, table, len(table.rows))


def _print(console: Console, table: Grid, rows: int) -> None:
    """Print the first rows of a report's table, marked cells bold, its caption below."""
    from mobilebench.cli.console import plain_table

    shown = plain_table(*table.columns, tight=True)
    for row in table.rows[:rows]:
        shown.add_row(*(f"[bold]{cell.text}[/bold]" if cell.strong else cell.text for cell in row))
    console.print(shown)
    console.print(table.caption, soft_wrap=True)
