"""What benchmark tools print, read. The outputs are as their sources print them, with made numbers."""

from __future__ import annotations

import pytest

from mobilebench.models.cost.device_file import DeviceError
from mobilebench.models.cost.device_tools import Measured, read_tool

LITERT = """\
INFO: STARTING!
INFO: Log parameter values verbosely: [0]
INFO: Num threads: [4]
INFO: Graph: [/data/local/tmp/starnet.tflite]
INFO: #threads used for CPU inference: [4]
INFO: Loaded model /data/local/tmp/starnet.tflite
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
INFO: Initialized session in 11.952ms.
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=80 first=8711 curr=6162 min=6100 max=8711 avg=6314.4 std=347 p5=6129 median=6196 p95=6710

INFO: Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
INFO: count=160 first=6216 curr=6178 min=6088 max=9861 avg=6274.32 std=346 p5=6120 median=6189 p95=6682

INFO: Inference timings in us: Init: 11952, First inference: 8711, Warmup (avg): 6314.4, Inference (avg): 6274.32
"""
EXECUTORCH = """\
I 00:00:00.000821 executorch:executor_runner.cpp:420] Resetting threadpool with num threads = 2
I 00:00:00.081201 executorch:executor_runner.cpp:564] Model loaded in 80.268273 ms.
I 00:00:00.133101 executorch:executor_runner.cpp:705] Iteration 1 of 5: 51.000000 ms
I 00:00:00.144101 executorch:executor_runner.cpp:705] Iteration 2 of 5: 10.000000 ms
I 00:00:00.155101 executorch:executor_runner.cpp:705] Iteration 3 of 5: 11.000000 ms
I 00:00:00.166101 executorch:executor_runner.cpp:705] Iteration 4 of 5: 12.000000 ms
I 00:00:00.177101 executorch:executor_runner.cpp:705] Iteration 5 of 5: 20.000000 ms
I 00:00:00.178101 executorch:executor_runner.cpp:714] Model executed successfully 5 time(s) in 104.000000 ms.
"""


def test_of_litert_the_runs_that_count_are_read() -> None:
    found = read_tool("litert", LITERT)
    assert (found.median_ms, found.p90_ms, found.mean_ms, found.n) == (6.189, None, 6.27432, 160)
    assert (found.threads, found.compute_unit) == (4, "cpu")
    logcat = "\n".join(f"07-14 13:23:08.133 25289 25289 I tflite  : {line}" for line in LITERT.splitlines())
    assert read_tool("litert", logcat) == found


def test_an_older_litert_prints_a_mean_alone() -> None:
    older = "\n".join(line.partition(" p5=")[0] for line in LITERT.splitlines())
    found = read_tool("litert", older)
    assert (found.median_ms, found.mean_ms, found.n) == (None, 6.27432, 160)
    assert "a mean and no median" in found.remarks[0]


@pytest.mark.parametrize(
    ("line", "unit"), [("Use gpu: [1]", "gpu"), ("Use NNAPI: [1]", "npu"), ("Use gpu: [0]", "cpu")]
)
def test_litert_says_what_computed(line: str, unit: str) -> None:
    assert read_tool("litert", f"INFO: {line}\n{LITERT}").compute_unit == unit
    assert read_tool("litert", LITERT.replace("[4]", "[-1]")).threads is None  # the platform's own number


def test_of_executorch_the_first_call_is_left_out() -> None:
    found = read_tool("executorch", EXECUTORCH)
    assert (found.median_ms, found.p90_ms, found.mean_ms, found.n) == (11.5, 17.6, 13.25, 4)
    assert (found.threads, found.compute_unit) == (2, None)


def test_an_older_executorch_prints_a_sum_alone() -> None:
    older = "\n".join(line for line in EXECUTORCH.splitlines() if "Iteration" not in line)
    found = read_tool("executorch", older)
    assert found == Measured(None, None, 20.8, 5, 2, None, found.remarks)
    assert "the first call, which warms up, is in it" in found.remarks[0]


@pytest.mark.parametrize(
    ("tool", "text", "said"),
    [
        ("litert", "nothing", "found 0 lines `Inference timings in us"),
        ("litert", LITERT + LITERT, "found 2 lines `Inference timings in us"),
        ("litert", "ERROR: Failed to load\nBenchmarking failed.\n", "it says: ERROR: Failed to load"),
        ("litert", LITERT.replace("count=", "c="), "found no line `count="),
        ("executorch", LITERT, "found 0 lines `Model executed successfully"),
        ("executorch", "Model executed successfully 1 time(s) in 5.5 ms.", "expected several: --num_executions=100"),
    ],
)
def test_what_is_no_output_of_one_run_is_refused(tool: str, text: str, said: str) -> None:
    with pytest.raises(DeviceError) as refused:
        read_tool(tool, text)  # type: ignore[arg-type]
    assert said in str(refused.value)
