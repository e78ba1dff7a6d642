"""Costs as others read and print them: rows of a `cost.csv`, and the figures a publication prints; needs no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mobilebench.errors import UserError
from mobilebench.system.files import read_csv

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping
    from pathlib import Path

COSTS = "cost.csv"  # in the results folder, as `mobilebench models profile` writes it


@dataclass(frozen=True)
class CostRow:
    """Cost of one model."""

    model: str
    """Id of the model."""
    params: int
    """Parameters at the class count it was counted with."""
    macs: int
    """Multiply-adds of one image at the resolution it was counted with."""
    latency_ms: float | None = None
    """Median time per image batch in milliseconds; None where it was not measured."""
    latency_note: str = ""
    """What the latency was measured on: device, batch, repetitions."""
    params_range: tuple[int, int] | None = None
    """Fewest and most parameters over the datasets of a grid, where they differ by more than 5 %."""
    macs_range: tuple[int, int] | None = None
    """Fewest and most multiply-adds over the datasets of a grid, where they differ by more than 5 %."""


@dataclass(frozen=True)
class TrainingCost:
    """What training a model takes at one input size, as `mobilebench models profile` counts it."""

    model: str
    """Id of the model."""
    resolution: str
    """Input size in px: 224, or 448x672 (height x width)."""
    macs: int
    """Multiply-adds of one image."""
    batch: int
    """Batch size behind `bytes`."""
    bytes: int
    """Estimated bytes of training in fp32 with Adam."""
    bytes_per_image: int
    """What of these each image of a batch takes."""

    def bytes_at(self, batch: int) -> int:
        """Return the estimate at another batch size."""
        return self.bytes + (batch - self.batch) * self.bytes_per_image


@dataclass(frozen=True)
class PrintedCost:
    """What a publication prints of a model's cost, and at what it was counted."""

    params: int
    """Parameters as printed."""
    macs: int
    """Multiply-adds as printed."""
    class_counts: tuple[int, ...]
    """The class counts that `params` is an average over."""
    resolution: int
    """Input size in px at which `macs` was counted."""


def read_costs(path: str | Path) -> tuple[CostRow, ...]:
    """Return the rows of a `cost.csv` (model, params, macs, and latency_ms where measured); raises UserError.

    A model profiled more than once (other class counts, threads or machines) is taken from its last row.
    """
    rows: dict[str, CostRow] = {}
    for row in read_csv(path, ("model", "params", "macs")).to_dict("records"):
        try:
            latency = float(row["latency_ms"]) if row.get("latency_ms") else None
            cost = CostRow(row["model"], int(row["params"]), int(row["macs"]), latency, _latency_note(row))
        except ValueError as error:
            raise UserError(f"{path}: {row['model']}: {error}; params and macs are whole numbers") from None
        if min(cost.params, cost.macs) < 1 or (latency is not None and not 0 < latency < math.inf):
            raise UserError(
                f"{path}: {row['model']}: params {cost.params}, macs {cost.macs}, latency_ms {latency}; expected whole "
                "numbers of 1 or more, and a positive latency or none"
            )
        rows[cost.model] = cost
    return tuple(rows.values())


def read_training_costs(path: Path) -> tuple[TrainingCost, ...]:
    """Return what a `cost.csv` of `mobilebench models profile` says of training, nothing where there is no such file.

    Rows without these columns, as of a table made by hand, are left out. Raises UserError for what is no number.
    """
    if not path.exists():
        return ()
    columns = ("resolution", "macs", "training_batch", "training_bytes", "activation_bytes_per_image")
    found = []
    for row in read_csv(path, ("model", "macs")).to_dict("records"):
        if not all(row.get(name) for name in columns):
            continue
        try:
            numbers = [int(row[name]) for name in columns[1:]]
        except ValueError as error:
            raise UserError(f"{path}: {row['model']}: {error}; {', '.join(columns[1:])} are whole numbers") from None
        found.append(TrainingCost(row["model"], row["resolution"], *numbers))
    return tuple(found)


def _latency_note(row: Mapping[Hashable, str]) -> str:
    """Say what a latency was measured on, from the columns that `mobilebench models profile` writes."""
    named = {"latency_runs": "median of {} runs", "threads": "{} threads", "cpu": "{}", "resolution": "{} px, batch 1"}
    said = (form.format(row[name]) for name, form in named.items() if row.get(name))
    return ", ".join("1 thread" if words == "1 threads" else words for words in said)
