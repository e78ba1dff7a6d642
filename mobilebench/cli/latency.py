"""Latency alone, of `mobilebench models profile`: in a runtime, with its spread, as rows of device figures."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from mobilebench.cli.json_answer import answer
from mobilebench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from rich.table import Table
    from torch import nn

    from mobilebench.config.pixels import Resolution
    from mobilebench.config.recipe import Scalar
    from mobilebench.models.cost.device_file import DeviceRow
    from mobilebench.models.cost.timing import Timing

Runtime = Literal["torch", "ort"]
RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)
ONNX = ".onnx"


@dataclass(frozen=True)
class Subject:
    """What is measured: a network as the suite builds it, or an ONNX file."""

    name: str
    """The model's name in the suite; of a file its path."""
    model_id: str = ""
    options: Mapping[str, Scalar] = field(default_factory=dict)
    classes: int = 10
    resolution: Resolution = 224
    file: Path | None = None
    """The ONNX file, which says the model and the resolution itself; None for a network that is built."""


class Asked(NamedTuple):
    """How it is measured."""

    runtimes: tuple[Runtime, ...]
    """() for what each subject runs in: a network in PyTorch, a file in ONNX Runtime."""
    threads: tuple[int, ...]
    batch: int
    runs: int
    device: str | None
    """What this machine is called; None for its processor's name."""


class Measured(NamedTuple):
    """One figure: the row of a file of device figures, and what else is known of the times."""

    row: DeviceRow
    timing: Timing


def measure_latencies(subjects: Sequence[Subject], asked: Asked, append: Path | None) -> None:
    """Measure, print and, with `append`, write a row for each subject, runtime and number of threads."""
    from rich.progress import track

    from mobilebench.cli.console import console
    from mobilebench.models.cost import device_file, timing

    if append is not None and append.exists():
        device_file.read_device_results(append)  # refuse a damaged file before the work, not after it
    for subject in subjects:
        if subject.file is not None and "torch" in asked.runtimes:
            raise UserError(f"{subject.file} runs in ONNX Runtime, and --runtime torch is asked for; leave it out")
    loaded, measured, replaced = timing.busy(), [], 0
    for subject in track(subjects, "measuring", console=console, disable=not console.is_terminal):
        found = list(_measured(subject, asked))
        measured += found
        if append is not None:
            replaced += device_file.add_device_rows(append, [each.row for each in found])
    answer(latencies=[asdict(each.row) | {"iqr_ms": each.timing.iqr_ms} for each in measured], warm_up=timing.WARM_UP)
    console.print(_table(measured))
    _print_notes(measured, asked)
    if loaded:
        console.print(f"[yellow]{loaded}[/yellow]", soft_wrap=True)
    if append is not None:
        console.print(f"{len(measured)} rows written to {append}, {replaced} of them in place of older ones.")


def _measured(subject: Subject, asked: Asked) -> Iterator[Measured]:
    import torch

    from mobilebench.config.pixels import shown
    from mobilebench.models.cost.device_file import DeviceRow, today
    from mobilebench.models.cost.latency import cpu_name
    from mobilebench.models.cost.timing import time_network

    device = asked.device or cpu_name()
    runtimes = asked.runtimes or (("torch",) if subject.file is None else ("ort",))
    if "torch" in runtimes:
        network, size = _deployed(subject), subject.resolution
        for threads in asked.threads:
            timing = time_network(network, size, batch=asked.batch, threads=threads, runs=asked.runs)
            row = DeviceRow(
                device, "cpu", "torch", torch.__version__, "fp32", threads, asked.batch, subject.name, shown(size),
                timing.median_ms, timing.p90_ms, timing.mean_ms, timing.n, "", today(),
            )  # fmt: skip
            yield Measured(row, timing)


def _deployed(subject: Subject) -> nn.Module:
    """Return the network with its training branches folded, checked to take images of its size."""
    import torch

    from mobilebench import models
    from mobilebench.models.checks import check
    from mobilebench.models.cost.counts import deployed

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = models.create(subject.model_id, subject.classes, **subject.options)
        check(network, subject.classes, subject.resolution)
    folded = deployed(network)
    return network if folded is None else folded


def _table(measured: Sequence[Measured]) -> Table:
    from mobilebench.cli.console import plain_table

    table = plain_table()
    table.add_column("model", no_wrap=True)
    table.add_column("runtime", no_wrap=True)
    for name in ("threads", "px", "median ms", "p90", "IQR", "n"):
        table.add_column(name, justify="right", no_wrap=True)
    for row, timing in measured:
        unsteady = " !" if timing.unsteady else ""
        table.add_row(
            row.model, f"{row.runtime} {row.precision}", str(row.threads), row.resolution, f"{timing.median_ms:.2f}",
            f"{timing.p90_ms:.2f}", f"{timing.iqr_ms:.2f}{unsteady}", str(timing.n),
        )  # fmt: skip
    return table


def _print_notes(measured: Sequence[Measured], asked: Asked) -> None:
    from mobilebench.cli.console import console
    from mobilebench.models.cost.timing import WARM_UP
    from mobilebench.system.words import counted

    versions = ", ".join(dict.fromkeys(f"{row.runtime} {row.version}" for row, _ in measured))
    console.print(
        f"{measured[0].row.device}; {versions}; {counted(asked.batch, 'image')} a call; {WARM_UP} calls to warm up, "
        "then n calls one after another. Of networks whose training branches can be folded: folded.",
        soft_wrap=True,
    )
    if any(timing.unsteady for _, timing in measured):
        console.print(
            "[yellow]! the middle half of the times spreads over a tenth of the median: something else used the "
            "machine, or its clock changed; more --runs, or an idle machine, says more[/yellow]",
            soft_wrap=True,
        )
