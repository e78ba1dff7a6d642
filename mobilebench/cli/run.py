"""`mobilebench run`: all cells that are left of several datasets, in one call."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from mobilebench.cli import completion
from mobilebench.cli.dry_run import look, plan_of, prepare_first
from mobilebench.cli.json_answer import answer, json_option
from mobilebench.cli.places import Place, RayOptions, place, share

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mobilebench.cli.training import Opened
    from mobilebench.config.suite import Cell, Suite
    from mobilebench.execution.grid import Failure
    from mobilebench.system.until import Deadline

_ONLY_ON = {
    "part": ("ray", "slurm"),
    "attempts": ("ray",),
    "mirror": ("ray",),
    "mirror_every": ("ray",),
    "node_data": ("ray",),
    "most_at_once": ("slurm",),
}


@click.command()
@click.argument("datasets", nargs=-1, metavar="[DATASET]...", shell_complete=completion.datasets)
@click.option(
    "--model", "models", multiple=True, help="Only this model; may be given several times.",
    shell_complete=completion.models,
)  # fmt: skip
@click.option("--seed", "seeds", multiple=True, type=int, help="Only this seed; may be given several times.")
@click.option(
    "--on",
    type=place,
    metavar="PLACE",
    help="Where: serial, processes, ray (this machine as a cluster), ray:HOST:PORT or ray:auto; slurm prints a job "
    "array.  [default: serial or processes, as runtime.cells_per_device says]",
)
@click.option(
    "--gpus-per-cell",
    "part",
    type=share,
    metavar="auto|PART",
    help="On ray and slurm: the part of a card that a cell takes, 0.25 for four on one; auto, on ray, goes by memory.",
)
@click.option(
    "--attempts",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="On ray: attempts in a row without a new epoch after which a cell has failed.",
)
@click.option(
    "--mirror",
    metavar="URL",
    help="On ray, where nodes do not share the project folder: where cells are kept (s3://..., file:///...).",
)
@click.option("--mirror-every", type=click.IntRange(1), default=1, show_default=True, help="Epochs between two copies.")
@click.option(
    "--node-data",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="On ray: a folder of each node's own disk that packed datasets are copied to, once.",
)
@click.option("--most-at-once", type=click.IntRange(1), help="On slurm: tasks that may run at a time.")
@click.option("--offline", is_flag=True, help="Contact no tracking server; `mobilebench sync` delivers later.")
@click.option("--dry-run", is_flag=True, help="Say what there is to do and how long it may take; train nothing.")
@click.option(
    "--until",
    metavar="TIME",
    help="Stop then, as Ctrl-C does: 18:30, +90m, +2h or a date and time (2031-05-17T18:30).",
)
@json_option
def run(
    datasets: tuple[str, ...],
    models: tuple[str, ...],
    seeds: tuple[int, ...],
    on: Place | None,
    part: float | None,
    attempts: int,
    mirror: str | None,
    mirror_every: int,
    node_data: Path | None,
    most_at_once: int | None,
    until: str | None,
    *,
    offline: bool,
    dry_run: bool,
) -> None:
    """Train the cells that are not finished yet of every DATASET of the suite (or of those named), longest first."""
    from mobilebench.config.suite import select_cells
    from mobilebench.execution.suites import open_suite
    from mobilebench.system.until import Deadline, local_now, parse_until

    deadline = Deadline(None if until is None else parse_until(until, local_now()))
    suite = open_suite()
    wanted = [select_cells(suite, dataset, models, seeds) for dataset in dict.fromkeys(datasets or suite.datasets)]
    _raise_if_of_elsewhere(click.get_current_context(), on)
    if dry_run:
        look(suite, [cell for cells in wanted for cell in cells], on)
        return
    if on is not None and on.kind == "slurm":
        _print_array(suite, wanted, round(1 / (part or 1)), most_at_once)
        return
    ray = RayOptions(part, attempts, mirror, mirror_every, node_data)
    _carry_out(suite, wanted, _again(click.get_current_context()), on, ray, deadline, offline=offline)


def _raise_if_of_elsewhere(context: click.Context, on: Place | None) -> None:
    """Raise UsageError for an option that says something of another place than that of --on."""
    kind = "" if on is None else on.kind
    for option in context.command.params:
        places = _ONLY_ON.get(option.name or "")
        given = context.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE
        if places and given and kind not in places:
            raise click.UsageError(
                f"{option.opts[-1]} goes with --on {' or '.join(places)}, and this call is "
                f"{f'--on {kind}' if kind else 'without --on'}; leave it out, or say where"
            )


def _again(context: click.Context) -> str:
    """Return the command that goes on: as it was given, without the time at which it was to stop."""
    words = ["mobilebench", "run"]
    for option in context.command.params:
        name = option.name or ""
        given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if not given or name == "until":
            continue
        value = context.params[name]
        for each in value if isinstance(value, tuple) else [value]:
            flag = [option.opts[-1]] if isinstance(option, click.Option) else []
            words += flag + ([] if each is True else [str(each)])
    return shlex.join(words)


def _carry_out(
    suite: Suite,
    wanted: Sequence[list[Cell]],
    command: str,
    on: Place | None,
    ray: RayOptions,
    deadline: Deadline,
    *,
    offline: bool,
) -> None:
    from dataclasses import asdict, replace

    from mobilebench.cli import training
    from mobilebench.cli.console import console
    from mobilebench.cli.hours import hours_in_words
    from mobilebench.runs.status import grid_states

    opened = _open(suite, wanted)
    training.say_what_is_left(opened)
    training.deliver_finished(opened, offline=offline)
    left = [cell for one in opened for cell in one.cells]
    failed: list[Failure] = []
    if left:
        with console.status("looking which cells take longest"):
            planned = plan_of(suite, left)
            order = [found.cell for found in planned.cells]
            order += [cell for cell in left if cell not in order]  # what another process has finished meanwhile
        console.print(" ".join(hours_in_words(planned)), soft_wrap=True)
        known = [found.memory_bytes for found in planned.cells]
        if known and None not in known:
            ray = replace(ray, memory_bytes=max(size for size in known if size is not None))
        failed = training.carry_out(opened, order, command, offline=offline, on=on, ray=ray, until=deadline)
    states = grid_states(suite, left) if answer() else {}
    answer(
        dry_run=False,
        stopped=deadline.reached,
        finished_before=sum(len(one.finished) for one in opened),
        cells=[asdict(cell) | asdict(state) for cell, state in states.items()],
    )
    training.raise_if_failed(failed, left)


def _print_array(suite: Suite, wanted: Sequence[list[Cell]], per_task: int, most_at_once: int | None) -> None:
    """Print the script of a job array for what is left, and nothing else, on stdout."""
    import sys

    from mobilebench.execution.slurm import array_script

    left = [cell for one in _open(suite, wanted) for cell in one.cells]
    planned = plan_of(suite, left) if left else None
    order = [found.cell for found in planned.cells] if planned else []
    click.echo(
        array_script(
            suite, order, per_task=per_task, most_at_once=most_at_once, folder=Path.cwd(), python=sys.executable,
            gpus=suite.runtime.device != "cpu",
        ),
        nl=False,
    )  # fmt: skip


def _open(suite: Suite, wanted: Sequence[list[Cell]]) -> list[Opened]:
    """Open the data of all datasets. Raises UserError that names every one that cannot be trained on."""
    from mobilebench.cli.training import open_cells
    from mobilebench.datasets.packing.packed import META
    from mobilebench.errors import UserError
    from mobilebench.system.layout import PACKED

    absent, problems, opened = [], [], []
    for cells in wanted:
        dataset = cells[0].dataset
        if not (PACKED / dataset / META).exists():
            absent.append(dataset)
            continue
        try:
            opened.append(open_cells(suite, cells))
        except UserError as error:
            problems.append(str(error))
    if absent:
        problems.insert(0, prepare_first(absent))
    if problems:
        raise UserError("\n".join(problems))
    return opened
