"""`mobilebench devices` and latencies of `models profile`, as a person calls them."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mobilebench.cli import main
from mobilebench.models.cost.device_file import read_device_results
from mobilebench.system.layout import DEVICE_RESULTS

LITERT = """\
INFO: #threads used for CPU inference: [4]
INFO: count=160 first=6216 curr=6178 min=6088 max=9861 avg=6274.32 std=346 p5=6120 median=6189 p95=6682
INFO: Inference timings in us: Init: 11952, First inference: 8711, Warmup (avg): 6314.4, Inference (avg): 6274.32
"""
OF_PHONE = (
    "--tool",
    "litert",
    "--device",
    "Pixel 8",
    "--model",
    "starnet",
    "--resolution",
    "32",
    "--precision",
    "fp32",
)
FAST = ("--runs", "3", "--resolution", "32")


def call(*words: str) -> Result:
    return CliRunner().invoke(main, [*words])


def test_what_a_phone_printed_becomes_a_row(project: Path) -> None:
    Path("out.txt").write_text(LITERT)
    os.utime("out.txt", (1790000000, 1790000000))
    Path("starnet.tflite").write_bytes(b"a file")
    done = call("devices", "import", "out.txt", *OF_PHONE, "--file", "starnet.tflite", "--version", "2.3.0")
    assert done.exit_code == 0, done.output
    assert "1 row written to device_results.csv." in done.output
    (row,) = read_device_results(DEVICE_RESULTS)
    assert (row.device, row.runtime, row.threads, row.median_ms, row.p90_ms, row.n) == (
        "Pixel 8", "litert", 4, 6.189, None, 160,
    )  # fmt: skip
    assert row.file_sha256 == hashlib.sha256(b"a file").hexdigest()
    assert row.date in {"2026-09-21", "2026-09-20", "2026-09-22"}  # by the place on earth
    again = call("devices", "import", "out.txt", *OF_PHONE, "--date", "2026-12-01", "--json")
    assert json.loads(again.stdout)["row"]["date"] == "2026-12-01"
    assert len(read_device_results(DEVICE_RESULTS)) == 1
    listed = json.loads(call("devices", "list", "--json").stdout)["devices"]
    assert [each["model"] for each in listed] == ["starnet"]
    assert "Pixel 8, litert, fp32, 4" in " ".join(call("devices", "list").output.split())


def test_what_the_output_does_not_say_has_to_be_said(project: Path) -> None:
    assert "`mobilebench models profile --append" in " ".join(call("devices", "list").stderr.split())
    Path("out.txt").write_text(LITERT.replace("[4]", "[-1]"))
    done = call("devices", "import", "out.txt", *OF_PHONE)
    assert done.exit_code == 2
    assert "name them with --threads" in done.stderr
    assert call("devices", "import", "out.txt", *OF_PHONE, "--compute-unit", "gpu").exit_code == 0
    assert "there is no file gone.txt" in call("devices", "import", "gone.txt", *OF_PHONE).stderr
    wrong = call("devices", "import", "out.txt", *OF_PHONE, "--threads", "4", "--resolution", "32px")
    assert "resolution is '32px'; expected pixels" in wrong.stderr


def test_latencies_of_this_machine_become_rows(project: Path) -> None:
    words = ("models", "profile", "--models", "shufflenet", "--threads", "1,2", "--append", "d.csv", *FAST)
    found = json.loads(call(*words, "--device", "bench", "--json").stdout)
    rows = read_device_results(Path("d.csv"))
    assert [(row.device, row.runtime, row.threads, row.n, row.batch) for row in rows] == [
        ("bench", "torch", 1, 3, 1),
        ("bench", "torch", 2, 3, 1),
    ]
    assert [each["median_ms"] for each in found["latencies"]] == [row.median_ms for row in rows]
    assert all(each["iqr_ms"] >= 0 for each in found["latencies"])
    assert found["warm_up"] == 5
    again = call(*words, "--device", "bench")
    assert "2 rows written to d.csv, 2 of them in place of older ones" in again.output
    assert not Path("results").exists()  # cost.csv is of the other way


def test_a_foreign_file_of_device_figures_is_refused_before_the_work(project: Path) -> None:
    Path("d.csv").write_text("a,b\n1,2\n")
    done = call("models", "profile", "--models", "shufflenet", "--append", "d.csv", *FAST)
    assert done.exit_code == 2
    assert "'a' is no column of it" in done.stderr
    assert Path("d.csv").read_text() == "a,b\n1,2\n"


@pytest.mark.parametrize("threads", ["0", "1,", "two", "1.5"])
def test_threads_are_whole_numbers(project: Path, threads: str) -> None:
    done = call("models", "profile", "--models", "shufflenet", "--threads", threads, *FAST)
    assert done.exit_code == 2
    assert "expected whole ones of 1 or more, as 1 or 1,2,4" in " ".join(done.stderr.split())
