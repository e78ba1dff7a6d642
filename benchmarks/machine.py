"""What this machine can do: its name, its peak matrix product rate and memory bandwidth, measured."""

from __future__ import annotations

import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Peak:
    """macs_per_second: fp32 multiply-adds of a large matrix product; bytes_per_second: read plus written by a copy."""

    macs_per_second: float
    bytes_per_second: float


def describe(threads: int) -> str:
    """The processor or GPU, threads, and the versions that decide the numbers."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else _processor()
    import timm
    import torchvision

    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}, timm {timm.__version__}"
    return f"{name}, {threads} threads; {versions}, Python {platform.python_version()}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} ({len(names)} cores seen)" if names else platform.processor() or platform.machine()


def measure_peak(threads: int) -> Peak:
    """The best of several tries of a 2048-wide fp32 product and of a 256 MB copy, on the CPU."""
    torch.set_num_threads(threads)
    side, length = 2048, 64 << 20
    a, b, out = (torch.rand(side, side) for _ in range(3))
    source, target = (torch.rand(length) for _ in range(2))
    product = _best(lambda: torch.mm(a, b, out=out))
    copied = _best(lambda: target.copy_(source))
    return Peak(side**3 / product, 2 * 4 * length / copied)


def _best(action: Callable[[], object], tries: int = 15) -> float:
    seconds = []
    for _ in range(tries):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return min(seconds)
