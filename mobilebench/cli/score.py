"""Commands on results: score, leaderboard, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mobilebench.cli import completion
from mobilebench.cli.json_answer import answer, json_option
from mobilebench.cli.number_lists import Milliseconds

if TYPE_CHECKING:
    from mobilebench.analysis.result_files import FileResults
    from mobilebench.config.suite import Suite
    from mobilebench.runs.records import Record
    from mobilebench.scoring import Matrix, ScoreTable

_SOURCE = click.argument("source", required=False, metavar="[published|PATH]")


def _settings(experiment: str | None) -> tuple[str, Suite | None]:
    """Return the experiment to score and the suite of params.yaml when it is that suite's."""
    from mobilebench.cli.unknown import warn_of_unknown_networks
    from mobilebench.config.suite import PARAMS
    from mobilebench.execution.suites import open_suite

    # Without a params.yaml and a name, opening it raises: nothing names the experiment.
    here = open_suite(networks=False) if PARAMS.exists() or experiment is None else None
    name = experiment or (here.experiment if here else "")
    if here is not None and here.experiment == name:
        warn_of_unknown_networks(here)
    return name, here if here is not None and here.experiment == name else None


def _from_files(source: str, metric: str | None = None) -> FileResults:
    """Read results from files, and say that they are not checked, and in JSON where they are from."""
    from mobilebench.analysis.result_files import read_files

    found = read_files(source, metric=metric)
    answer(source=found.name, checked=False, run_ids=sorted(found.run_ids.values()))
    return found


@click.command()
@_SOURCE
@click.option("--experiment", help="MLflow experiment; default: the one of params.yaml.")
@click.option("--anchors", type=click.Choice(["grid", "paper"]), help="What normalises an accuracy.")
@click.option("--lambda", "lam", type=click.FloatRange(0, 1), help="Weight of the variance across datasets.")
@click.option(
    "--metric", help="What every dataset is scored by; default: each dataset's own.", shell_complete=completion.metrics
)
@click.option("--allow-partial", is_flag=True, help="Score what is there and print what is absent.")
@json_option
def score(
    source: str | None,
    experiment: str | None,
    anchors: str | None,
    lam: float | None,
    metric: str | None,
    *,
    allow_partial: bool,
) -> None:
    """Build the accuracy matrix from the tracking server and compute xScore.

    With --metric, of runs that did not record it, it is computed from the predictions that they kept.

    Of a results folder, a CSV of cells, or `published` (Table 3 of Beyond ImageNet) the scores are printed without
    asking a server, and nothing is written.
    """
    from mobilebench.evaluation.metrics import get_metric

    if metric is not None:
        get_metric(metric)  # an unknown one is refused before anything is read
    if source is None:
        _score_experiment(experiment, anchors, lam, metric, allow_partial=allow_partial)
        return
    if experiment is not None:
        raise click.UsageError(f"either --experiment, which is in the tracking store, or the files {source}")
    from mobilebench.cli.leaderboard import show

    found = _from_files(source, metric)
    show(found.score(lam=lam, anchors=anchors), found.matrix, found.name, found.costs, pretrained=found.pretrained)


