"""`benchmarks.gpu share`: what several cells on one card gain, which is what `runtime.cells_per_device` is worth there.

So many processes train the same network, each as a cell does. All are warm before the first is counted, and all go on
until the last has been: none has the card to itself while it is measured.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch

from benchmarks.contenders import CLASSES
from benchmarks.gpu_report import first_line
from benchmarks.gpu_steps import MIB
from mobilebench.config.runtime import Runtime
from mobilebench.models import create
from mobilebench.system.cpu import cores
from mobilebench.training import Trainer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess
    from multiprocessing.synchronize import Event

    from benchmarks.gpu_report import Report
    from benchmarks.gpu_steps import Work

Acceleration = Literal["auto", "on"]
CELL_IMAGES = 100 * 7009  # of a cell of ham10k under the paper's protocol, the second smallest of the seven
_PATIENCE = 600.0  # seconds that a process may take to its first epoch's end, or to its last's

COLUMNS = {
    "network": "network", "cells": "cells at once", "cells_per_hour": "ham10k cells/hour",
    "images_per_second": "images/s", "times_one": "times one cell", "each": "images/s of each",
    "used_mib": "MiB used on the card",
    "peak_mib": "peak MiB of each", "epochs": "epochs counted", "not_possible_here": "not possible here",
}  # fmt: skip


class Epoch(NamedTuple):
    """An epoch's end by `time.monotonic`; the MiB that its process held at most, and that all use of the card."""

    end: float
    peak_mib: float
    used_mib: float


@dataclass
class Child:
    """A process that trains, this end of its pipe, and what it sent."""

    process: BaseProcess
    pipe: Connection
    epochs: list[Epoch] = field(default_factory=list)
    ended: bool = False
    failure: str | None = None


def share(
    report: Report, works: Sequence[Work], cells: Sequence[int], seconds: float, acceleration: Acceleration, mps: str
) -> list[str]:
    """A row a network and number of cells; returns notes: the best number for each network.

    seconds: how long is measured. mps: whether processes share the card by MPS, in words.
    """
    todo = [(f"{work.model}: {k} cells", (work, k)) for work in works for k in cells]
    best: dict[str, tuple[float, int]] = {}
    single: dict[str, float] = {}
    for _, (work, k) in report.within(todo):
        values = _together(work, k, seconds, acceleration)
        rate = values["images_per_second"]
        if rate is not None:
            single.update({work.model: rate} if k == 1 else {})
            best[work.model] = max(best.get(work.model, (0.0, 0)), (rate, k))
        base = single.get(work.model)
        report.row(
            "share",
            network=work.model,
            cells=k,
            mps=mps,
            **values,
            cells_per_hour=3600 * rate / CELL_IMAGES if rate else None,
            times_one=rate / base if rate and base else None,
        )
    notes = [f"MPS: {mps}. A cell: {CELL_IMAGES:,} images, test readings left out; n = 1 run a row."]
    said = ", ".join(f"{name} {k}" for name, (_, k) in best.items())
    return [*notes, f"Most cells an hour with so many at once: {said}."] if said else notes


