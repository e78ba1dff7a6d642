"""What all parts of `benchmarks.gpu` write: a head with the machine, a JSON line a row, a Markdown table at the end."""

from __future__ import annotations

import json
import subprocess
import time
from datetime import UTC, datetime
from importlib import import_module
from platform import python_version
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click
import torch

from mobilebench.system.git import git
from mobilebench.system.json_values import plain_value
from mobilebench.system.provenance import OWN, PACKAGES, processor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

# What nvidia-smi is asked of a card, MHz, W and degrees C.
_STATE = (
    "driver_version", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.draw", "power.limit", "temperature.gpu",
)  # fmt: skip
_PATIENCE = 20  # seconds; a driver that answers later answers never

Row = dict[str, Any]
_Item = TypeVar("_Item")


class Report:
    """Writes rows as they are measured, and keeps to the minutes there are."""

    def __init__(self, device: torch.device, minutes: float | None, out: Path | None) -> None:
        """minutes: when no new row is begun; None for no end. out: a file that the JSON lines are appended to."""
        self.device = device
        self.rows: list[Row] = []
        self.left_out: list[str] = []
        self._began, self._minutes = time.monotonic(), minutes
        self._file: IO[str] | None = None
        if out is not None:
            out.parent.mkdir(parents=True, exist_ok=True)
            self._file = out.open("a", encoding="utf-8")

    @property
    def seconds_left(self) -> float:
        """Seconds until the minutes are over; infinite without an end."""
        return float("inf") if self._minutes is None else 60 * self._minutes - (time.monotonic() - self._began)

    def within(self, items: Iterable[tuple[str, _Item]]) -> Iterator[tuple[str, _Item]]:
        """Yields (name, item) until the minutes are over; the names after that are left out, and said at the end."""
        for name, item in items:
            if self.seconds_left > 0:
                yield name, item
            else:
                self.left_out.append(name)

    def row(self, kind: str, **values: Any) -> Row:
        """Writes one JSON line at once: a call that is killed later keeps it. Numbers that are not finite are null."""
        row = {"row": kind} | {key: _short(plain_value(value)) for key, value in values.items()}
        line = json.dumps(row, allow_nan=False)
        print(line, flush=True)
        if self._file is not None:
            self._file.write(line + "\n")
            self._file.flush()
        self.rows.append(row)
        return row

    def close(self, columns: Mapping[str, str], notes: Iterable[str] = ()) -> None:
        """Writes what was left out, then the rows as Markdown. columns: a row's key and the column's head."""
        took = time.monotonic() - self._began
        self.row("end", seconds=took, left_out=self.left_out, state=card_state(self.device))
        if self._file is not None:
            self._file.close()
        head = next((row for row in self.rows if row["row"] == "head"), {})
        about = [
            f"{key} {value}" for key, value in head.items() if key not in {"row", "part"} and value not in ("", {})
        ]
        print(f"\n### {head.get('part', '')}\n\n{'; '.join(about)}\n")
        print(f"| {' | '.join(columns.values())} |\n|{'-|' * len(columns)}")
        for row in self.rows:
            if row["row"] not in {"head", "end"}:
                print(f"| {' | '.join(_cell(row.get(key)) for key in columns)} |")
        if self.left_out:
            notes = [*notes, f"Left out when the minutes were over: {', '.join(self.left_out)}."]
        for note in notes:
            print(f"\n{note}")


def head(part: str, device: torch.device, **settings: Any) -> Row:
    """What the figures of a part rest on: date, commit, versions, the card and its state, and the part's settings."""
    row: Row = {"part": part, "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", "commit": _commit()}
    row |= {"python": python_version()} | {package: str(import_module(package).__version__) for package in PACKAGES}
    row |= {"cpu": processor(), "device": str(device)}
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(device)
        row |= {
            "card": card.name,
            "memory_gib": round(card.total_memory / 2**30, 1),
            "multiprocessors": card.multi_processor_count,
            "capability": f"{card.major}.{card.minor}",
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            "state": card_state(device),
        }
    else:
        row["smoke_test"] = f"on {device.type}: that the program works, no figure of a GPU"
    return row | settings


def card_state(device: torch.device) -> dict[str, str]:
    """Driver, clocks (MHz), power (W) and temperature (C) of a card as nvidia-smi has them; empty where it has none."""
    if device.type != "cuda":
        return {}
    card = getattr(torch.cuda.get_device_properties(device), "uuid", "")
    asked = ["nvidia-smi", f"--id=GPU-{card}", f"--query-gpu={','.join(_STATE)}", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=_PATIENCE).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    values = [value.strip() for value in said.strip().split(",")]
    return dict(zip(_STATE, values, strict=True)) if len(values) == len(_STATE) else {}


def _commit() -> str:
    """The commit this program is of, and whether its files were changed; "unknown" outside its repository."""
    commit, changed = git("rev-parse", "--short=12", "HEAD", folder=OWN), git("status", "--porcelain", folder=OWN)
    return "unknown" if commit is None else commit.strip() + (" with changes" if changed else "")


def raise_if_lost(device: torch.device, failure: str) -> None:
    """Raises ClickException where the device answers no more after a failure: its process then cannot go on."""
    try:
        torch.ones(1, device=device).sum().item()
    except RuntimeError as error:
        raise click.ClickException(
            f"{device} answers no more after this: {failure}. The rows above are whole; give the command again with "
            "what is missing"
        ) from error


def first_line(error: BaseException) -> str:
    """The kind of an error and the first line of what it says."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def _short(value: Any) -> Any:
    """The same with five significant digits in every float: more is noise here."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, list):
        return [_short(item) for item in value]
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    return value


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, list):
        return ", ".join(_cell(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {_cell(item)}" for key, item in value.items())
    return str(value).replace("|", "\\|").replace("\n", " ")
