"""What a report is made from: plain data, so that reporting needs neither MLflow nor torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mobilebench.errors import UserError
from mobilebench.system.files import read_rows

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mobilebench.scoring import Matrix, ScoreTable
    from mobilebench.scoring.matrix import CellKey


@dataclass(frozen=True)
class RunRef:
    """The run behind one cell: its MLflow run id and, where a server is known, the address of its page."""

    run_id: str
    url: str | None = None


@dataclass(frozen=True)
class Curve:
    """Learning curve of one cell: `epochs` (1..E) and test top-1 fractions, recorded for display, never selected on."""

    model: str
    dataset: str
    seed: int
    epochs: tuple[int, ...]
    test_top1: tuple[float, ...]


@dataclass(frozen=True)
class CostRow:
    """Cost of one model: parameters and multiply-adds at the stated class count and resolution, latency if measured.

    `latency_ms` is a median per image batch as `latency_note` states (device, batch, repetitions).
    """

    model: str
    params: int
    macs: int
    latency_ms: float | None = None
    latency_note: str = ""


@dataclass(frozen=True)
class ReportInputs:
    """Everything a report shows.

    `runs` maps (model, dataset, seed) to its run, `dataset_digests` dataset id to content digest. `costs` None means
    unknown; `elements` {element: {model: has it}} is Table 5 where the models are the paper's. `source` is one
    sentence on where the accuracies come from.
    """

    matrix: Matrix
    scores: ScoreTable
    suite: str
    experiment: str
    protocol_hash: str
    protocol: Mapping[str, object]
    dataset_digests: Mapping[str, str] = field(default_factory=dict)
    runs: Mapping[CellKey, RunRef] = field(default_factory=dict)
    curves: tuple[Curve, ...] = ()
    costs: tuple[CostRow, ...] | None = None
    elements: Mapping[str, Mapping[str, bool]] | None = None
    source: str = ""


def read_costs(path: str | Path) -> tuple[CostRow, ...]:
    """Return the rows of a `cost.csv` (model, params, macs, and latency_ms where measured); raises UserError.

    A model profiled more than once (other class counts, threads or machines) is taken from its last row.
    """
    rows: dict[str, CostRow] = {}
    for row in read_rows(path, ("model", "params", "macs")):
        try:
            latency = float(row["latency_ms"]) if row.get("latency_ms") else None
            cost = CostRow(row["model"], int(row["params"]), int(row["macs"]), latency, _latency_note(row))
        except ValueError as error:
            raise UserError(f"{path}: {row['model']}: {error}; params and macs are whole numbers") from None
        rows[cost.model] = cost
    return tuple(rows.values())


def _latency_note(row: Mapping[str, str]) -> str:
    """Say what a latency was measured on, from the columns that `mobilebench models profile` writes."""
    named = {"latency_runs": "median of {} runs", "threads": "{} threads", "cpu": "{}", "resolution": "{} px, batch 1"}
    return ", ".join(form.format(row[name]) for name, form in named.items() if row.get(name))
