"""`benchmarks.gpu check`: is training right on this device? A row a check, with its figure and the most it may be."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

import torch

from benchmarks import gpu_check_cells as cells
from benchmarks import gpu_check_memory as memory
from benchmarks import gpu_check_numbers as numbers
from benchmarks.gpu_report import first_line, raise_if_lost
from mobilebench.training.memory import free_unused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.gpu_check_numbers import Found
    from benchmarks.gpu_report import Report
    from benchmarks.gpu_steps import Work

    Check = Callable[[], Found]

COLUMNS = {
    "check": "check", "verdict": "verdict", "figure": "figure", "limit": "at most", "what": "what it is",
    "seconds": "s", "more": "more",
}  # fmt: skip
OPTIMIZERS: tuple[cells.Optimizer, ...] = ("adam", "adamw", "sgd")


def checks(works: Sequence[Work], device: torch.device) -> Iterator[tuple[str, Check]]:
    """All checks by name: first those that all else rests on, last those that wait for a compiler."""
    small = {
        "flags": cells.flags,
        "graph": cells.small_graph,
        "rest batch": cells.rest,
        "dropout masks": cells.masks,
        "curve of the CPU": cells.as_on_cpu,
        "graph in bf16": cells.small_bf16,
        "images from the host": memory.from_host,
        "failed capture": memory.failed_capture,
        "full card": memory.full_card,
        "memory left": memory.leftovers,
    }
    yield from ((name, partial(check, device)) for name, check in small.items())
    for optimizer in OPTIMIZERS:
        yield f"resume {optimizer}", partial(cells.resumed, device, optimizer)
        if device.type != "cpu":
            yield f"resume {optimizer} from the CPU", partial(cells.resumed, device, optimizer, torch.device("cpu"))
    yield "augmentation", partial(numbers.augmentation, works[0], device)
    of_networks = {
        "graph": cells.graph, "fp32": numbers.fp32, "tf32": numbers.tf32, "evaluation": numbers.evaluation,
    }  # fmt: skip
    for work in works:
        yield from ((f"{name} {work.model}", partial(check, work, device)) for name, check in of_networks.items())
    yield "compiled", partial(cells.small_compiled, device)
    for work in works:
        yield f"compiled {work.model}", partial(cells.compiled, work, device)


def check(report: Report, works: Sequence[Work], device: torch.device, only: Sequence[str]) -> int:
    """A row a check whose name begins with one of `only`, all for none; returns how many failed."""
    wanted = [found for found in checks(works, device) if not only or found[0].startswith(tuple(only))]
    failed = 0
    for name, one in report.within(wanted):
        start = time.perf_counter()
        found = _outcome(one)
        free_unused(device)
        failed += found.verdict == "fail"
        report.row(
            "check", check=name, verdict=found.verdict, figure=found.figure, limit=found.limit, what=found.what,
            seconds=time.perf_counter() - start, more=found.more,
        )  # fmt: skip
        if found.verdict == "fail":
            raise_if_lost(device, f"{name}: {found.what}")
    return failed


def _outcome(one: Check) -> Found:
    try:
        return one()
    except Exception as error:  # noqa: BLE001 - a check that breaks off has failed, and the next one begins
        return numbers.Found("fail", f"broke off: {first_line(error)}")
