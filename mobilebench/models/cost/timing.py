"""How long one answer takes, in whatever runtime: the times of single calls, and what is said of them."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.config.pixels import input_size
from mobilebench.system.cpu import cores

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn
    from torch.utils.benchmark import Measurement, Timer

    from mobilebench.config.pixels import Size

WARM_UP = 5  # calls before the first that counts
UNSTEADY = 0.1  # interquartile range as a share of the median; torch.utils.benchmark warns from here on


@dataclass(frozen=True)
class Timing:
    """What the times of `n` single calls say, in milliseconds."""

    median_ms: float
    p90_ms: float
    iqr_ms: float
    """Interquartile range: between which ends the middle half of the times lies."""
    mean_ms: float
    n: int

    @property
    def unsteady(self) -> bool:
        """Whether the middle half spreads over a tenth of the median: something else used the machine."""
        return self.iqr_ms > UNSTEADY * self.median_ms


def timing_of(seconds: Sequence[float]) -> Timing:
    """Return what the seconds of single calls say. Raises ValueError for none."""
    if not seconds:
        raise ValueError("no call was timed")
    times = np.asarray(seconds, np.float64)
    low, median, high, p90 = np.quantile(times, (0.25, 0.5, 0.75, 0.9))
    in_ms = [round(1000 * float(each), 4) for each in (median, p90, high - low, times.mean())]
    return Timing(in_ms[0], in_ms[1], in_ms[2], in_ms[3], len(times))


def time_calls(call: Callable[[], object], runs: int) -> Timing:
    """Time single calls, one after another, after WARM_UP that do not count."""
    for _ in range(WARM_UP):
        call()
    return timing_of([_seconds(call) for _ in range(runs)])


def time_network(network: nn.Module, size: Size, *, batch: int, threads: int, runs: int) -> Timing:
    """Time a network in eval mode, fp32, on the CPU, by `torch.utils.benchmark`; the network stays as it was.

    Each of `runs` is one call. Before the first WARM_UP calls do not count, and before each other one the two that the
    library takes to warm up. It sets the threads and puts them back.
    """
    import torch

    from mobilebench.models.cost.counts import evaluating

    height, width, channels = input_size(size)
    images = torch.full((batch, channels, height, width), 0.5)
    with evaluating(network), torch.inference_mode():
        timer = _timer("network(images)", {"network": network, "images": images}, threads)
        timer.timeit(WARM_UP)
        return timing_of(_merged([timer.timeit(1) for _ in range(runs)]))


def busy() -> str:
    """Say that other work runs on this machine, "" where none does or the system does not tell."""
    if not hasattr(os, "getloadavg"):
        return ""
    load, count = os.getloadavg()[0], cores()
    if load < 0.5 * count:
        return ""
    return (
        f"This machine is busy (load {load:.1f} on {count} cores in the last minute): figures of a busy machine are "
        "too slow. Measure again when it is idle."
    )


def _timer(statement: str, names: dict[str, object], threads: int) -> Timer:
    # It looks for a CUDA compiler, which nothing here needs, and warns where it finds one without a card.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    from torch.utils.benchmark import Timer

    return Timer(statement, globals=names, num_threads=threads)


def _merged(measured: Sequence[Measurement]) -> list[float]:
    from torch.utils.benchmark import Measurement

    (merged,) = Measurement.merge(measured)
    return list(merged.times)


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
