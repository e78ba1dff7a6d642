"""Commands that work on the grid of params.yaml: init, train, sync, ui."""

from __future__ import annotations

from pathlib import Path

import click

from mobilebench.cli import completion


@click.command()
@click.argument("suite", required=False, shell_complete=completion.suites)
@click.option(
    "--model", "models", multiple=True, help="This model in place of the suite's; may be given several times.",
    shell_complete=completion.every_model,
)  # fmt: skip
@click.option(
    "--data",
    "own",
    multiple=True,
    metavar="ID=PATH",
    help="A dataset of your own beside the suite's: a folder of class folders, or a CSV; may be given several times.",
)
@click.option("--force", is_flag=True, help="Replace a params.yaml whose changes git does not have.")
def init(suite: str | None, models: tuple[str, ...], own: tuple[str, ...], *, force: bool) -> None:
    """Make this folder a project: write params.yaml from a packaged SUITE; without one, list the suites.

    In a folder that is no project yet, dvc.yaml and what DVC and git ignore are written too, and `dvc init` is called.
    """
    from mobilebench.cli.console import console
    from mobilebench.cli.project import make_project, own_data, write_params
    from mobilebench.config.suite import presets
    from mobilebench.execution.suites import check_models, open_suite

    if suite is None:
        for name, line in presets().items():
            console.print(f"[bold]{name:16}[/bold] {line}")
        return
    check_models(models)
    write_params(suite, models, own_data(own), force=force)
    loaded = open_suite()
    grid = f"{len(loaded.models)} models x {len(loaded.datasets)} datasets x {len(loaded.seeds)} seeds"
    console.print(
        f"params.yaml is now the suite [bold]{suite}[/bold]: {grid}, protocol {loaded.protocol.hash}, experiment "
        f"{loaded.experiment!r}.",
        soft_wrap=True,
    )
    for line in make_project():
        console.print(line, soft_wrap=True)
    console.print("Next: mobilebench status, then dvc repro.")


@click.command()
@click.argument("dataset", shell_complete=completion.datasets)
@click.option(
    "--model", "models", multiple=True, help="Only this model; may be given several times.",
    shell_complete=completion.models,
)  # fmt: skip
@click.option("--seed", "seeds", multiple=True, type=int, help="Only this seed; may be given several times.")
@click.option("--offline", is_flag=True, help="Contact no tracking server; `mobilebench sync` delivers later.")
@click.option("--redo", "again", is_flag=True, help="Train finished cells anew; their old runs count as superseded.")
def train(dataset: str, models: tuple[str, ...], seeds: tuple[int, ...], *, offline: bool, again: bool) -> None:
    """Train the suite's cells on DATASET that are not finished yet."""
    from mobilebench.cli import training
    from mobilebench.config.suite import select_cells
    from mobilebench.execution.suites import open_suite

    suite = open_suite()
    opened = training.open_cells(suite, select_cells(suite, dataset, models, seeds), again=again)
    training.say_what_is_left([opened])
    training.deliver_finished([opened], offline=offline)
    if opened.cells:
        command = f"mobilebench train {dataset}"
        failed = training.carry_out([opened], opened.cells, command, offline=offline, again=again)
        training.raise_if_failed(failed, opened.cells)


@click.command()
@click.argument("folder", required=False, type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--accept-redo", is_flag=True, help="Let runs of FOLDER that were trained with --redo replace finished ones."
)
def sync(folder: Path | None, *, accept_redo: bool) -> None:
    """Deliver what waits in the journals of this folder (or of FOLDER, brought from another machine).

    FOLDER is a project folder, its .mobilebench, or the cells in that; it may be read-only.
    """
    from mobilebench.cli.console import console
    from mobilebench.config.suite import PARAMS
    from mobilebench.errors import UserError
    from mobilebench.execution.delivery import journals_below, sync_journals
    from mobilebench.system.layout import RESULTS, STATE

    if not journals_below(folder or STATE):
        if folder is None and PARAMS.exists():
            console.print("nothing to deliver: no cell was trained in this folder yet")
            return
        raise UserError(
            f"no journals in {folder or Path.cwd()}; expected a project folder in which cells were trained, its "
            ".mobilebench, or .mobilebench/cells"
        )
    from mobilebench.tracking import Tracker

    done = sync_journals(folder or STATE, RESULTS, Tracker(), accept_redo=accept_redo or folder is None)
    for name, error in done.failed:
        console.print(f"[red]{name}[/red]: {error}", soft_wrap=True)
    console.print(f"{done.delivered} runs delivered, {done.waiting} still in training")
    if done.failed:
        raise click.ClickException(f"{len(done.failed)} runs could not be delivered")


@click.command()
@click.option("--port", default=5000, show_default=True, help="Port on this machine.")
def ui(port: int) -> None:
    """Open MLflow's UI on the store that the runs are in, at the experiment of params.yaml where there is one."""
    from mobilebench.cli.console import console
    from mobilebench.system.signals import termination_as_interrupt
    from mobilebench.tracking.address import is_server, shown, uri
    from mobilebench.tracking.server import open_in_browser, ui_running

    address = uri()
    server = shown(address) if is_server(address) else f"http://127.0.0.1:{port}"
    if is_server(address):
        page = _runs_page(address, server)
        console.print(f"The runs are on a tracking server, whose UI is at {page}", soft_wrap=True)
        open_in_browser(page)
        return
    try:
        with termination_as_interrupt(), ui_running(address, port) as child:
            page = _runs_page(address, server)
            console.print(f"MLflow's UI: {page} (Ctrl-C ends it)", soft_wrap=True)
            open_in_browser(page)
            child.wait()
    except KeyboardInterrupt:
        console.print("stopped")


def _runs_page(address: str, server: str) -> str:
    """Return the address of the runs of params.yaml's experiment on a server; its first page where none can be told."""
    from mobilebench.config.suite import PARAMS
    from mobilebench.errors import UserError
    from mobilebench.execution.suites import open_suite
    from mobilebench.tracking import Tracker

    try:
        return Tracker(address).runs_page(open_suite(networks=False).experiment, server) if PARAMS.exists() else server
    except UserError:  # a server that is away, a params.yaml with a mistake: other commands say what
        return server