def _together(work: Work, cells: int, seconds: float, acceleration: Acceleration) -> dict[str, Any]:
    """So many processes on the device: the row's figures, of all together and of each."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    children = [_started(context, work, cells, acceleration, stop) for _ in range(cells)]
    try:
        deadline = time.monotonic() + _PATIENCE
        while not all(child.epochs for child in children) and not _failed(children):
            _receive(children, deadline)
        began = time.monotonic()
        while time.monotonic() < began + seconds and not _failed(children):
            _receive(children, began + seconds, is_limit=False)
        ended = time.monotonic()
        stop.set()
        while not all(child.ended for child in children) and not _failed(children):
            _receive(children, ended + _PATIENCE)
    finally:
        stop.set()
        for child in children:
            child.pipe.close()
            child.process.join(timeout=5)
            if child.process.is_alive():
                child.process.kill()
                child.process.join()
    return figures(work, children, began, ended)


def figures(work: Work, children: Sequence[Child], began: float, ended: float) -> dict[str, Any]:
    """A row's figures from what the children sent: rates over whole epochs between two moments, images/s and MiB."""
    rates, counts = [], []
    for child in children:
        inside = [epoch.end for epoch in child.epochs if began <= epoch.end <= ended]
        counts.append(max(0, len(inside) - 1))
        if counts[-1]:
            rates.append(counts[-1] * work.images / (inside[-1] - inside[0]))
    failure = next((child.failure for child in children if child.failure), None)
    if failure is None and len(rates) < len(children):
        failure = f"no whole epoch of {work.images} images in the time; give more --seconds or fewer --images"
    seen = [epoch for child in children for epoch in child.epochs]
    return {
        "images_per_second": None if failure else sum(rates),
        "each": rates,
        "epochs": counts,
        "peak_mib": max((epoch.peak_mib for epoch in seen), default=None),
        "used_mib": max((epoch.used_mib for epoch in seen), default=None),
        "not_possible_here": failure,
    }


def _started(context: Any, work: Work, cells: int, acceleration: Acceleration, stop: Event) -> Child:
    mine, theirs = context.Pipe()
    process = context.Process(target=train, args=(theirs, work, cells, acceleration, stop))
    process.start()
    theirs.close()
    return Child(process, mine)


def _failed(children: Sequence[Child]) -> bool:
    return any(child.failure for child in children)


def _receive(children: Sequence[Child], deadline: float, *, is_limit: bool = True) -> None:
    """Takes what children send, waiting until `deadline`; is_limit: whether they have failed where nothing comes."""
    waiting = [child for child in children if not child.ended and child.failure is None]
    ready = wait([child.pipe for child in waiting], timeout=max(0.0, deadline - time.monotonic()))
    for child in waiting:
        if child.pipe in ready:
            _take(child)
        elif not ready and is_limit:
            child.failure = f"nothing came of it for {_PATIENCE:.0f} s"


def _take(child: Child) -> None:
    try:
        sent = child.pipe.recv()
    except (EOFError, OSError):
        child.process.join(timeout=5)
        child.ended = child.process.exitcode == 0
        child.failure = None if child.ended else f"its process ended, exit code {child.process.exitcode}"
        return
    if isinstance(sent, Epoch):
        child.epochs.append(sent)
    else:
        child.failure = sent


def train(pipe: Connection, work: Work, cells: int, acceleration: Acceleration, stop: Event) -> None:
    """A cell's process: trains, and sends an `Epoch` after each, until `stop` is set; or why it failed."""
    try:
        torch.manual_seed(0)
        runtime = Runtime(
            device=work.device,
            threads=max(1, cores() // cells),
            acceleration=acceleration,
            eval_every=0,
            cells_per_device=cells,
        )
        trainer = Trainer(create(work.model, CLASSES), work.data(), work.recipe(), 0, runtime)
        for _ in trainer.epochs():
            pipe.send(Epoch(time.monotonic(), *_memory(trainer.device)))
            trainer.epoch = 0  # endless; a recipe of more epochs would be compiled
            if stop.is_set():
                return
    except (BrokenPipeError, KeyboardInterrupt):  # the parent was killed, or has seen another fail
        pass
    except Exception as error:  # noqa: BLE001 - a row says why
        pipe.send(first_line(error))


def _memory(device: torch.device) -> tuple[float, float]:
    if device.type != "cuda":
        return 0.0, 0.0
    free, total = torch.cuda.mem_get_info(device)
    return torch.cuda.max_memory_reserved(device) / MIB, (total - free) / MIB


def mps_in_words() -> str:
    """Whether this user's processes share cards by NVIDIA's MPS: its daemon has a pipe at a place of its own."""
    folder = Path(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps"))  # NVIDIA's default
    return f"on ({folder})" if (folder / "control").exists() else "off"
