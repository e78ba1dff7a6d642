"""Commands on finished cells: score, leaderboard, report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mobilebench.cli.json_answer import answer, json_option

if TYPE_CHECKING:
    from mobilebench.config.suite import Suite


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


@click.command()
@click.option("--experiment", help="MLflow experiment; default: the one of params.yaml.")
@click.option("--anchors", type=click.Choice(["grid", "paper"]), help="What normalises an accuracy.")
@click.option("--lambda", "lam", type=click.FloatRange(0, 1), help="Weight of the variance across datasets.")
@click.option("--metric", help="What every dataset is scored by; default: each dataset's own.")
@click.option("--allow-partial", is_flag=True, help="Score what is there and print what is absent.")
@json_option
def score(
    experiment: str | None, anchors: str | None, lam: float | None, metric: str | None, *, allow_partial: bool
) -> None:
    """Build the accuracy matrix from the tracking server and compute xScore.

    With --metric, of runs that did not record it, it is computed from the predictions that they kept.
    """
    from dataclasses import asdict

    from mobilebench.analysis.collect import score_experiment, write_scores
    from mobilebench.analysis.costs import costs_of
    from mobilebench.analysis.origins import mixture
    from mobilebench.cli.console import console
    from mobilebench.cli.leaderboard import show
    from mobilebench.config.suite import ScoreSettings
    from mobilebench.evaluation.metrics import get_metric
    from mobilebench.runs.score_check import describe, undecided_note
    from mobilebench.system.layout import RESULTS
    from mobilebench.tracking import Tracker

    name, suite = _settings(experiment)
    settings = suite.score if suite else ScoreSettings()
    if metric is not None:
        get_metric(metric)  # an unknown one is refused before anything is asked of the server
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
    paths = write_scores(scored, RESULTS)
    costs = costs_of(RESULTS, scored.checked.records) or ()
    answer(problems=[asdict(problem) for problem in scored.checked.problems], written=paths)
    show(scored.table, scored.matrix, f"{name}, protocol {scored.protocol_hash}", costs)
    console.print("Written: " + ", ".join(str(path) for path in paths))


@click.command()
@click.option("--dataset", help="The models of this dataset alone, best first, instead of the xScores.")
@click.option(
    "--under-ms", type=click.FloatRange(0, min_open=True),
    help="Only models that take less for one image, by results/cost.csv.",
)  # fmt: skip
@json_option
def leaderboard(dataset: str | None, under_ms: float | None) -> None:
    """Print the leaderboard of results/accuracy.csv again, with the lambda and anchors that score used.

    Of one dataset: its models, best first, how far each is behind the best, and which cannot be told apart from it.
    """
    from mobilebench.analysis.collect import raise_if_stale
    from mobilebench.analysis.costs import costs_of, within_budget
    from mobilebench.analysis.score_files import SETTING_OF, read_origin, recomputed
    from mobilebench.cli.console import console
    from mobilebench.cli.leaderboard import show
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
    models = None
    if under_ms is not None:
        models, measured = within_budget(RESULTS, matrix.models, under_ms)
        title = f"{title}: {len(models)} of {len(matrix.models)} models under {under_ms:g} ms"
        if table.has_scores and dataset is None:
            console.print(f"Latency of one image: {measured or 'see results/cost.csv'}.", soft_wrap=True)
    show(table, matrix, title, costs_of(RESULTS, records) or (), dataset=dataset, models=models)


@click.command()
def report() -> None:
    """Write results/report.md with its figures and tables from the score's results and the runs."""
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
        paths = write_report(RESULTS, report_inputs(suite, RESULTS, tracker))
        keep_report(tracker, suite.experiment, RESULTS, paths)
    console.print(f"{paths[0]} and {len(paths) - 1} figures and tables are written")
