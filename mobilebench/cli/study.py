"""`mobilebench study`: the claims of a published study on a matrix, the audit of its tables, and its report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mobilebench.cli.json_answer import answer, json_option

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from rich.console import Console

    from mobilebench.studies.study import AnchorsName, Claim, PublishedStudy

_COLOURS = {
    "supported": "green", "leans for": "green", "leans against": "yellow", "contradicted": "red",
    "undecided": "cyan", "not testable": "bright_black",
}  # fmt: skip
_FIRST = "beyond_imagenet"  # what `claims` and `audit-paper` meant before there was a group
_ALL = "all"
MATRIX = click.option(
    "--matrix", "source", default="published", show_default=True, metavar="published|PATH",
    help="The published matrix, a results folder, or a CSV of cells.",
)  # fmt: skip
LAMBDA = click.option(
    "--lambda", "lam", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Weight of the variance."
)
_ANCHORS = click.option("--anchors", type=click.Choice(["grid", "paper"]), default="grid", show_default=True)
_REPORT = click.option(
    "--report", "folder", type=click.Path(file_okay=False), help="Also write a report on the published matrix there."
)


@click.group(invoke_without_command=True)
@click.pass_context
def study(ctx: click.Context) -> None:
    """Check the claims of a published study, or audit its tables; without a command, list the studies."""
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_studies)


@study.command("list")
@json_option
def list_studies() -> None:
    """List the published studies, as `mobilebench study` alone does."""
    from mobilebench.cli.console import console
    from mobilebench.studies import STUDIES

    if answer(studies=[{"id": name, "title": entry.title} for name, entry in STUDIES.items()]):
        return
    for name, entry in STUDIES.items():
        console.print(f"[bold]{name}[/bold]  {entry.title}", soft_wrap=True)


@study.command()
@click.argument("name")
@MATRIX
@LAMBDA
@_ANCHORS
@json_option
def claims(name: str, source: str, lam: float, anchors: AnchorsName) -> None:
    """Hold the claims of the study NAME against a matrix and print the evidence for and against."""
    from dataclasses import asdict

    from mobilebench.analysis.score_files import noted
    from mobilebench.cli.console import console
    from mobilebench.studies import load_study

    checked = load_study(name).check_claims(source, lam, anchors)
    if matrix := checked.matrix:
        console.print(f"{source}: {len(matrix.models)} models x {len(matrix.datasets)} datasets, lambda {lam:g}")
    for note in noted(checked.scores).notes if checked.scores else ():
        console.print(f"[yellow]note[/yellow] {note}", soft_wrap=True)
    held = [asdict(claim) | {"caveat": checked.caveats.get(claim.name)} for claim in checked.claims]
    if answer(source=source, lam=lam, claims=held):
        return
    for claim in checked.claims:
        _show(console, claim, checked.caveats.get(claim.name))


@study.command()
@click.argument("name")
@_REPORT
@json_option
def audit(name: str, folder: str | None) -> None:
    """Recompute the tables of the study NAME from each other and print every disagreement."""
    from mobilebench.cli.console import print_table
    from mobilebench.report.published import audit_tables, disagreements_table
    from mobilebench.studies import load_study

    found = load_study(name)
    for table in (disagreements_table(found), *audit_tables(found)):
        print_table(table)
    if folder:
        _write(found, folder)


@study.command()
@click.argument("name")
@click.option(
    "--out", "folder", type=click.Path(file_okay=False),
    help="The folder to write to.  [default: results/studies/NAME]",
)  # fmt: skip
def report(name: str, folder: str | None) -> None:
    """Write a report on the published matrix of the study NAME, with the sections that only this study has.

    NAME `all`: on whether ImageNet accuracy predicts, a row for each study and dataset.
    """
    if name == _ALL:
        _write_across(folder or f"results/studies/{name}")
        return
    from mobilebench.studies import load_study

    _write(load_study(name), folder or f"results/studies/{name}")


def _write_across(folder: str) -> None:
    from mobilebench.cli.console import console
    from mobilebench.report.across_studies import write_across_studies

    paths = write_across_studies(folder)
    console.print(f"{paths[0]} and {len(paths) - 1} more files are written", soft_wrap=True)


def _write(found: PublishedStudy, folder: str) -> None:
    from mobilebench.cli.console import console
    from mobilebench.report import write_report
    from mobilebench.report.published import left_out, published_inputs, study_sections

    paths = write_report(folder, published_inputs(found), study_sections(found), left_out(found))
    console.print(f"{paths[0]} and {len(paths) - 1} more files are written", soft_wrap=True)


@click.command("claims", hidden=True)
@MATRIX
@LAMBDA
@_ANCHORS
@click.pass_context
def claims_alias(ctx: click.Context, /, **options: Any) -> None:
    """Run `mobilebench study claims beyond_imagenet`, under its earlier name."""
    ctx.invoke(claims, name=_FIRST, **options)


@click.command("audit-paper", hidden=True)
@_REPORT
@click.pass_context
def audit_alias(ctx: click.Context, /, **options: Any) -> None:
    """Run `mobilebench study audit beyond_imagenet`, under its earlier name."""
    ctx.invoke(audit, name=_FIRST, **options)


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