def _score_experiment(
    experiment: str | None, anchors: str | None, lam: float | None, metric: str | None, *, allow_partial: bool
) -> None:
    from dataclasses import asdict

    from mobilebench.analysis.caveats import caveats
    from mobilebench.analysis.collect import score_experiment, write_scores
    from mobilebench.analysis.costs import costs_of
    from mobilebench.analysis.origins import mixture
    from mobilebench.analysis.pretraining import pretraining_of
    from mobilebench.cli.console import console
    from mobilebench.cli.leaderboard import show
    from mobilebench.config.suite import ScoreSettings
    from mobilebench.runs.score_check import describe, undecided_note
    from mobilebench.system.layout import RESULTS
    from mobilebench.tracking import Tracker

    name, suite = _settings(experiment)
    settings = suite.score if suite else ScoreSettings()
    scored = score_experiment(
        Tracker(),
        name,
        lam=settings.lam if lam is None else lam,
        anchors=anchors or settings.anchors,
        metric=metric or settings.metric,
        allow_partial=allow_partial,
        results=RESULTS if suite else None,
    )
    for line in describe(scored.checked.problems):
        console.print(f"[yellow]absent[/yellow] {line}", soft_wrap=True)
    if left_out := scored.checked.left_out:
        reasons = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        console.print(f"{scored.checked.ignored} other runs of the experiment left out: {reasons}")
    if scored.unbuilt:
        names = ", ".join(scored.unbuilt)
        console.print(
            f"[yellow]{names} cannot be built here, so their runs may be of other code; "
            "`mobilebench models check` says why[/yellow]",
            soft_wrap=True,
        )
    if note := undecided_note(scored.checked.undecided):
        console.print(f"[yellow]{note}[/yellow]", soft_wrap=True)
    if differences := mixture(scored.made_with):
        console.print(f"[yellow]{differences}[/yellow]", soft_wrap=True)
    for line in (*caveats(scored.checked.records), *scored.notes):
        console.print(f"[yellow]note[/yellow] {line}", soft_wrap=True)
    paths = write_scores(scored, RESULTS)
    costs = costs_of(RESULTS, scored.checked.records) or ()
    answer(problems=[asdict(problem) for problem in scored.checked.problems], written=paths)
    pretrained = pretraining_of(scored.checked.records)
    show(scored.table, scored.matrix, f"{name}, protocol {scored.protocol_hash}", costs, pretrained=pretrained)
    console.print("Written: " + ", ".join(str(path) for path in paths))


@click.command()
@_SOURCE
@click.option(
    "--dataset", help="The models of this dataset alone, best first, instead of the xScores.",
    shell_complete=completion.datasets,
)  # fmt: skip
@click.option(
    "--under-ms", type=click.FloatRange(0, min_open=True),
    help="Only models that take less for one image, by the results' cost.csv.",
)  # fmt: skip
@json_option
def leaderboard(source: str | None, dataset: str | None, under_ms: float | None) -> None:
    """Print the leaderboard of results/accuracy.csv again, with the lambda and anchors that score used.

    Or that of another results folder, of a CSV of cells, or `published`. Of one dataset: its models, best first, how
    far each is behind the best, and which cannot be told apart from it.
    """
    from mobilebench.analysis.costs import costs_of, within_budget
    from mobilebench.analysis.pretraining import pretraining_of
    from mobilebench.cli.leaderboard import show
    from mobilebench.system.layout import RESULTS

    if source is None:
        matrix, table, title, records = _last_score()
        costs, pretrained = costs_of(RESULTS, records) or (), pretraining_of(records)
        folder: Path | None = RESULTS
    else:
        found = _from_files(source)
        matrix, table, title, costs, folder = found.matrix, found.score(), found.name, found.costs, found.folder
        pretrained = found.pretrained
    models = None
    if under_ms is not None:
        if folder is None:
            raise click.UsageError(f"--under-ms goes by a results folder's cost.csv, and {source} has none beside it")
        models, measured = within_budget(folder, matrix.models, under_ms)
        title = f"{title}: {len(models)} of {len(matrix.models)} models under {under_ms:g} ms"
        if table.has_scores and dataset is None:
            from mobilebench.cli.console import console

            console.print(f"Latency of one image: {measured or f'see {folder}/cost.csv'}.", soft_wrap=True)
    show(table, matrix, title, costs, dataset=dataset, models=models, pretrained=pretrained)


