"""What the commands that train cells have in common: which are left, what is delivered again, how it ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from mobilebench.cli.places import RayOptions, ray_opened

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from mobilebench.cli.places import Place
    from mobilebench.config.suite import Cell, Suite
    from mobilebench.execution.context import RunContext
    from mobilebench.execution.executors import Executor
    from mobilebench.execution.grid import Failure
    from mobilebench.system.until import Deadline
    from mobilebench.tracking import CellTracker


@dataclass(frozen=True)
class Opened:
    """Cells of one dataset that were asked for, with its data opened."""

    context: RunContext
    wanted: list[Cell]
    """All that were asked for."""
    cells: list[Cell]
    """Those of them that are to be trained or delivered."""

    @property
    def finished(self) -> list[Cell]:
        """The others."""
        return [cell for cell in self.wanted if cell not in self.cells]


def open_cells(suite: Suite, wanted: list[Cell], *, again: bool = False) -> Opened:
    """Open the data of cells of one dataset, and look which are finished. again: take none for finished.

    Raises UserError where the data is absent, damaged, or not what packing would give now.
    """
    from mobilebench.execution.context import open_context, raise_if_repacking_is_due
    from mobilebench.tracking import OfflineTracker

    context = open_context(suite, wanted[0].dataset, OfflineTracker(), verify=False)
    raise_if_repacking_is_due(suite, context.packed.meta)
    return Opened(context, wanted, [cell for cell in wanted if again or not context.is_finished(cell)])


def say_what_is_left(opened: Sequence[Opened]) -> None:
    """Print how many cells of each dataset are left, and what changed for those that were finished before."""
    from collections import Counter

    from mobilebench.cli.console import console

    for one in opened:
        left, wanted = len(one.cells), len(one.wanted)
        console.print(f"{one.context.dataset}: {left} of {wanted} cells to train, {wanted - left} finished")
        changes = Counter(change for cell in one.cells if (change := one.context.change(cell)))
        for change, count in changes.items():
            console.print(f"{count} of them finished before under another identity: {change}", soft_wrap=True)


def deliver_finished(opened: Sequence[Opened], *, offline: bool) -> None:
    """Deliver finished cells again whose runs the tracking store lost, and lay their predictions beside their results.

    A store that cannot be asked is no failure here: the cells are finished, and `score` says what is missing.
    """
    from mobilebench.cli.console import console
    from mobilebench.execution.kept import keep_finished
    from mobilebench.tracking import OfflineTracker

    some = any(one.finished for one in opened)
    tracker = OfflineTracker() if offline or not some else _deliver_lost(opened)
    for one in opened:
        for problem in keep_finished(one.context, one.finished, tracker):
            console.print(f"[yellow]predictions stay where they are[/yellow]: {problem}", soft_wrap=True)


def _deliver_lost(opened: Sequence[Opened]) -> CellTracker:
    """Deliver what the tracking store lost, say so, and return the store."""
    from mobilebench.cli.console import console
    from mobilebench.errors import TrackingError
    from mobilebench.execution.delivery import deliver_lost
    from mobilebench.tracking import OfflineTracker

    try:
        with console.status("looking whether the tracking store has the finished runs"):
            from mobilebench.tracking import Tracker

            tracker = Tracker()
            done = [deliver_lost(one.context, one.finished, tracker) for one in opened if one.finished]
    except TrackingError as error:
        console.print(f"[yellow]not known whether the store has the finished runs[/yellow]: {error}", soft_wrap=True)
        return OfflineTracker()
    failed = [failure for one in done for failure in one.failed]
    delivered = sum(one.delivered for one in done)
    for name, reason in failed:
        console.print(f"[red]{name}[/red]: {reason}", soft_wrap=True)
    if delivered:
        console.print(f"{delivered} finished runs that the tracking store no longer had are delivered again")
    if failed:
        raise click.ClickException(f"{len(failed)} finished runs could not be delivered again")
    return tracker


def carry_out(
    opened: Sequence[Opened],
    cells: Sequence[Cell],
    command: str,
    *,
    offline: bool,
    again: bool = False,
    on: Place | None = None,
    ray: RayOptions | None = None,
    until: Deadline | None = None,
) -> list[Failure]:
    """Train cells of the opened datasets in this order, with a progress bar, and return which failed and why.

    command: what a person calls to go on. again: their results are forgotten first. on: where; None for what
    runtime.cells_per_device says. ray: what goes with a cluster. until: when to stop as by Ctrl-C, which then is no
    failure.

    Raises SystemExit(130) after Ctrl-C.
    """
    from mobilebench.cli.console import console
    from mobilebench.execution.executors.processes import fork_server
    from mobilebench.execution.suites import trainings
    from mobilebench.system.signals import termination_as_interrupt
    from mobilebench.system.until import Deadline, stopped_at

    deadline = until or Deadline(None)
    suite = opened[0].context.suite
    if (on is not None and on.kind == "processes") or (
        on is None and suite.runtime.workers(trainings(suite, cells)) > 1
    ):
        fork_server()  # it loads PyTorch while this process does
    try:
        with termination_as_interrupt(), stopped_at(deadline):
            return _train(opened, cells, offline=offline, again=again, on=on, ray=ray)
    except KeyboardInterrupt:
        going_on = f"`{command}` goes on after the last finished epoch."
        if deadline.reached and deadline.moment is not None:
            console.print(f"\nStopped at {deadline.moment:%Y-%m-%d %H:%M}, as --until says. {going_on}", soft_wrap=True)
            return []
        console.print(f"\nStopped. {going_on}", soft_wrap=True)
        raise SystemExit(130) from None


def raise_if_failed(failed: Sequence[Failure], cells: Sequence[Cell]) -> None:
    """Raise ClickException with the names of those of the cells that are not finished."""
    if failed:
        names = ", ".join(cell.name for cell, _ in failed)
        raise click.ClickException(
            f"{len(failed)} of {len(cells)} cells are not finished: {names}. `mobilebench status` says why"
        )


def _train(
    opened: Sequence[Opened],
    cells: Sequence[Cell],
    *,
    offline: bool,
    again: bool,
    on: Place | None,
    ray: RayOptions | None,
) -> list[Failure]:
    from contextlib import ExitStack
    from dataclasses import replace

    from mobilebench.cli.console import console, grid_progress
    from mobilebench.config.protocol import epochs_of
    from mobilebench.system.words import counted

    contexts = {one.context.dataset: one.context for one in opened if one.cells}
    suite = opened[0].context.suite
    what = next(iter(contexts)) if len(contexts) == 1 else counted(len(contexts), "dataset")
    with console.status(f"loading PyTorch and {what}"):
        from mobilebench.execution.grid import run_cells
        from mobilebench.execution.tuned_cell import cell_run

        remote = on is not None and on.kind == "ray"
        _raise_if_untrainable(suite, contexts.values(), cells, remote=remote)  # before --redo forgets a result
        if not offline:  # MLflow is imported here and not before: a machine without a store needs none
            from mobilebench.tracking import Tracker

            store = Tracker()
            store.prepare(suite.experiment)  # before --redo forgets a result or hours are spent
            contexts = {name: replace(context, tracker=store) for name, context in contexts.items()}
    if again:
        for cell in cells:
            cell_run(contexts[cell.dataset], cell).reset()
    epochs = {cell: epochs_of(suite.protocol.recipe_for(cell.model, cell.dataset)) for cell in cells}
    with ExitStack() as held:
        executor: Executor | None = None
        if on is not None and on.kind == "ray":
            with console.status("looking at the nodes of the cluster"):
                executor, suite = held.enter_context(ray_opened(suite, on.address, ray or RayOptions(), _say))
            contexts = {name: replace(context, suite=suite) for name, context in contexts.items()}
        elif on is not None:
            executor = _executor(on.kind, suite, cells)
        progress = held.enter_context(grid_progress(epochs))
        shown = {name: replace(context, listener=progress) for name, context in contexts.items()}
        return run_cells(shown, cells, executor)


def _say(words: str) -> None:
    from mobilebench.cli.console import console

    console.print(words, soft_wrap=True, markup=False)


def _executor(on: str, suite: Suite, cells: Sequence[Cell]) -> Executor:
    """Return an executor by its name, for as many cells at a time as params.yaml says."""
    from mobilebench.execution.executors import EXECUTORS
    from mobilebench.execution.suites import trainings
    from mobilebench.training.device import devices_of

    devices = len(devices_of(suite.runtime.device))
    return EXECUTORS[on](suite.runtime.workers(trainings(suite, cells), devices))


def _raise_if_untrainable(
    suite: Suite, contexts: Collection[RunContext], cells: Sequence[Cell], *, remote: bool
) -> None:
    """Raise UserError where the device, a size, a tuning or the packed data would stop the cells."""
    from mobilebench.execution.suites import check_sizes
    from mobilebench.execution.tuned_cell import raise_if_untunable
    from mobilebench.training.device import check_device

    if not remote:
        check_device(suite.runtime.device)
    check_sizes(suite, cells)
    for context in contexts:
        raise_if_untunable(context, [cell for cell in cells if cell.dataset == context.dataset])
    for context in contexts:
        context.packed.verify()
