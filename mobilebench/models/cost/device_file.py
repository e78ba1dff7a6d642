"""Latency of networks on devices: the rows of a `device_results.csv`, checked; needs no torch.

A row is what one tool measured of one model on one device, and may come from a phone. Models are called as the suite
calls them.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import asdict, dataclass, fields
from datetime import date
from typing import TYPE_CHECKING, Literal, NamedTuple, cast, get_args

from mobilebench.errors import UserError
from mobilebench.system.files import read_csv, write_csv
from mobilebench.system.names import did_you_mean
from mobilebench.system.words import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

ComputeUnit = Literal["cpu", "gpu", "npu"]
UNITS: tuple[ComputeUnit, ...] = get_args(ComputeUnit)
_WORD = re.compile(r"[a-z0-9_]+")
_SIZE = re.compile(r"[1-9]\d*(x[1-9]\d*)?")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class DeviceError(UserError):
    """A row or file of device figures that is not as it should be; the message says which and what is expected."""


class Setting(NamedTuple):
    """What figures have to share to be compared: where and how they were measured."""

    device: str
    compute_unit: ComputeUnit
    runtime: str
    precision: str
    threads: int | None
    batch: int

    def __str__(self) -> str:
        threads = f", {counted(self.threads, 'thread')}" if self.threads else ""
        unit = "" if self.compute_unit == "cpu" else f", {self.compute_unit.upper()}"
        batch = "" if self.batch == 1 else f", batch {self.batch}"
        return f"{self.device}{unit}, {self.runtime}, {self.precision}{threads}{batch}"


@dataclass(frozen=True)
class DeviceRow:
    """What was measured of one model on one device. Raises DeviceError for what cannot be."""

    device: str
    """What it was measured on, in the words of who measured: `Pixel 8`, a processor's name."""
    compute_unit: ComputeUnit
    """The part of the device that computed."""
    runtime: str
    """What ran the network: torch, ort, litert, executorch, or another word of a-z, 0-9 and _."""
    version: str
    """Of the runtime; empty where it is not known."""
    precision: str
    """fp32, fp16, int8 ...: a word of a-z, 0-9 and _."""
    threads: int | None
    """CPU threads; None for another unit than the CPU, where none is meant."""
    batch: int
    """Images in one call."""
    model: str
    """Its name in the suite."""
    resolution: str
    """Input size in px: 224, or 448x672 (height x width)."""
    median_ms: float | None
    """Median milliseconds of a call; None where the tool prints a mean alone."""
    p90_ms: float | None
    """Nine of ten calls took at most so many milliseconds; None where the tool does not print it."""
    mean_ms: float | None
    """Mean milliseconds of a call; None where it is not known."""
    n: int
    """Calls that were timed, without those to warm up."""
    file_sha256: str
    """Hex digest of the file that ran; empty where there was none, as in PyTorch."""
    date: str
    """Day of the measurement, YYYY-MM-DD."""

    def __post_init__(self) -> None:
        for name, (is_right, expected) in _checks(self).items():
            if not is_right:
                raise DeviceError(f"{name} is {_shown(getattr(self, name))}; expected {expected}")

    @property
    def setting(self) -> Setting:
        """Where and how it was measured."""
        return Setting(self.device, self.compute_unit, self.runtime, self.precision, self.threads, self.batch)

    @property
    def key(self) -> tuple[Setting, str, str]:
        """What a file has one row of: the setting, the model and its resolution."""
        return self.setting, self.model, self.resolution

    @property
    def latency_ms(self) -> float:
        """The median, or the mean where that is all that is known."""
        found = self.mean_ms if self.median_ms is None else self.median_ms
        assert found is not None
        return found


COLUMNS = tuple(field.name for field in fields(DeviceRow))
_EXPECTED_DIGEST = "64 digits of 0-9 and a-f, as sha256sum prints them, or nothing"
_WHOLE = ("threads", "batch", "n")
_TIMES = ("median_ms", "p90_ms", "mean_ms")


def read_device_results(path: Path) -> tuple[DeviceRow, ...]:
    """Return the rows of a `device_results.csv`.

    Raises DeviceError, which names the line, for other columns, for a field that is not as it should be, and for two
    rows of the same model and setting, and where there is no such file.
    """
    if not path.exists():
        raise DeviceError(
            f"no file {path}; `mobilebench models profile --append {path}` writes the figures of this machine, "
            "`mobilebench devices import` those of another"
        )
    frame = read_csv(path)
    _check_columns(path, [str(name) for name in frame.columns])
    rows = []
    for line, record in enumerate(frame.to_dict("records"), 2):
        try:
            rows.append(_row(cast("Mapping[str, str]", record)))
        except DeviceError as error:
            raise DeviceError(f"{path}, line {line}: {error}. Correct the line, or remove it") from None
    for key, count in Counter(row.key for row in rows).items():
        if count > 1:
            lines = ", ".join(str(line) for line, row in enumerate(rows, 2) if row.key == key)
            raise DeviceError(
                f"{path}: lines {lines} are all of {key[1]} at {key[2]} px on {key[0]}; expected one. Keep the one "
                "that counts"
            )
    return tuple(rows)


