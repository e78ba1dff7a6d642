"""Commands on runs and the server they are on: compare, reproduce, register, server."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mobilebench.cli import completion
from mobilebench.cli.json_answer import answer, json_option
from mobilebench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mobilebench.analysis.compare import Comparison, Difference
    from mobilebench.scoring import Matrix
    from mobilebench.tracking import Tracker


@click.command()
@click.argument("a", shell_complete=completion.models)
@click.argument("b", shell_complete=completion.models)
@click.option(
    "--anchors", type=click.Choice(["common", "paper"]), default="common", help="What normalises an accuracy."
)
@click.option("--lambda", "lam", type=click.FloatRange(0, 1), default=0.5, help="Weight of the variance.")
@click.option(
    "--metric", help="What every dataset is compared by; default: each dataset's own.",
    shell_complete=completion.metrics,
)  # fmt: skip
@click.option("--dataset", help="Of two models: this dataset alone.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("results/compare"), show_default=True)
@json_option
def compare(a: str, b: str, anchors: str, lam: float, metric: str | None, dataset: str | None, out: Path) -> None:
    """Compare A and B: experiments, run ids, model versions (mobilebench.model.dataset@best), git revisions or files.

    Files are a results folder, a CSV of cells, or `published` (Table 3 of Beyond ImageNet).

    experiment:NAME@HASH is the grid of one protocol where an experiment has runs of several. Differences are B - A over
    the cells that both have, paired over seeds. Writes a CSV and a slope chart to --out.

    Each dataset is read by the metric that its packed data here says, else its runs; with --metric all are by that. Of
    runs that did not record it, it is computed from the predictions that they kept.

    Two models of params.yaml are compared on the results of the last score, per dataset, paired over the test images;
    model:NAME where a name could also be another thing.
    """
    from mobilebench.analysis.model_pair import models_meant
    from mobilebench.evaluation.metrics import get_metric

    if metric is not None:
        get_metric(metric)  # an unknown one is refused before anything is read
    pair = models_meant(a, b)
    if pair is not None:
        if anchors != "common" or lam != 0.5:
            raise UserError("two models are compared by each dataset's metric; --anchors and --lambda are for xScores")
        if metric is not None:
            raise UserError(
                f"two models are compared by the metrics of the last score; run `mobilebench score --metric {metric}` "
                "and compare them without --metric"
            )
        _compare_models(*pair, dataset, out)
        return
    if dataset is not None:
        raise UserError("--dataset is for two models of params.yaml; write model:NAME if these are some")
    _compare_sets(a, b, anchors, lam, metric, out)


def _compare_models(a: str, b: str, dataset: str | None, out: Path) -> None:
    from mobilebench.analysis.model_pair import compare_models
    from mobilebench.cli.console import console, plain_table
    from mobilebench.evaluation.metrics import get_metric
    from mobilebench.execution.suites import open_suite
    from mobilebench.scoring.measures import dataset_heads, short
    from mobilebench.system.layout import RESULTS

    with console.status("reading predictions"):
        found = compare_models(open_suite(networks=False), RESULTS, a, b, dataset)
    for problem in found.problems:
        console.print(f"[yellow]{problem}[/yellow]", soft_wrap=True)
    answer(a=a, b=b, experiment=found.experiment, differences=found.to_frame())
    console.print(f"A = {a}, B = {b} in experiment {found.experiment!r}, test results", soft_wrap=True)
    metrics = [row.metric for row in found.differences.values()]
    heads = dataset_heads(list(found.differences), metrics)
    with_mcnemar = any(row.only_right for row in found.differences.values())
    name = f"{get_metric(metrics[0]).title}{' %' if get_metric(metrics[0]).percent else ''}"
    view = plain_table()
    view.add_column(name if len(set(metrics)) == 1 else "", overflow="fold")
    sure = f"{100 * next(iter(found.differences.values())).level:.0f} %"
    for head in ("A", "B", "B - A", f"{sure}\ninterval", "P(B\nbetter)", "runs", *(["McNemar\np"] * with_mcnemar)):
        view.add_column(head, justify="right", no_wrap=True)
    for head, row in zip(heads, found.differences.values(), strict=True):
        metric = get_metric(row.metric)
        known = math.isfinite(row.low)
        runs = str(row.runs[0]) if row.runs[0] == row.runs[1] else f"{row.runs[0]}, {row.runs[1]}"
        view.add_row(
            head, metric.show(row.a), metric.show(row.b),
            ("+" if row.difference > 0 else "") + metric.show(row.difference),
            f"{short(metric, row.low, signed=True)} to {short(metric, row.high, signed=True)}" if known else "-",
            f"{row.p_better:.2f}" if known else "-", runs,
            *([_p(row.mcnemar_p) if row.only_right else "-"] * with_mcnemar),
        )  # fmt: skip
    console.print(view)
    for note in found.notes:
        console.print(note, soft_wrap=True)
    console.print(f"Written: {found.to_csv(out / 'models.csv')}")


def _p(value: float) -> str:
    """Return a p-value as a table has it; none is 0."""
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _compare_sets(a: str, b: str, anchors: str, lam: float, metric: str | None, out: Path) -> None:
    from functools import cache

    from mobilebench.analysis.compare import compare as compare_matrices
    from mobilebench.analysis.named_runs import load_run_set
    from mobilebench.analysis.run_sets import changes, kept_of_both, match_models, unknown
    from mobilebench.cli.console import console
    from mobilebench.report.slope_chart import slopes
    from mobilebench.studies.beyond_imagenet.published import paper_anchors
    from mobilebench.system.files import write_bytes, write_text

    @cache
    def store() -> Tracker:
        from mobilebench.tracking import Tracker

        return Tracker()

    first, second = match_models(load_run_set(a, store, metric), load_run_set(b, store, metric))
    scale = paper_anchors() if anchors == "paper" else None
    with console.status("reading predictions"):
        found = compare_matrices(
            first.matrix, second.matrix, lam=lam, anchors=scale, predictions=kept_of_both(first, second)
        )
    problems = [problem for side in (first, second) if side.kept for problem in side.kept.problems]
    for problem in dict.fromkeys(problems):
        console.print(f"[yellow]{problem}[/yellow]", soft_wrap=True)
    _show(found, first.name, second.name)
    far = _far_outside(first.matrix, second.matrix, scale) if scale else ""
    for note in dict.fromkeys((*first.notes, *second.notes, *([far] if far else []))):
        console.print(f"[yellow]note[/yellow] {note}", soft_wrap=True)
    for change in changes(first, second):
        console.print(
            f"{change.kind}: {change.name} {change.a} [bold]to[/bold] {change.b} ({change.count} cells)", soft_wrap=True
        )
    for kind in unknown(first, second):
        console.print(f"[yellow]{kind}: not known of both, so not compared[/yellow]")
    answer(a=first.name, b=second.name, differences=found.to_frame(), changes=changes(first, second))
    picture = slopes(found, a, b)
    paths = [found.to_csv(out / "differences.csv"), write_bytes(out / "slopes.png", picture.png())]
    paths.append(write_text(out / "slopes.svg", picture.svg()))
    console.print("Written: " + ", ".join(map(str, paths)))


def _far_outside(a: Matrix, b: Matrix, anchors: Mapping[str, tuple[float, float]]) -> str:
    """Return a sentence on accuracies of either side that lie far outside the anchors; "" where none do."""
    import numpy as np

    from mobilebench.analysis.score_files import far_outside

    datasets = [name for name in a.datasets if name in b.datasets]
    low, high = np.array([anchors[name] for name in datasets]).T
    top1 = np.concatenate([side.select(datasets=datasets).mean for side in (a, b)])
    models = [f"{model} of {side}" for side, matrix in zip("AB", (a, b), strict=True) for model in matrix.models]
    return far_outside(models, datasets, (top1 - low) / (high - low))


def _show(found: Comparison, a: str, b: str) -> None:
    from mobilebench.cli.console import console, plain_table
    from mobilebench.scoring.measures import dataset_heads, heading

    n = len(found.seeds)
    over = {row.interval_over for row in found.rows}
    how = f"paired over {n} seeds" if n > 1 else "single seed" + (", so no interval" if over == {""} else "")
    if images := sorted(name for name in over if "test" in name):
        how += f"; intervals over {' or '.join(images)} images"
    console.print(
        f"A = {a}, B = {b}: {len(found.models)} models x {len(found.datasets)} datasets, {how}", soft_wrap=True
    )
    heads = dict(zip(found.datasets, dataset_heads(found.datasets, found.metrics), strict=True))
    if found.of("xscore"):
        console.print(
            "xScores here are on one scale for A and B; `mobilebench score` has each on its own.", soft_wrap=True
        )
    for title, rows in (
        (f"{heading(found.metrics)}, mean over models", found.of("dataset")),
        ("xScore", [*found.of("xscore"), *found.of("mean xscore")]),
    ):
        if rows:
            view = plain_table(title=title)
            for name in ("", "A", "B", "B - A", f"{found.level:.0%} interval", "P(B better)", "cells"):
                view.add_column(name, justify="left" if not name else "right")
            for row in rows:
                view.add_row(heads.get(row.name, row.name) if row.metric else row.name, *_line(row))
            console.print(view)
    if any(found.only):
        sides = (
            f"{count} cells that only {side} has" + (f" (all of {', '.join(models)})" if models else "")
            for side, count, models in zip("AB", found.only, found.only_models, strict=True)
        )
        console.print(f"Left out: {'; '.join(sides)}.", soft_wrap=True)


def _line(row: Difference) -> list[str]:
    from mobilebench.evaluation.metrics import get_metric

    show = get_metric(row.metric).show if row.metric else "{:.3f}".format

    def number(value: float, *, signed: bool = False) -> str:
        if not math.isfinite(value):
            return "-"
        return ("+" if signed and value >= 0 else "") + show(value)

    low, high = number(row.low, signed=True), number(row.high, signed=True)
    interval = f"{low} to {high}" if math.isfinite(row.low) else "-"
    sure = f"{row.p_better:.2f}" if math.isfinite(row.p_better) else "-"
    return [number(row.a), number(row.b), number(row.difference, signed=True), interval, sure, str(row.cells)]


@click.command()
@click.argument("run_id")
@click.option("--write-params", is_flag=True, help="Write params.yaml for this run alone, as a new experiment.")
@click.option("--force", is_flag=True, help="Replace a params.yaml whose changes git does not have.")
@click.option(
    "--project", type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="With --write-params: the folder that the run's relative paths of own images start from.",
)  # fmt: skip
def reproduce(run_id: str, *, write_params: bool, force: bool, project: Path | None) -> None:
    """Print the commands that make RUN_ID's number again, and check whether this checkout can; exit 1 if not."""
    from mobilebench.analysis.reproduce import as_yaml, plan, suite_of
    from mobilebench.cli.console import console, plain_table
    from mobilebench.cli.project import replace_params
    from mobilebench.tracking import Tracker

    tracker = Tracker()
    if write_params:
        replace_params(as_yaml(suite_of(tracker, run_id, project)), force=force)
        console.print("params.yaml is now the suite of this one run")
        return
    found = plan(tracker, run_id)
    view = plain_table(title=f"run {run_id}")
    for name in ("", "then", "here", ""):
        view.add_column(name)
    for check in found.checks:
        verdict = "same" if check.same else "[red]differs[/red]" if check.needed else "[yellow]differs[/yellow]"
        view.add_row(check.name, check.then, check.here, verdict)
    console.print(view)
    if found.is_able:
        console.print("This checkout can make the number again; on another processor or GPU, up to rounding.")
    console.print("From nothing:" if found.is_able else "This checkout cannot, as it is. From nothing:")
    for command in found.commands:
        console.print(f"  {command}", soft_wrap=True, markup=False)
    if not found.is_able:
        raise SystemExit(1)


