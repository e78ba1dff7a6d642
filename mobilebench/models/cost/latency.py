"""How fast a network answers on this machine's CPU."""

from __future__ import annotations

import contextlib
import platform
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from mobilebench.config.pixels import input_size
from mobilebench.models.cost.counts import evaluating

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from mobilebench.config.pixels import Size

WARM_UP = 3
BATCH = 16  # images of the throughput measurement
CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Speed:
    """Medians over `runs` repetitions: seconds for one image, and images per second in batches of `batch`."""

    latency_seconds: float
    runs: int
    images_per_second: float
    batch: int
    threads: int


def measure(model: nn.Module, size: Size, runs: int, threads: int) -> Speed:
    """Return the speed of `model` in fp32, eval mode, on the CPU with `threads` threads.

    Throughput is the median of a third of the runs, at least three. The thread count is put back afterwards.
    """
    with evaluating(model), torch.inference_mode(), _threads(threads):
        latency = _median_seconds(model, 1, size, runs)
        batch_seconds = _median_seconds(model, BATCH, size, max(3, runs // 3))
    return Speed(latency, runs, BATCH / batch_seconds, BATCH, threads)


def cpu_name() -> str:
    """Return the name of this machine's processor."""
    with contextlib.suppress(OSError):
        for line in CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _median_seconds(model: nn.Module, batch: int, size: Size, runs: int) -> float:
    height, width, channels = input_size(size)
    images = torch.full((batch, channels, height, width), 0.5)
    for _ in range(WARM_UP):
        model(images)
    return statistics.median(_seconds(model, images) for _ in range(runs))


def _seconds(model: nn.Module, images: torch.Tensor) -> float:
    start = time.perf_counter()
    model(images)
    return time.perf_counter() - start


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
