"""How well few datasets stand in for all: rank the subsets of a matrix."""

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
