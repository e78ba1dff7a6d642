"""Commands on few datasets in place of all: rank the subsets of a matrix, predict new models from some of them."""

from __future__ import annotations

import click

from mobilebench.cli.json_answer import json_option
from mobilebench.cli.study import LAMBDA, MATRIX


@click.command()
@MATRIX
@LAMBDA
@click.option("--size", type=click.IntRange(2), default=4, show_default=True, help="Datasets in a subset.")
@click.option("--top", type=click.IntRange(1), default=10, show_default=True, help="Rows to print.")
@click.option("--output", type=click.Path(dir_okay=False), help="Write every subset to this CSV.")
@json_option
def subsets(source: str, lam: float, size: int, top: int, output: str | None) -> None:
    """Rank every subset of datasets by how well it stands in for those it leaves out, beside what noise reaches."""
    from mobilebench.cli.console import console, print_table
    from mobilebench.report import table as grid
    from mobilebench.report.analysis import proxy_scores_table, subset_findings
    from mobilebench.scoring.subsets import complete
    from mobilebench.studies.beyond_imagenet.context import load_matrix
    from mobilebench.studies.beyond_imagenet.published import PAPER_FOUR
    from mobilebench.system.files import write_text

    matrix = complete(load_matrix(source))
    words, (choice, every) = subset_findings(matrix, size, lam=lam, marked=PAPER_FOUR)
    console.print(words, soft_wrap=True)
    print_table(choice, part="choice")
    print_table(every, top, part="subsets")
    for extra in proxy_scores_table(matrix, PAPER_FOUR, lam=lam):
        print_table(extra)
    if output:
        console.print(f"{write_text(output, grid.to_csv(every))} is written", soft_wrap=True)


@click.command()
@click.option("--matrix", "source", required=True, metavar="PATH", help="A results folder or CSV of the new models.")
@click.option(
    "--reference", "known", default="published", show_default=True, metavar="published|PATH",
    help="The grid that has all datasets: the published matrix, a results folder or a CSV.",
)  # fmt: skip
@LAMBDA
@json_option
def predict(source: str, known: str, lam: float) -> None:
    """Score new models from a few datasets, and predict their xScore over all of a reference grid's."""
    from mobilebench.cli.console import print_table
    from mobilebench.report.analysis import prediction_table
    from mobilebench.studies.beyond_imagenet.context import load_matrix

    print_table(prediction_table(load_matrix(source), load_matrix(known), lam=lam), part="models")
