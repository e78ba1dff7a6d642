"""How a run is carried out: what must not change its result, and so is not part of the protocol."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from mobilebench.system.cpu import cores

if TYPE_CHECKING:
    from mobilebench.config.recipe import Recipe

MOST_PROCESSES, LARGEST_BATCH = 4096, 1_000_000


@dataclass(frozen=True)
class Runtime:
    """Machine settings. Raises ValueError, naming the key and what is allowed."""

    device: str = "auto"
    """`auto` (cuda, else mps, else cpu) or a torch device; `auto` and `cuda` use every CUDA card, `cuda:1` that one."""
    threads: int | None = None
    """CPU threads of a cell. Null: torch's choice, or an equal share of the cores where cells_per_device is over 1."""
    path: Literal["fast", "plain"] = "fast"
    """`fast` augments in batches on the device; `plain` is an eager fp32 loop to check the fast one against."""
    acceleration: Literal["auto", "on", "off"] = "auto"
    """The techniques of training/accel: where they pay (auto), always (on), none of them (off, and on path plain)."""
    eval_every: int = 1
    """Epochs between readings of the val and test curves, 0 for the last epoch only. Val is read each epoch where the
    protocol's selection chooses by it.

    A reading of undefined outputs ends the cell as diverged, so one that is read often may end sooner.
    """
    test_curve: bool | None = None
    """Whether test is read along the way, a curve that chooses nothing: what choosing on it would have gained shows
    beside the result. False reads test once, with the kept weights. Null: true where the last epoch is kept, false
    where one is chosen on val or the cell is tuned.
    """
    eval_batch_size: int = 256
    """Images per evaluation batch."""
    cells_per_device: int | None = None
    """Cells trained at once on each device, each in its own process; null for one."""
    prepare_workers: int | None = None
    """Decoding processes, null for one per core."""
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}

    def __post_init__(self) -> None:
        for key in ("threads", "cells_per_device", "prepare_workers"):
            value = getattr(self, key)
            if value is not None and not 1 <= value <= MOST_PROCESSES:
                raise ValueError(f"runtime.{key} is {value}; allowed: null, or 1 to {MOST_PROCESSES}")
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", self.device):
            raise ValueError(f"runtime.device is {self.device!r}; allowed: auto, cpu, mps, cuda or cuda:N")
        if self.eval_every < 0:
            raise ValueError(f"runtime.eval_every is {self.eval_every}; allowed: 0 (last epoch only) or more")
        if not 1 <= self.eval_batch_size <= LARGEST_BATCH:
            raise ValueError(f"runtime.eval_batch_size is {self.eval_batch_size}; allowed: 1 to {LARGEST_BATCH:,}")

    def cell_threads(self) -> int | None:
        """Return the CPU threads of each cell, None for torch's choice.

        However few cells are left to train: the number of threads decides how sums are rounded, and a cell that was
        killed beside others has to end with the same bits, on a CPU, when it is carried on alone.
        """
        if self.threads is not None or (self.cells_per_device or 1) == 1:
            return self.threads
        return max(1, cores() // (self.cells_per_device or 1))

    def reads_test_curve(self, recipe: Recipe) -> bool:
        """Return whether test is read along the way under a recipe."""
        return not recipe.chooses_on_val if self.test_curve is None else self.test_curve

    def workers(self, cells: int, devices: int = 1) -> int:
        """Return how many processes train this many cells on this many devices, 1 for none beside this one."""
        return min((self.cells_per_device or 1) * devices, max(1, cells))
