"""What `mobilebench run` has to do: the cells that are left, longest first, and the answer of --dry-run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilebench.cli.json_answer import answer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mobilebench.cli.places import Place
    from mobilebench.config.recipe import Recipe
    from mobilebench.config.suite import Cell, Suite
    from mobilebench.execution.plan import CellPlan, Plan

_SHOWN = 10  # cells of the order that a dry run prints
_CLASSES = 10  # that networks are counted with: of the multiply-adds of most, the head is less than a hundredth


def prepare_first(datasets: Sequence[str]) -> str:
    """Say which datasets are to be prepared, and how."""
    command = f"`mobilebench data prepare {datasets[0] if len(datasets) == 1 else 'DATASET'}`"
    each = "" if len(datasets) == 1 else " for each"
    return f"not prepared yet: {', '.join(datasets)}. Run {command}{each}, or name the datasets to train on"


def plan_of(suite: Suite, cells: Sequence[Cell]) -> Plan:
    """Return what of these cells is left to train, longest first."""
    from mobilebench.execution.estimate import device_here
    from mobilebench.execution.plan import plan
    from mobilebench.runs.status import grid_states

    return plan(suite, grid_states(suite, cells), device_here(suite.runtime.device), _count)


def _count(model: str, recipe: Recipe) -> int | None:
    from mobilebench.models.meta import count_macs  # imports torch

    return count_macs(recipe.network_of(model), _CLASSES, recipe.model_options, recipe.resolution)


def look(suite: Suite, cells: Sequence[Cell], on: Place | None) -> None:
    """Print what is left, and leave everything as it is."""
    from dataclasses import asdict

    from mobilebench.cli.console import console
    from mobilebench.execution.suites import trainings
    from mobilebench.system.files import no_caches_written
    from mobilebench.training.device import devices_of

    with console.status("looking at the cells"), no_caches_written():
        planned = plan_of(suite, cells)
        to_train = [found.cell for found in planned.cells if found.epochs_left]
        devices = len(devices_of(suite.runtime.device))
    workers = (
        1 if on is not None and on.kind == "serial" else suite.runtime.workers(trainings(suite, to_train), devices)
    )
    answer(
        dry_run=True,
        device=planned.device,
        other_devices=planned.elsewhere,
        at_once=workers,
        seconds_left=planned.seconds if planned.known else None,
        seconds_left_at_once=planned.seconds_at(workers) if planned.known else None,
        cells_without_estimate=len(planned.unknown),
        bytes_to_move=_bytes_to_move(planned),
        datasets=planned.data,
        cells=[asdict(found.cell) | _without_cell(asdict(found)) for found in planned.cells],
    )
    _print_data(planned)
    _print_cells(planned, workers)


def _without_cell(row: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in row.items() if key != "cell"}


def _bytes_to_move(planned: Plan) -> int:
    """Return what of packed data a machine needs that trains what is left."""
    return sum(data.packed_bytes for data in planned.data if data.to_train or data.is_parent)


def _print_data(planned: Plan) -> None:
    from mobilebench.cli.console import console, plain_table
    from mobilebench.system.disk import shown_bytes

    table = plain_table("dataset")
    for heading in ("to train", "to deliver", "finished", "packed"):
        table.add_column(heading, justify="right")
    for data in planned.data:
        counts = (str(count or "") for count in (data.to_train, data.to_deliver, data.finished))
        table.add_row(data.dataset, *counts, shown_bytes(data.packed_bytes) if data.is_prepared else "no")
    console.print(table)
    absent = [data.dataset for data in planned.data if not data.is_prepared]
    if absent:
        console.print(prepare_first(absent), soft_wrap=True)
    part = ", without what is not packed yet" if absent else ""
    console.print(f"Packed data of what is to be trained: {shown_bytes(_bytes_to_move(planned))}{part}.")


def _print_cells(planned: Plan, workers: int) -> None:
    from mobilebench.cli.console import console, plain_table
    from mobilebench.cli.hours import clock, hours_in_words
    from mobilebench.system.disk import shown_bytes

    if not planned.cells:
        console.print("No cell is left to train.")
        return
    console.print(" ".join(hours_in_words(planned, workers)), soft_wrap=True)
    console.print(_memory(planned.cells), soft_wrap=True)
    table = plain_table(title=f"The first {min(_SHOWN, len(planned.cells))} of {len(planned.cells)}:")
    table.add_column("cell", no_wrap=True)
    for heading in ("epochs left", "h:min:s", "memory"):
        table.add_column(heading, justify="right")
    table.add_column("estimated by")
    for found in planned.cells[:_SHOWN]:
        time = "?" if found.seconds is None else clock(found.seconds)
        memory = "?" if found.memory_bytes is None else shown_bytes(found.memory_bytes)
        table.add_row(found.cell.name, f"{found.epochs_left}/{found.epochs}", time, memory, found.basis)
    console.print(table)


def _memory(cells: Sequence[CellPlan]) -> str:
    """Return what is known of the memory of one training."""
    from mobilebench.system.disk import shown_bytes

    unknown = dict.fromkeys(found.cell.model for found in cells if found.memory_bytes is None)
    sizes = [found.memory_bytes for found in cells if found.memory_bytes is not None]
    known = ""
    if sizes:
        low, high = shown_bytes(min(sizes)), shown_bytes(max(sizes))
        span = low if low == high else f"{low} to {high}"
        known = f"Memory of a training: {span}, an estimate for fp32 with Adam. "
    if not unknown:
        return known.strip()
    names = f" --models {','.join(unknown)}" if sizes else ""
    return f"{known}Memory not known of {', '.join(unknown)}: `mobilebench models profile{names}` estimates it."