def _last_score() -> tuple[Matrix, ScoreTable, str, list[Record]]:
    """Return the matrix and scores that the last `score` here wrote, their title and the records behind them."""
    from dataclasses import replace

    from mobilebench.analysis.caveats import caveats
    from mobilebench.analysis.collect import raise_if_stale
    from mobilebench.analysis.score_files import SETTING_OF, read_origin, recomputed
    from mobilebench.cli.console import console
    from mobilebench.config.suite import ScoreSettings
    from mobilebench.runs.records import read_results
    from mobilebench.system.files import read_csv
    from mobilebench.system.layout import RESULTS

    name, suite = _settings(None)
    assert suite is not None
    origin = read_origin(RESULTS)
    is_other = origin is not None and origin.experiment != name
    settings = ScoreSettings(lam=origin.lam, anchors=SETTING_OF[origin.anchors]) if origin and is_other else suite.score
    matrix, table = recomputed(RESULTS, settings)
    scored = set(read_csv(RESULTS / "accuracy.csv", ("run_id",))["run_id"])
    records = [record for record in read_results(RESULTS) if record.run_id in scored]
    protocol = origin.protocol if origin else suite.protocol.hash
    if is_other:
        console.print(
            f"[yellow]The results here are of {origin}. For params.yaml's experiment {name!r}, run `mobilebench "
            "score`.[/yellow]",
            soft_wrap=True,
        )
    else:
        raise_if_stale(records, suite)
    title = f"{origin.experiment if origin else name}, protocol {protocol}"
    return matrix, replace(table, notes=(*table.notes, *caveats(records))), title, records


@click.command()
@_SOURCE
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False),
    help="Of files: the new or empty folder that the report is written to.",
)  # fmt: skip
@click.option(
    "--devices", type=click.Path(path_type=Path), metavar="FILE",
    help="File of device figures.  [default: device_results.csv of this project, where it is there]",
)  # fmt: skip
@click.option(
    "--under-ms", "budgets", type=Milliseconds(), default=(5.0, 10.0, 20.0, 50.0), show_default="5,10,20,50",
    help="Milliseconds under which the best model on each device is sought.",
)  # fmt: skip
def report(source: str | None, out: Path | None, devices: Path | None, budgets: tuple[float, ...]) -> None:
    """Write results/report.md with its figures and tables from the score's results and the runs.

    Or, to --out, the report on another results folder, on a CSV of cells, or on `published`: without learning curves
    and links to runs, which a tracking server has.
    """
    from mobilebench.cli.console import console
    from mobilebench.report import write_report

    if source is None:
        if out is not None:
            raise click.UsageError("--out is for a report on files; without a source the report is written to results/")
        _report_here(devices, budgets)
        return
    from mobilebench.analysis.result_files import read_files
    from mobilebench.report.collect import inputs_of_files

    if out is None:
        raise click.UsageError("a report on files is written to a folder of its own: name it with --out")
    if out.is_dir() and any(out.iterdir()) and not (out / "report.md").is_file():
        raise click.UsageError(f"{out} is not empty and holds no report; give a new folder, or that of an earlier one")
    if (out / "cells").is_dir() or (out / "accuracy.csv").exists():
        raise click.UsageError(f"{out} is a project's results folder, with a report of its own; give another folder")
    with console.status("writing the report"):
        paths = write_report(out, inputs_of_files(read_files(source), devices, budgets))
    console.print(f"{paths[0]} and {len(paths) - 1} figures and tables are written")


def _report_here(devices: Path | None, budgets: tuple[float, ...]) -> None:
    from mobilebench.cli.console import console
    from mobilebench.cli.unknown import warn_of_unknown_networks
    from mobilebench.execution.suites import open_suite
    from mobilebench.report import write_report
    from mobilebench.report.collect import keep_report, report_inputs
    from mobilebench.system.layout import RESULTS
    from mobilebench.tracking import Tracker

    suite, tracker = open_suite(networks=False), Tracker()
    warn_of_unknown_networks(suite)
    with console.status("writing the report"):
        paths = write_report(RESULTS, report_inputs(suite, RESULTS, tracker, devices, budgets))
        keep_report(tracker, suite.experiment, RESULTS, paths)
    console.print(f"{paths[0]} and {len(paths) - 1} figures and tables are written")
