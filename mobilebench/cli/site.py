"""`mobilebench site`: a static site of leaderboards."""

from __future__ import annotations

from pathlib import Path

import click

from mobilebench.cli.json_answer import answer, json_option


@click.command()
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), default="site", show_default=True,
    help="The site's folder: new, empty, or an earlier site, which is replaced.",
)  # fmt: skip
@click.option("--published/--no-published", default=True, show_default=True, help="Show the published tables too.")
@json_option
def site(folders: tuple[Path, ...], out: Path, *, published: bool) -> None:
    """Write a static site with a leaderboard of each results folder in FOLDERS.

    A folder is what `mobilebench score` leaves in results/, or a project folder that has it. The page works from a file
    or from any web server; data/ beside it has each leaderboard as CSV and JSON.
    """
    from mobilebench.cli.console import console
    from mobilebench.report.site import suites_of, write_site

    suites = suites_of(folders, published=published)
    paths = write_site(out, suites)
    answer(
        suites=[
            {"id": suite.id, "title": suite.title, "models": suite.inputs.matrix.models,
             "datasets": suite.inputs.matrix.datasets, "scored": suite.scored or None}
            for suite in suites
        ],
        written=paths,
    )  # fmt: skip
    for suite in suites:
        matrix = suite.inputs.matrix
        console.print(f"{suite.title}: {len(matrix.models)} models x {len(matrix.datasets)} datasets", soft_wrap=True)
    console.print(f"{paths[0]} and {len(paths) - 1} more files are written", soft_wrap=True)