def add_device_rows(path: Path, rows: Sequence[DeviceRow]) -> int:
    """Add rows to a `device_results.csv`, in place of older ones of the same key, and return how many those were.

    The file is made where there is none. Raises as `read_device_results`; then it stays as it was.
    """
    import pandas as pd

    known = {row.key: row for row in read_device_results(path)} if path.exists() else {}
    replaced = sum(row.key in known for row in rows)
    known |= {row.key: row for row in rows}
    table = [{name: _text(value) for name, value in asdict(row).items()} for row in known.values()]
    write_csv(path, pd.DataFrame(table, columns=list(COLUMNS)))
    return replaced


def today() -> str:
    """Return the day as `date` has it."""
    return date.today().isoformat()  # noqa: DTZ011 - the day on the wall of who measures


def _check_columns(path: Path, found: Sequence[str]) -> None:
    missing = [name for name in COLUMNS if name not in found]
    unknown = [name for name in found if name not in COLUMNS]
    if not missing and not unknown:
        return
    said = [f"no column {', '.join(missing)}"] * bool(missing)
    said += [f"{name!r} is no column of it{_hint(name, missing)}" for name in unknown]
    raise DeviceError(
        f"{path}: {'; '.join(said)}. Expected the header {','.join(COLUMNS)}; a field of what is not known stays empty"
    )


def _hint(name: str, missing: Sequence[str]) -> str:
    found = did_you_mean(name, missing)
    return f": {found}" if found else ""


def _row(record: Mapping[str, str]) -> DeviceRow:
    given: dict[str, object] = {name: record[name].strip() for name in COLUMNS}
    for name in (*_WHOLE, *_TIMES):
        given[name] = _number(name, record[name].strip(), whole=name in _WHOLE)
    return DeviceRow(**given)  # type: ignore[arg-type]  # their kinds are checked as it is made


def _number(name: str, text: str, *, whole: bool) -> float | int | None:
    if not text:
        return None
    try:
        return int(text) if whole else float(text)
    except ValueError:
        expected = "a whole number" if whole else "milliseconds, as 12.5"
        raise DeviceError(f"{name} is {text!r}; expected {expected}") from None


def _checks(row: DeviceRow) -> dict[str, tuple[bool, str]]:
    """Return for each column whether it is right, and what is expected."""
    at_least, word = "a whole number of 1 or more", "a word of a-z, 0-9 and _"
    without_threads = row.threads is None and row.compute_unit != "cpu"
    checks = {
        "device": (bool(row.device.strip()), "the device's name, as Pixel 8"),
        "compute_unit": (row.compute_unit in UNITS, f"one of {', '.join(UNITS)}"),
        "runtime": (_is(_WORD, row.runtime), f"{word}, as litert, executorch, ort or torch"),
        "precision": (_is(_WORD, row.precision), f"{word}, as fp32, fp16 or int8"),
        "threads": (_counts(row.threads) or without_threads, f"{at_least}; of a GPU or NPU it may be empty"),
        "batch": (_counts(row.batch), at_least),
        "model": (bool(row.model.strip()), "the model's name in the suite"),
        "resolution": (_is(_SIZE, row.resolution), "pixels, as 224 or (height x width) 448x672"),
        "n": (_counts(row.n), f"{at_least}: the calls that were timed"),
        "file_sha256": (not row.file_sha256 or _is(_DIGEST, row.file_sha256), _EXPECTED_DIGEST),
        "date": (_is_day(row.date), "a day, as 2026-11-30"),
    }
    return checks | _checks_of_times(row)


def _checks_of_times(row: DeviceRow) -> dict[str, tuple[bool, str]]:
    times = {name: getattr(row, name) for name in _TIMES}
    checks = {name: (value is None or 0 < value < math.inf, "milliseconds above 0") for name, value in times.items()}
    if not all(is_right for is_right, _ in checks.values()):
        return checks
    is_known = row.median_ms is not None or row.mean_ms is not None
    is_above = row.p90_ms is None or row.median_ms is None or row.p90_ms >= row.median_ms
    return {
        "median_ms": (is_known, "it, or mean_ms where the tool prints no median"),
        "p90_ms": (is_above, f"at least the median, {row.median_ms}"),
    }


def _is(form: re.Pattern[str], text: str) -> bool:
    return form.fullmatch(text) is not None


def _counts(value: int | None) -> bool:
    return value is not None and value >= 1


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _shown(value: object) -> str:
    return "empty" if value is None or value == "" else repr(value)


def _text(value: object) -> str:
    return "" if value is None else str(value)
