"""Latency on this machine as rows of device figures: of networks as a suite builds them, and of ONNX files."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import torch

from mobilebench import models
from mobilebench.config.pixels import shown
from mobilebench.datasets.acquire.source_lock import sha256
from mobilebench.export.onnx_file import ExportError, export_onnx, read_metadata
from mobilebench.export.onnx_latency import onnx_input, time_onnx
from mobilebench.models.checks import check
from mobilebench.models.cost.counts import deployed
from mobilebench.models.cost.device_file import DeviceRow, today
from mobilebench.models.cost.latency import cpu_name
from mobilebench.models.cost.timing import time_network

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import nn

    from mobilebench.config.pixels import Resolution
    from mobilebench.config.recipe import Scalar
    from mobilebench.models.cost.timing import Timing

Runtime = Literal["torch", "ort"]
RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)


@dataclass(frozen=True)
class Subject:
    """What is measured: a network as the suite builds it, or an ONNX file."""

    name: str
    """The model's name in the suite; of a file its path."""
    model_id: str = ""
    """The id of its network."""
    options: Mapping[str, Scalar] = field(default_factory=dict)
    """What it is built with."""
    classes: int = 10
    resolution: Resolution = 224
    file: Path | None = None
    """The ONNX file, which says the model and the resolution itself; None for a network that is built."""


class Asked(NamedTuple):
    """How it is measured."""

    runtimes: tuple[Runtime, ...]
    """() for what each subject runs in: a network in PyTorch, a file in ONNX Runtime."""
    threads: tuple[int, ...]
    """Each is measured."""
    batch: int
    """Images in a call."""
    runs: int
    """Calls that are timed."""
    device: str | None
    """What this machine is called; None for its processor's name."""


class Measured(NamedTuple):
    """One figure: the row of a file of device figures, and what else is known of the times."""

    row: DeviceRow
    timing: Timing


def raise_unless_possible(subjects: Sequence[Subject], asked: Asked) -> None:
    """Raise ExportError, before anything is measured, for an ONNX file that is to run in PyTorch or is damaged."""
    for subject in subjects:
        if subject.file is None:
            continue
        if "torch" in asked.runtimes:
            raise ExportError(f"{subject.file} runs in ONNX Runtime, and --runtime torch is asked for; leave it out")
        onnx_input(subject.file)


def measured(subject: Subject, asked: Asked) -> Iterator[Measured]:
    """Measure a subject in each runtime with each number of threads, as it is deployed: training branches folded.

    Raises ModelError for a network that cannot take images of its size, ExportError for one that is no ONNX.
    """
    device = asked.device or cpu_name()
    for runtime in asked.runtimes or (("torch",) if subject.file is None else ("ort",)):
        yield from _IN[runtime](subject, asked, device)


def _in_torch(subject: Subject, asked: Asked, device: str) -> Iterator[Measured]:
    network, size = _deployed(subject), subject.resolution
    known = _Known(subject.name, "torch", torch.__version__, "fp32", shown(size), "")
    for threads in asked.threads:
        timing = time_network(network, size, batch=asked.batch, threads=threads, runs=asked.runs)
        yield Measured(_row(known, asked, device, threads, timing), timing)


def _in_onnx_runtime(subject: Subject, asked: Asked, device: str) -> Iterator[Measured]:
    import onnxruntime

    with _onnx_file(subject) as file:
        given = onnx_input(file)
        name, digest = (subject.name, "") if subject.file is None else (_named_in(file), sha256(file))
        known = _Known(name, "ort", onnxruntime.__version__, given.precision, shown(given.resolution), digest)
        for threads in asked.threads:
            timing = time_onnx(file, batch=asked.batch, threads=threads, runs=asked.runs)
            yield Measured(_row(known, asked, device, threads, timing), timing)


_IN: Mapping[Runtime, Callable[[Subject, Asked, str], Iterator[Measured]]] = {
    "torch": _in_torch,
    "ort": _in_onnx_runtime,
}


class _Known(NamedTuple):
    """What is the same for every number of threads."""

    name: str
    runtime: str
    version: str
    precision: str
    resolution: str
    digest: str


def _row(known: _Known, asked: Asked, device: str, threads: int, timing: Timing) -> DeviceRow:
    return DeviceRow(
        device, "cpu", known.runtime, known.version, known.precision, threads, asked.batch, known.name,
        known.resolution, timing.median_ms, timing.p90_ms, timing.mean_ms, timing.n, known.digest, today(),
    )  # fmt: skip


def _deployed(subject: Subject) -> nn.Module:
    """Return the network with its training branches folded, checked to take images of its size."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = models.create(subject.model_id, subject.classes, **subject.options)
        check(network, subject.classes, subject.resolution)
    folded = deployed(network)
    return network if folded is None else folded


@contextmanager
def _onnx_file(subject: Subject) -> Iterator[Path]:
    """Yield the subject's ONNX file; of a network that is built one that is gone afterwards."""
    if subject.file is not None:
        yield subject.file
        return
    with TemporaryDirectory() as folder:
        file = Path(folder) / "network.onnx"
        export_onnx(_deployed(subject), file, channels=3, side=subject.resolution, metadata={})
        yield file


def _named_in(file: Path) -> str:
    """Return the model that an ONNX file says it is of, else the file's name without its end."""
    return read_metadata(file).get("model") or file.stem