@click.command()
@click.argument("dataset", shell_complete=completion.datasets)
@click.option(
    "--model", "models", multiple=True, help="Only this model; may be given several times.",
    shell_complete=completion.models,
)  # fmt: skip
@click.option("--seed", "seeds", multiple=True, type=int, help="Only this seed; may be given several times.")
def register(dataset: str, models: tuple[str, ...], seeds: tuple[int, ...]) -> None:
    """Make the finished cells of params.yaml on DATASET versions of registered models, with aliases."""
    from mobilebench.cli.console import console
    from mobilebench.config.suite import select_cells
    from mobilebench.execution.suites import open_suite
    from mobilebench.runs.score_check import check, describe

    suite = open_suite()
    wanted = set(select_cells(suite, dataset, models, seeds))
    with console.status("loading PyTorch"):
        from mobilebench.analysis.identities import identities_here
        from mobilebench.datasets.packing.packed import open_packed
        from mobilebench.execution.model_versions import register as register_all
        from mobilebench.system.layout import PACKED
        from mobilebench.tracking import Tracker

    tracker = Tracker()
    recipes = {cell: suite.protocol.recipe_hash_for(cell.model, cell.dataset) for cell in wanted}
    checked = check(tracker.records(suite.experiment), recipes, identities_here(suite, [dataset])[0])
    for line in describe([problem for problem in checked.problems if problem.kind != "missing"]):
        console.print(f"[yellow]left out[/yellow] {line}", soft_wrap=True)
    if not checked.records:
        raise click.ClickException(f"no finished cell of params.yaml on {dataset}; `mobilebench train {dataset}` first")
    for done in register_all(tracker, suite, open_packed(PACKED / dataset), checked.records):
        what = "new" if done.is_new else "already there"
        console.print(f"{done.version.name} version {done.version.number} (run {done.version.run_id}): {what}")


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for a network.")
@click.option("--port", default=5000, show_default=True, help="Port to listen on.")
@click.option("--allowed-hosts", help="Names workers call this server by, as name:port, with commas between.")
@click.option("--database", envvar="MOBILEBENCH_DATABASE", help="postgresql://user:password@host:port of your own.")
@click.option("--folder", type=click.Path(path_type=Path), default=Path(".mobilebench/server"), show_default=True)
def server(host: str, port: int, allowed_hosts: str | None, database: str | None, folder: Path) -> None:
    """Run a tracking server for many workers: MLflow on PostgreSQL, artifacts in a folder, accounts required."""
    from mobilebench.cli.console import console
    from mobilebench.system.extras import require
    from mobilebench.system.signals import termination_as_interrupt
    from mobilebench.tracking.server import ADMIN, Server

    for package in ("psycopg", "mlflow"):
        require(package)
    wanted = Server(folder, host, port, allowed_hosts, database)
    console.print("starting PostgreSQL and MLflow (half a minute)")
    try:
        with termination_as_interrupt(), wanted.running() as child:
            console.print(_welcome(wanted.address, ADMIN, folder), soft_wrap=True)
            if not wanted.admin_enters():
                console.print(
                    f"[yellow]The accounts of this database are older than {folder}: {ADMIN} has the password of the "
                    "server that made them, in the secrets.json of its folder (--folder starts on that one).[/yellow]",
                    soft_wrap=True,
                )
            child.wait()
    except KeyboardInterrupt:
        console.print("stopped")


def _welcome(address: str, admin: str, folder: Path) -> str:
    return f"""
The tracking server is ready; Ctrl-C ends it. The password of {admin} is in {folder}/secrets.json.
For each worker:
  export MLFLOW_TRACKING_URI={address}
  export MLFLOW_TRACKING_USERNAME={admin} MLFLOW_TRACKING_PASSWORD=...
docs/tracking-server.md has the rest: accounts, names, TLS, backup."""
