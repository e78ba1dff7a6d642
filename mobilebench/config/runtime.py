"""How a run is carried out: what must not change its result, and so is not part of the protocol."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from mobilebench.system.cpu import cores


@dataclass(frozen=True)
class Runtime:
    """Machine settings.

    device: auto (cuda, else mps, else cpu) or a torch device. threads: CPU threads of a cell, null for torch's choice,
    or for an equal share of the cores where cells_per_device is more than one. path: `fast` (batched on the device) or
    `plain` (an eager fp32 loop to check the fast one against). compile: torch.compile when it pays (auto), always (on)
    or never (off). eval_every: epochs between readings of the test curve, 0 for the last epoch only (the reported value
    is always the last epoch's). eval_batch_size: images per evaluation batch. cells_per_device: cells trained at once,
    each in its own process, null for one. prepare_workers: decoding processes, null for one per core.
    Raises ValueError, naming the key and what is allowed.
    """

    device: str = "auto"
    threads: int | None = None
    path: Literal["fast", "plain"] = "fast"
    compile: Literal["auto", "on", "off"] = "auto"
    eval_every: int = 1
    eval_batch_size: int = 256
    cells_per_device: int | None = None
    prepare_workers: int | None = None
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}

    def __post_init__(self) -> None:
        for key in ("threads", "cells_per_device", "prepare_workers"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise ValueError(f"runtime.{key} is {value}; allowed: null or 1 or more")
        if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", self.device):
            raise ValueError(f"runtime.device is {self.device!r}; allowed: auto, cpu, mps, cuda or cuda:N")
        if self.eval_every < 0:
            raise ValueError(f"runtime.eval_every is {self.eval_every}; allowed: 0 (last epoch only) or more")
        if self.eval_batch_size < 1:
            raise ValueError(f"runtime.eval_batch_size is {self.eval_batch_size}; allowed: 1 or more")

    def cell_threads(self) -> int | None:
        """Return the CPU threads of each cell, None for torch's choice.

        However few cells are left to train: the number of threads decides how sums are rounded, and a cell that was
        killed beside others has to end with the same bits when it is carried on alone.
        """
        if self.threads is not None or (self.cells_per_device or 1) == 1:
            return self.threads
        return max(1, cores() // (self.cells_per_device or 1))

    def workers(self, cells: int) -> int:
        """Return how many processes train this many cells, 1 for none beside this one."""
        return min(self.cells_per_device or 1, max(1, cells))
