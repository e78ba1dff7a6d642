"""`mobilebench publish`: a score as data that others can check."""

from __future__ import annotations

from pathlib import Path

import click

from mobilebench.cli.json_answer import answer, json_option


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), help="Where to; default: results/published and the suite's name."
)
@click.option("--replace", is_flag=True, help="Also where runs published there before are given up by it.")
@json_option
def publish(out: Path | None, *, replace: bool) -> None:
    """Write the last score to a folder for others to check: tables, records, answers, environment; no images.

    `mobilebench score FOLDER`, `mobilebench site FOLDER` and `load_matrix` in Python read it.
    """
    from mobilebench.analysis.publication import PUBLISHED_RESULTS
    from mobilebench.analysis.publication import publish as write
    from mobilebench.cli.console import console
    from mobilebench.config.suite import PARAMS
    from mobilebench.execution.suites import open_suite
    from mobilebench.tracking import Tracker

    suite = open_suite(networks=False)
    folder = out or PUBLISHED_RESULTS / suite.suite
    notes = write(suite, Tracker(), PARAMS, folder, replace=replace)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    size = sum(path.stat().st_size for path in files)
    answer(folder=folder, files=len(files), bytes=size, notes=notes)
    for note in notes:
        console.print(f"[yellow]note[/yellow] {note}", soft_wrap=True)
    console.print(f"{folder}: {len(files)} files, {size / 1000:,.0f} kB", soft_wrap=True)
    console.print(f"Check it: mobilebench score {folder}", soft_wrap=True)
