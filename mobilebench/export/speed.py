"""How fast an ONNX file answers on this machine's CPU."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mobilebench.export.onnx_file import onnx_session

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

RUNS, WARM_UP = 30, 5


@dataclass(frozen=True)
class Latency:
    """The time of one call of ONNX Runtime on the CPU."""

    ms: float
    """Median over `runs` calls, in milliseconds."""
    runs: int
    threads: int


def latency(path: Path, images: NDArray[Any], *, threads: int = 1, runs: int = RUNS) -> Latency:
    """Return how long ONNX Runtime takes for these images, after WARM_UP calls that are not counted."""
    said = onnx_session(path, threads)
    for _ in range(WARM_UP):
        said(images)
    return Latency(1000 * statistics.median(_seconds(said, images) for _ in range(runs)), runs, threads)


def _seconds(said: Any, images: NDArray[Any]) -> float:
    began = time.perf_counter()
    said(images)
    return time.perf_counter() - began
