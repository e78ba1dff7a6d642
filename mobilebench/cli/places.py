"""Where `mobilebench run` trains: the value of --on, and the executor of a Ray cluster for a suite."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mobilebench.config.suite import Suite
    from mobilebench.execution.executors.ray_cluster import RayExecutor

KINDS = ("serial", "processes", "ray", "slurm")


@dataclass(frozen=True)
class Place:
    """Where cells are trained."""

    kind: str
    """One of `KINDS`."""
    address: str | None = None
    """Of a Ray cluster: `HOST:PORT` or `auto`; None for a cluster of this machine alone."""

    def __str__(self) -> str:
        return self.kind if self.address is None else f"{self.kind}:{self.address}"


def place(value: str) -> Place:
    """Return the place that an option's value means. Raises BadParameter."""
    kind, _, address = value.partition(":")
    if kind not in KINDS or (address and kind != "ray"):
        raise click.BadParameter(
            f"{value!r} is no place; expected serial, processes, ray, ray:HOST:PORT, ray:auto or slurm"
        )
    return Place(kind, address or None)


def share(value: str) -> float | None:
    """Return which part of a card an option's value means, None for `auto`. Raises BadParameter."""
    if value == "auto":
        return None
    try:
        part = float(value)
    except ValueError:
        part = math.nan
    if not 0 < part <= 1:
        raise click.BadParameter(
            f"{value!r} is no part of a card; expected auto, or above 0 to 1, as 0.25 for four cells on one"
        )
    return part


@dataclass(frozen=True)
class RayOptions:
    """What the command line says of a run on Ray."""

    gpus_per_cell: float | None = None
    """The part of a card that a cell takes; None to go by what it is known to need."""
    attempts: int = 3
    """Attempts in a row without a new epoch after which a cell has failed."""
    mirror: str | None = None
    """Address where journals and checkpoints are kept of nodes that do not share the project folder."""
    mirror_every: int = 1
    """Epochs after which a cell is put there."""
    node_data: Path | None = None
    """Folder of each node's own disk that packed datasets are copied to."""
    memory_bytes: int | None = None
    """Most memory that a training is known to need."""


@contextmanager
def ray_opened(
    suite: Suite, address: str | None, options: RayOptions, note: Callable[[str], None]
) -> Iterator[tuple[RayExecutor, Suite]]:
    """Connect to a cluster while the block runs, and yield its executor and the suite as its workers have it.

    Raises UserError where threads are not pinned for cells on CPUs, and as `RayExecutor.open`.
    """
    from mobilebench.execution.executors.ray_cluster import RayExecutor
    from mobilebench.execution.executors.ray_nodes import Needs
    from mobilebench.runs.mirror import Mirror
    from mobilebench.system.layout import STATE

    needs = Needs(float(suite.runtime.threads or 1))
    root = Path.cwd()
    mirror = Mirror(options.mirror, root / STATE) if options.mirror else None
    executor = RayExecutor(
        address, root, needs, options.attempts, note=note, mirror=mirror, mirror_every=options.mirror_every,
        node_data=options.node_data,
    )  # fmt: skip
    try:
        yield executor, _connected(executor, suite, options, note)
    finally:
        executor.close()


def _connected(executor: RayExecutor, suite: Suite, options: RayOptions, note: Callable[[str], None]) -> Suite:
    from mobilebench.errors import UserError
    from mobilebench.execution.executors.ray_nodes import Needs

    runtime = suite.runtime
    has_gpus = executor.connect() and runtime.device != "cpu"
    if has_gpus:
        executor.needs = Needs(executor.needs.cpus, 1.0)
    elif runtime.device not in {"auto", "cpu"}:
        raise UserError(
            f"runtime.device is {runtime.device}, and no node of the cluster has a GPU that Ray knows of; start nodes "
            "with `ray start --num-gpus=N`, or set runtime.device to cpu"
        )
    elif runtime.threads is None:
        raise UserError(
            "runtime.threads is null, and on a cluster each node would choose for itself; the number of CPU threads "
            "decides how sums are rounded. Set runtime.threads in params.yaml, to 2 or 4, say"
        )
    executor.check()
    if has_gpus:
        executor.needs = Needs(executor.needs.cpus, _share(executor, options, note))
    device = "cuda" if has_gpus else "cpu"
    threads = runtime.threads or 1
    shared = replace(runtime, device=device, threads=threads, cells_per_device=executor.needs.sharers)
    return replace(suite, runtime=shared)


def _share(executor: RayExecutor, options: RayOptions, note: Callable[[str], None]) -> float:
    """Return which part of a card a cell takes: as asked for, or 1/k for the most that fit the smallest card."""
    from mobilebench.training.memory import RESERVE

    if options.gpus_per_cell is not None:
        return options.gpus_per_cell
    cards = [size for greeting in executor.greetings for size in greeting.gpu_bytes]
    if options.memory_bytes is None or not cards:
        note("a whole card for each cell: `mobilebench models profile` says how much memory a training needs")
        return 1.0
    sharers = max(1, min(cards) // (options.memory_bytes + RESERVE))
    note(f"{sharers} cells to a card, by the memory of the smallest card and of the largest training")
    return 1.0 / sharers
