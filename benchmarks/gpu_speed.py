"""`benchmarks.gpu layout` and `speed`: which memory layout, and how fast the networks train, against other loops."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

import torch

from benchmarks.contenders import CLASSES
from benchmarks.gpu_steps import Precision, Work, measure, one_batch, others_loader, others_loop, ours, timed
from benchmarks.throughput import GRID_IMAGES
from mobilebench.models import PAPER_MODELS, ModelError, create
from mobilebench.models.cost.counts import activation_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.gpu_report import Report, Row
    from benchmarks.gpu_steps import Contender, Measured

REFERENCE = "graph"
FIRST = ("eager", "graph", "bf16", "paper_loop", "timm_loop", "timm_loop_bf16")
COMPILED = ("graph", "compiled", "bf16_compiled")
LOADERS = ("graph", "paper_loader", "timm_loader", "timm_loader_bf16")
CONTENDERS = tuple(dict.fromkeys([*FIRST, *COMPILED, *LOADERS]))
_MOST_WITH_LOADERS = 3  # networks: a loader is as fast for each of them

_COPY = {"cuda": 1 << 30, "cpu": 64 << 20}  # bytes: far more than any cache has
_COPIES = 10

SPEED_COLUMNS = {
    "network": "network", "contender": "contender", "images_per_second": "images/s, median", "quartiles": "quartiles",
    "n": "n", "times_graph": "times graph", "first_turn_seconds": "build and first turn, s", "peak_mib": "peak MiB",
    "bound": "bandwidth bound, images/s", "of_bound": "share of it", "captured": "captured",
    "not_possible_here": "not possible here",
}  # fmt: skip
LAYOUT_COLUMNS = {
    "network": "network", "precision": "precision", "channels_last": "channels-last images/s",
    "contiguous": "contiguous images/s", "ratio": "channels-last / contiguous", "n": "n",
    "quartiles": "their quartiles",
    "peak_mib": "peak MiB", "not_possible_here": "not possible here",
}  # fmt: skip


def layout(report: Report, works: Sequence[Work], device: torch.device, *, autotune: bool) -> None:
    """A row a network and precision: images/s of steps in both memory layouts, and their ratio within this run."""
    precisions: tuple[Precision, ...] = ("fp32", "bf16")
    pairs = [(f"{work.model} {precision}", (work, precision)) for precision in precisions for work in works]
    layouts = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
    for _, (work, precision) in report.within(pairs):
        steps = {
            name: partial(one_batch, work, memory_format, precision, autotune=autotune)
            for name, memory_format in layouts.items()
        }
        found = measure(steps, device, work)
        last, rest = (found[name] for name in layouts)
        report.row(
            "layout",
            network=work.model,
            precision=precision,
            channels_last=last.median,
            contiguous=rest.median,
            ratio=last.median / rest.median if last.median and rest.median else None,
            n=[len(one.rates) for one in (last, rest)],
            quartiles=[one.row()["quartiles"] for one in (last, rest)],
            peak_mib=[one.peak_mib for one in (last, rest)],
            captured=last.facts.get("captured"),
            not_possible_here=last.failure or rest.failure,
        )


def speed(report: Report, works: Sequence[Work], device: torch.device, wanted: Sequence[str], steps: int) -> list[str]:
    """A row a network and contender; first what needs no compiler, then what does, then loaders; returns notes.

    steps: of a turn of a contender with its own loader.
    """
    bandwidth = copy_bandwidth(device)
    report.row("ceiling", network="", contender="copy, GB/s", images_per_second=bandwidth / 1e9, n=_COPIES)
    groups = [(FIRST, works), (COMPILED, works), (LOADERS, works[:_MOST_WITH_LOADERS])]
    for _, (work, names) in report.within(_plan(groups, wanted)):
        found = measure({name: _contender(work, name, steps) for name in names}, device, work)
        bound = bandwidth_bound(work, device, bandwidth)
        for name, measured in found.items():
            report.row("speed", **_speed_row(work, name, measured, found.get(REFERENCE), bound))
    return hours_of_the_grid(report.rows) if {work.size for work in works} == {224} else []


def _plan(
    groups: Sequence[tuple[Sequence[str], Sequence[Work]]], wanted: Sequence[str]
) -> Iterator[tuple[str, tuple[Work, list[str]]]]:
    """What is measured together: of each group the contenders that are wanted."""
    for number, (group, works) in enumerate(groups):
        names = [name for name in group if name in wanted]
        if not names or (number and names == [REFERENCE]):
            continue  # the reference was measured in the first group
        for work in works:
            yield f"{work.model}: {', '.join(names)}", (work, names)


def _speed_row(work: Work, name: str, measured: Measured, reference: Measured | None, bound: float | None) -> Row:
    rate, base = measured.median, reference.median if reference is not None else None
    halved = 2 if "bf16" in name else 1
    limit = bound * halved if bound is not None else None
    return {
        "network": work.model,
        "contender": name,
        "times_graph": rate / base if rate and base else None,
        "bound": limit,
        "of_bound": rate / limit if rate and limit else None,
        "rates": measured.rates,
        **measured.row(),
    }


def _contender(work: Work, name: str, steps: int) -> Contender:
    made: dict[str, Contender] = {
        "eager": partial(ours, work, "off"),
        "graph": partial(ours, work, "auto"),
        "bf16": partial(ours, work, "auto", "bf16"),
        "compiled": partial(ours, work, "on"),
        "bf16_compiled": partial(ours, work, "on", "bf16"),
        "paper_loop": partial(others_loop, work, "paper"),
        "timm_loop": partial(others_loop, work, "timm"),
        "timm_loop_bf16": partial(others_loop, work, "timm", "bf16"),
        "paper_loader": partial(others_loader, work, "paper", steps),
        "timm_loader": partial(others_loader, work, "timm", steps),
        "timm_loader_bf16": partial(others_loader, work, "timm_bf16", steps),
    }
    return made[name]


def copy_bandwidth(device: torch.device) -> float:
    """Bytes/s of the fastest of some copies within the device's memory, read plus written."""
    size = _COPY.get(device.type, _COPY["cpu"])
    source, target = (torch.zeros(size, dtype=torch.uint8, device=device) for _ in range(2))

    def copy() -> int:
        target.copy_(source)
        return 2 * size

    copy()
    return max(moved / seconds for moved, seconds in (timed(device, copy) for _ in range(_COPIES)))


@cache
def bandwidth_bound(work: Work, device: torch.device, bandwidth: float) -> float | None:
    """Images/s of fp32 that no training is above which keeps for its backward pass what eager PyTorch keeps.

    Each such byte is written once and read once; nothing else is counted. None for a network that cannot be counted.
    """
    try:
        kept = activation_bytes(create(work.model, CLASSES).to(device), work.size)
    except ModelError:
        return None
    return bandwidth / (2 * kept)


def hours_of_the_grid(rows: Sequence[Row]) -> list[str]:
    """What the paper's grid would take at the rates of each contender that all eleven networks were measured with."""
    rates: dict[str, dict[str, float]] = {}
    for row in rows:
        if row["row"] == "speed" and row["images_per_second"]:
            rates.setdefault(row["contender"], {})[row["network"]] = row["images_per_second"]
    hours = {
        name: sum(GRID_IMAGES / rate for rate in of.values()) / 3600
        for name, of in rates.items()
        if set(of) >= set(PAPER_MODELS)
    }
    if not hours:
        return []
    said = ", ".join(f"{name} {value:,.1f} h" for name, value in hours.items())
    return [f"Projection, not a measurement: 77 cells x 100 epochs one after another, test readings left out: {said}."]
