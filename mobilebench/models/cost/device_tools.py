"""What the benchmark tools of phones print, read: LiteRT's benchmark_model and ExecuTorch's executor_runner.

The forms are those of the tools' sources, tensorflow/lite/tools/benchmark/benchmark_model.cc and
examples/portable/executor_runner/executor_runner.cpp: of newer versions, which print percentiles and the time of each
call, and of older ones, which print means alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from mobilebench.models.cost.device_file import ComputeUnit, DeviceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Tool = Literal["litert", "executorch"]
TOOLS: tuple[Tool, ...] = get_args(Tool)

_COUNTED = re.compile(r"\bcount=(\d+) (.*)")
_FIELD = re.compile(r"\b(\w+)=([-+.\de]+)")
_AVERAGE = re.compile(r"\bInference \(avg\): ([-+.\de]+)")
_THREADS = re.compile(r"#threads used for CPU inference: \[(-?\d+)\]|\bNum threads: \[(-?\d+)\]")
_UNITS: Mapping[ComputeUnit, re.Pattern[str]] = {
    "gpu": re.compile(r"\bUse gpu: \[1\]", re.IGNORECASE),
    "npu": re.compile(r"\bUse (nnapi|hexagon|coreml): \[1\]", re.IGNORECASE),
}
_FAILED = re.compile(r"ERROR:? (.*)|(Benchmarking failed.*)")

_CALL = re.compile(r"\bIteration (\d+) of (\d+): ([.\d]+) ms")
_ALL_CALLS = re.compile(r"\bModel executed successfully (\d+) time\(s\) in ([.\d]+) ms")
_POOL = re.compile(r"\bResetting threadpool with num threads = (\d+)")


@dataclass(frozen=True)
class Measured:
    """What a tool's output says of one model."""

    median_ms: float | None
    p90_ms: float | None
    mean_ms: float | None
    n: int
    """Calls behind them."""
    threads: int | None
    """CPU threads; None where the output does not say."""
    compute_unit: ComputeUnit | None
    """What computed; None where the output does not say."""
    remarks: tuple[str, ...] = ()
    """Sentences on what these figures are."""


def read_tool(tool: Tool, text: str) -> Measured:
    """Return what the printed output of one run of a tool says.

    Raises DeviceError where it has no result, or those of several runs.
    """
    return _READERS[tool](text)


def _litert(text: str) -> Measured:
    averages = _AVERAGE.findall(text)
    if len(averages) != 1:
        failed = _FAILED.search(text)
        reason = f"; it says: {' '.join(failed[0].split())[:200]}" if failed and not averages else ""
        raise DeviceError(
            f"found {len(averages)} lines `Inference timings in us: ... Inference (avg): ...`, expected one, of one "
            f"run of benchmark_model{reason}. Give the whole output of one run"
        )
    runs = [(int(count), dict(_FIELD.findall(rest))) for count, rest in _COUNTED.findall(text)]
    if not runs:
        raise DeviceError(
            "found no line `count=... avg=...` of benchmark_model; expected the whole output of a run, as it is "
            "printed without --enable_op_profiling"
        )
    n, said = runs[-1]  # the one before it is of the calls to warm up
    median = said.get("median")
    threads = next((int(a or b) for a, b in _THREADS.findall(text)), None)
    remarks = ("benchmark_model prints no 90th percentile.",)
    if median is None:
        remarks = ("this benchmark_model prints a mean and no median: one slow call moves it.",)
    return Measured(
        None if median is None else _milliseconds(median),
        None,
        _milliseconds(averages[0]),
        n,
        threads if threads is not None and threads > 0 else None,
        next((unit for unit, sign in _UNITS.items() if sign.search(text)), "cpu"),
        remarks,
    )


def _milliseconds(microseconds: str) -> float:
    return round(float(microseconds) / 1000, 6)


def _executorch(text: str) -> Measured:
    ended = _ALL_CALLS.findall(text)
    if len(ended) != 1:
        raise DeviceError(
            f"found {len(ended)} lines `Model executed successfully ... time(s) in ... ms`, expected one, of one run "
            "of executor_runner. Give the whole output of one run, of a version that prints times"
        )
    pool = _POOL.search(text)
    threads = int(pool[1]) if pool else None
    calls = [float(ms) / 1000 for _, _, ms in _CALL.findall(text)]
    if len(calls) > 1:
        from mobilebench.models.cost.timing import timing_of  # with NumPy, which the command line's help needs not

        timing = timing_of(calls[1:])
        said = "the first call, which warms up, is left out."
        return Measured(timing.median_ms, timing.p90_ms, timing.mean_ms, timing.n, threads, None, (said,))
    count, total = int(ended[0][0]), float(ended[0][1])
    said = (
        "this executor_runner prints one sum of all calls: the figure is a mean, and the first call, which warms up, "
        "is in it."
    )
    if count == 1:
        raise DeviceError("found one call, which warms up; expected several: --num_executions=100")
    return Measured(None, None, total / count, count, threads, None, (said,))


_READERS: Mapping[Tool, Callable[[str], Measured]] = {"litert": _litert, "executorch": _executorch}
