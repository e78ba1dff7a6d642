"""The state of every cell of params.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from mobilebench.cli.json_answer import answer, json_option

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

    from mobilebench.config.suite import Cell, Suite
    from mobilebench.datasets.spec import DatasetSpec
    from mobilebench.datasets.status import DatasetState
    from mobilebench.execution.plan import Plan
    from mobilebench.runs.status import CellState

_NARROWEST = 7  # characters of a column that a state can still be read in


@click.command()
@json_option
def status() -> None:
    """Print the grid of params.yaml with the state of every cell, from this folder's files alone."""
    from dataclasses import asdict

    from mobilebench.cli.console import console
    from mobilebench.cli.unknown import warn_of_unknown_networks
    from mobilebench.datasets.packing.prepare import find
    from mobilebench.datasets.status import state_of
    from mobilebench.execution.estimate import device_here
    from mobilebench.execution.plan import plan
    from mobilebench.execution.suites import open_suite
    from mobilebench.runs.status import grid_states
    from mobilebench.system.layout import PACKED, RAW

    suite = open_suite(networks=False)
    warn_of_unknown_networks(suite)
    with console.status("looking at the cells"):
        states = grid_states(suite)
        left = plan(suite, states, device_here(suite.runtime.device))
    specs = [find(name, suite.data_sources) for name in suite.datasets]
    data = [state_of(spec, RAW, PACKED) for spec in specs]
    done = sum(state.name == "finished" for state in states.values())
    answer(
        suite=suite.suite,
        experiment=suite.experiment,
        protocol=suite.protocol.hash,
        finished=done,
        seconds_left=left.seconds if left.known else None,
        datasets_without_pace=list(dict.fromkeys(found.cell.dataset for found in left.unknown)),
        packed_bytes=sum(state.packed_bytes for state in data),
        cells=[asdict(cell) | asdict(state) for cell, state in states.items()],
    )
    _print_states(suite, states)
    console.print(f"{done} of {len(states)} cells are finished (shown by the metric of their dataset).")
    _print_what_is_left(left, list(zip(specs, data, strict=True)))


def _print_states(suite: Suite, states: Mapping[Cell, CellState]) -> None:
    """Print the grid, and below it what there is to say of its cells, those of one reason together."""
    from collections import defaultdict

    from mobilebench.cli.console import console, plain_table
    from mobilebench.runs.status import COLOURS

    table = plain_table(
        title=f"{suite.suite}: protocol {suite.protocol.hash}, experiment {suite.experiment!r}", tight=True
    )
    models = max(map(len, suite.models))
    if models + sum(1 + min(len(name), _NARROWEST) for name in suite.datasets) > console.width:
        _add_counts(table, suite, states)
    else:
        table.add_column("model", no_wrap=True)
        for dataset in suite.datasets:
            table.add_column(dataset, overflow="fold")
        for model in suite.models:
            row = []
            for dataset in suite.datasets:
                cells = [states[c] for c in suite.cells(dataset) if c.model == model]
                row.append("\n".join(f"[{COLOURS[s.name]}]{s.label}[/]" for s in cells))
            table.add_row(model, *row)
    console.print(table)
    reasons: dict[str, list[str]] = defaultdict(list)
    for cell, state in states.items():
        reasons[state.detail].append(cell.name)
    for detail, names in reasons.items():
        if detail:
            console.print(f"[bold]{', '.join(names)}[/bold]: {detail}", soft_wrap=True)


def _add_counts(table: Table, suite: Suite, states: Mapping[Cell, CellState]) -> None:
    """Fill a table with how many cells of each dataset are in which state, where a column a dataset has no room."""
    from mobilebench.runs.status import COLOURS

    present = [name for name in COLOURS if any(state.name == name for state in states.values())]
    table.add_column("dataset", no_wrap=True)
    for name in present:
        table.add_column(name, justify="right", style=COLOURS[name])
    for dataset in suite.datasets:
        of_dataset = [states[cell].name for cell in suite.cells(dataset)]
        table.add_row(dataset, *(str(of_dataset.count(name) or "") for name in present))


def _print_what_is_left(left: Plan, data: Sequence[tuple[DatasetSpec, DatasetState]]) -> None:
    """Print the time that the other cells take, and what the data takes or is still to be downloaded."""
    from mobilebench.cli.console import console
    from mobilebench.cli.hours import hours_in_words
    from mobilebench.datasets.status import download_bytes
    from mobilebench.system.disk import shown_bytes

    if left.known:
        more = ["`mobilebench run --dry-run` estimates it by their multiply-adds."] if left.unknown else []
        console.print(" ".join([*hours_in_words(left), *more]), soft_wrap=True)
    packed = sum(state.packed_bytes for _, state in data)
    if packed:
        console.print(f"The packed data takes {shown_bytes(packed)}.")
    named = {spec.id for spec, _ in data}
    # Of derived ones it is the parent that is got.
    got = [spec for spec, _ in data if spec.derived is None or spec.derived.parent.id not in named]
    absent = {spec.id for spec, state in data if state.name == "not here"}
    by_hand = [spec.id for spec in got if spec.id in absent and spec.by_hand_only]
    downloads = {spec.id: download_bytes(spec) for spec in got if spec.id in absent and not spec.by_hand_only}
    if downloads:
        sizes = (f"{name} ({shown_bytes(size) if size else 'size not published'})" for name, size in downloads.items())
        console.print(f"To download: {', '.join(sizes)}.", soft_wrap=True)
    if by_hand:
        console.print(
            f"To be got by hand: {', '.join(by_hand)}; `mobilebench data list DATASET` says how.", soft_wrap=True
        )
