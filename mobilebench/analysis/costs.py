"""What the models of a grid cost: parameters and multiply-adds as its runs counted them, latency as it was profiled."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from mobilebench.errors import UserError
from mobilebench.models.cost.cost_file import COSTS, CostRow, read_costs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from mobilebench.runs.records import Record


def within_budget(results: Path, models: Sequence[str], under_ms: float) -> tuple[list[str], str]:
    """Return the models whose profiled latency is below `under_ms`, in the order given, and what it was measured on.

    Raises UserError, with the command that measures, where a model has no latency, and where none is fast enough.
    """
    path = results / COSTS
    profiled = {row.model: row for row in read_costs(path)} if path.exists() else {}
    latency = {name: profiled[name].latency_ms for name in models if name in profiled}
    missing = [name for name in models if latency.get(name) is None]
    if missing:
        names = "" if len(missing) == len(models) else f" --models {','.join(missing)}"
        what = f"of {', '.join(missing)}" if names else "of any model"
        raise UserError(f"{path} has no latency {what}; `mobilebench models profile{names}` measures it")
    known = {name: ms for name, ms in latency.items() if ms is not None}
    fast = [name for name in models if known[name] < under_ms]
    if not fast:
        quickest = min(known, key=lambda name: known[name])
        raise UserError(
            f"no model is under {under_ms:g} ms; the quickest is {quickest} with {known[quickest]:g} ms ({path})"
        )
    return fast, "; ".join(sorted({profiled[name].latency_note for name in models} - {""}))


def costs_of(results: Path, records: Iterable[Record]) -> tuple[CostRow, ...] | None:
    """Return each model's cost: from cost.csv where it was profiled (with its latency), else as its runs counted.

    The head differs with the class count of the dataset, and a suite may build another variant for some datasets. Up
    to 5 % of difference the first dataset's count stands for all; beyond, the mean over datasets with its range.
    """
    profiled = {row.model: row for row in read_costs(results / COSTS)} if (results / COSTS).exists() else {}
    counted: defaultdict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    for record in records:
        if record.params and record.macs:
            counted[record.model].setdefault(record.dataset, (record.params, record.macs))
    rows = []
    for model, by_dataset in sorted(counted.items()):
        (params, params_range), (macs, macs_range) = map(_over_datasets, zip(*by_dataset.values(), strict=True))
        row = profiled.get(model, CostRow(model, params, macs))
        rows.append(replace(row, params_range=params_range, macs_range=macs_range))
    return tuple(rows) or None


def profiled_costs(results: Path, models: Sequence[str]) -> tuple[CostRow, ...]:
    """Return the costs that cost.csv has of these models: all there is to know where no result file says more."""
    path = results / COSTS
    return tuple(row for row in read_costs(path) if row.model in models) if path.exists() else ()


def _over_datasets(counts: Sequence[int]) -> tuple[int, tuple[int, int] | None]:
    low, high = min(counts), max(counts)
    if high <= 1.05 * low:
        return counts[0], None
    return round(sum(counts) / len(counts)), (low, high)
