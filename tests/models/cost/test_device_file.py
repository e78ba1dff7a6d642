"""device_results.csv: what is taken, what is refused and how it is said."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mobilebench.errors import UserError
from mobilebench.models.cost.device_file import COLUMNS, DeviceError, DeviceRow, add_device_rows, read_device_results

if TYPE_CHECKING:
    from pathlib import Path

ROW = DeviceRow(
    "Pixel 8", "cpu", "litert", "2.3.0", "fp32", 4, 1, "starnet", "224", 5.5, 6.25, 5.75, 50, "ab" * 32, "2026-11-30"
)
LINE = [
    "Pixel 8",
    "cpu",
    "litert",
    "2.3.0",
    "fp32",
    "4",
    "1",
    "starnet",
    "224",
    "5.5",
    "6.25",
    "5.75",
    "50",
    "",
    "2026-11-30",
]


def written(path: Path, *lines: list[str], columns: tuple[str, ...] = COLUMNS) -> Path:
    path.write_text("\n".join(",".join(line) for line in (columns, *lines)) + "\n")
    return path


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "device_results.csv"
    on_npu = replace(ROW, compute_unit="npu", threads=None, median_ms=None, p90_ms=None, file_sha256="")
    assert add_device_rows(path, [ROW, on_npu]) == 0
    assert read_device_results(path) == (ROW, on_npu)
    assert (ROW.latency_ms, on_npu.latency_ms) == (5.5, 5.75)
    assert str(ROW.setting) == "Pixel 8, litert, fp32, 4 threads"
    assert str(replace(on_npu, batch=8).setting) == "Pixel 8, NPU, litert, fp32, batch 8"


def test_a_row_takes_the_place_of_the_older_one_of_its_setting(tmp_path: Path) -> None:
    path = tmp_path / "device_results.csv"
    other = replace(ROW, model="shufflenet")
    add_device_rows(path, [ROW, other])
    later = replace(ROW, median_ms=4.0, date="2026-12-01", version="2.4.0")
    assert add_device_rows(path, [later]) == 1
    assert read_device_results(path) == (later, other)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("device", " ", "device is empty; expected the device's name, as Pixel 8"),
        ("compute_unit", "tpu", "compute_unit is 'tpu'; expected one of cpu, gpu, npu"),
        ("runtime", "LiteRT", "runtime is 'LiteRT'; expected a word of a-z, 0-9 and _"),
        ("precision", "", "precision is empty; expected a word"),
        ("threads", "", "threads is empty; expected a whole number of 1 or more; of a GPU or NPU it may be empty"),
        ("threads", "four", "threads is 'four'; expected a whole number"),
        ("batch", "0", "batch is 0; expected a whole number of 1 or more"),
        ("model", "", "model is empty; expected the model's name in the suite"),
        ("resolution", "224px", "resolution is '224px'; expected pixels, as 224"),
        ("median_ms", "5,5", "cannot be read as a CSV with as many fields as its header"),
        ("median_ms", "fast", "median_ms is 'fast'; expected milliseconds, as 12.5"),
        ("median_ms", "-1", "median_ms is -1.0; expected milliseconds above 0"),
        ("median_ms", "inf", "median_ms is inf; expected milliseconds above 0"),
        ("p90_ms", "5", "p90_ms is 5.0; expected at least the median, 5.5"),
        ("n", "", "n is empty; expected a whole number of 1 or more: the calls that were timed"),
        ("file_sha256", "abc", "file_sha256 is 'abc'; expected 64 digits"),
        ("date", "30.11.2026", "date is '30.11.2026'; expected a day, as 2026-11-30"),
        ("date", "20261130", "date is '20261130'; expected a day"),
    ],
)
def test_a_wrong_field_is_named_with_its_line(tmp_path: Path, column: str, value: str, said: str) -> None:
    wrong = list(LINE)
    wrong[COLUMNS.index(column)] = value
    path = written(tmp_path / "device_results.csv", LINE, wrong)
    with pytest.raises(UserError) as refused:
        read_device_results(path)
    assert said in str(refused.value)
    if "," not in value:
        assert f"{path}, line 3: " in str(refused.value)
        assert "Correct the line, or remove it" in str(refused.value)


def test_a_row_needs_a_median_or_a_mean(tmp_path: Path) -> None:
    without = list(LINE)
    for column in ("median_ms", "p90_ms", "mean_ms"):
        without[COLUMNS.index(column)] = ""
    with pytest.raises(DeviceError, match="median_ms is empty; expected it, or mean_ms where the tool prints no"):
        read_device_results(written(tmp_path / "a.csv", without))


def test_columns_are_those_there_are(tmp_path: Path) -> None:
    other = ("median", *(name for name in COLUMNS if name != "median_ms"))
    with pytest.raises(DeviceError) as refused:
        read_device_results(written(tmp_path / "a.csv", columns=other))
    assert "no column median_ms; 'median' is no column of it: did you mean median_ms?" in str(refused.value)
    assert f"Expected the header {','.join(COLUMNS)}" in str(refused.value)
    backwards = written(tmp_path / "b.csv", LINE[::-1], columns=COLUMNS[::-1])
    assert read_device_results(backwards) == (replace(ROW, file_sha256=""),)


def test_two_rows_of_one_setting_are_refused_and_a_damaged_file_stays(tmp_path: Path) -> None:
    path = written(tmp_path / "device_results.csv", LINE, LINE)
    before = path.read_text()
    said = "lines 2, 3 are all of starnet at 224 px on Pixel 8, litert, fp32, 4 threads; expected one"
    for action in (read_device_results, lambda path: add_device_rows(path, [ROW])):
        with pytest.raises(DeviceError, match=said):
            action(path)
    assert path.read_text() == before
    with pytest.raises(UserError, match="no file"):
        read_device_results(tmp_path / "gone.csv")
