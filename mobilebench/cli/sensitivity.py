"""How sensitive is the protocol: run a probe of its settings, write its report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from mobilebench.cli import completion

if TYPE_CHECKING:
    from collections.abc import Callable

    from mobilebench.config.suite import Suite

    Command = Callable[..., None]


class _RunByDefault(click.Group):
    """`sensitivity --model mobilevit` is `sensitivity run --model mobilevit`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_RunByDefault)
def sensitivity() -> None:
    """Probe the protocol's settings on validation images cut out of train; test is never read.

    Without a sub-command it runs the probe.
    """


def _cells(command: Command) -> Command:
    """Add the options that say which cells and which studies are meant."""
    for option in (
        click.option("--storage", help="Optuna storage URL; default: sqlite in .mobilebench."),
        click.option("--seed", "seeds", multiple=True, type=click.IntRange(0), help="Only this seed; repeatable."),
        click.option(
            "--dataset",
            "datasets",
            multiple=True,
            help="Only this dataset; repeatable.",
            shell_complete=completion.datasets,
        ),
        click.option(
            "--model", "models", multiple=True, help="Only this model; repeatable.", shell_complete=completion.models
        ),
    ):
        command = option(command)
    return command


@sensitivity.command()
@_cells
@click.option("--space", help="Settings, e.g. lr,warmup or lr=0.0001:0.001:0.01,batch.")
@click.option("--samples", type=click.IntRange(0), help="Quasi-random points over all settings.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Trials at the same time.")
@click.option("--prune", type=click.Choice(["asha", "hyperband"]), help="Give up bad trials early.")
@click.option("--retry-failed", is_flag=True, help="Try failed trials again.")
@click.option("--take-over", is_flag=True, help="Go on with the trials of machines that are gone.")
def run(*, storage: str | None, jobs: int, retry_failed: bool, take_over: bool, **options: Any) -> None:
    """Run every trial that is not finished yet."""
    from dataclasses import replace

    from mobilebench.cli.console import console
    from mobilebench.cli.trials import show_regrets, trial_progress
    from mobilebench.execution.context import raise_if_repacking_is_due
    from mobilebench.search.space import plan
    from mobilebench.search.studies import DEFAULT_STORAGE, Studies
    from mobilebench.sensitivity.cells import collect, probed_cells

    suite = _suite(**options)
    probed = probed_cells(suite, suite.sensitivity)
    for cell in probed:  # before anything slow is imported: a value that is not allowed
        plan(cell.recipe, suite.sensitivity)
    for meta in {cell.cell.dataset: cell.packed.meta for cell in probed}.values():
        raise_if_repacking_is_due(suite, meta)
    studies = Studies(storage or DEFAULT_STORAGE)
    with console.status("loading PyTorch"):
        from mobilebench.sensitivity.run import Runner
        from mobilebench.tracking import Tracker

        tracker = Tracker()
    with trial_progress() as progress:
        runner = Runner(probed, suite.sensitivity, studies, tracker, progress, jobs=jobs)
        replace(runner, retry_failed=retry_failed, take_over=take_over).run()
    probes, _ = collect(probed, studies)
    show_regrets(probes)
    console.print("Next: mobilebench sensitivity report")


@sensitivity.command()
@_cells
def report(*, storage: str | None, **options: Any) -> None:
    """Write results/sensitivity/report.md from the studies of the present protocol and data."""
    from pathlib import Path

    from mobilebench.cli.console import console
    from mobilebench.cli.unknown import warn_of_unknown_networks
    from mobilebench.report.sensitivity import write_sensitivity
    from mobilebench.search.studies import DEFAULT_STORAGE, Studies
    from mobilebench.sensitivity.cells import collect, parent_run, probed_cells
    from mobilebench.sensitivity.results import findings
    from mobilebench.system.layout import RESULTS
    from mobilebench.tracking import Tracker

    suite = _suite(**options, networks=False)
    warn_of_unknown_networks(suite)
    probes, refused = collect(probed_cells(suite, suite.sensitivity), Studies(storage or DEFAULT_STORAGE))
    for line in refused:
        console.print(f"[yellow]refused[/yellow] {line}", soft_wrap=True)
    with console.status("fitting importances"):
        found = findings(suite, probes)
    folder = Path(RESULTS) / "sensitivity"
    paths = write_sensitivity(folder, found)
    tracker = Tracker()
    tracker.add_artifacts(parent_run(tracker, suite), folder)
    console.print(f"{paths[0]} and {len(paths) - 1} figures and tables are written, and kept with the trials in MLflow")


def _suite(
    *,
    models: tuple[str, ...],
    datasets: tuple[str, ...],
    seeds: tuple[int, ...],
    space: str | None = None,
    samples: int | None = None,
    prune: str | None = None,
    networks: bool = True,
) -> Suite:
    """Return the suite of params.yaml with what the options change of its sensitivity section.

    networks: as `open_suite` takes it.
    """
    from dataclasses import replace

    from mobilebench.execution.suites import open_suite
    from mobilebench.search.space import parse_space

    suite = open_suite(networks=networks)
    given: dict[str, Any] = {"models": models, "datasets": datasets, "seeds": seeds}
    changes = {key: value for key, value in given.items() if value}
    if space:
        changes["space"], changes["values"] = parse_space(space)
    if samples is not None:
        changes["samples"] = samples
    if prune:
        changes["prune"] = prune
    return replace(suite, sensitivity=replace(suite.sensitivity, **changes))
