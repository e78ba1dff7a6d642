"""The energy a machine reports to have used: Intel's and AMD's RAPL counters, NVIDIA's NVML counter.

Both count for the whole processor or card, whoever used it, so the sum is that of all processors and the card trained
on, not the cell's alone. Most virtual machines report nothing; then nothing is recorded.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

_RAPL = Path("/sys/class/powercap")
Counter = tuple[str, "Callable[[], float]", float]  # name, joules so far, joules at which it wraps to 0 (0: never)


@dataclass
class Meter:
    """Reads counters; `lap` gives the joules since the last one."""

    counters: list[Counter]
    _before: list[float] | None = field(default=None)

    def __post_init__(self) -> None:
        self._before = self._read()

    @property
    def source(self) -> str:
        """What is counted, in words; empty where the machine reports nothing."""
        return ", ".join(name for name, _, _ in self.counters)

    def lap(self) -> float | None:
        """Return the joules since the last call, None where the machine does not say."""
        before, self._before = self._before, self._read()
        if not self.counters or before is None or self._before is None:
            return None
        used = [
            after - earlier + (wrap if after < earlier else 0)
            for earlier, after, (_, _, wrap) in zip(before, self._before, self.counters, strict=True)
        ]
        return sum(used) if min(used) >= 0 else None  # a driver that was loaded again counts from 0

    def _read(self) -> list[float] | None:
        """Return what the counters have; None where one fails for once, which is no reason for a training to."""
        try:
            return [read() for _, read, _ in self.counters]
        except (OSError, ValueError):
            return None


def meter_of(device: torch.device) -> Meter:
    """Return the meter of a training on this device: all processors, and the card where it is one of NVIDIA's."""
    return Meter([*rapl(_RAPL), *nvml(_card(device))])


def _card(device: torch.device) -> str:
    """Return the driver's name of a CUDA device, "" for another device.

    CUDA numbers the cards that CUDA_VISIBLE_DEVICES leaves, fastest first; NVML numbers all by their place on the bus.
    Only the UUID means the same card to both.
    """
    import torch

    if device.type != "cuda":
        return ""
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", "")
    return f"GPU-{uuid}" if uuid else ""


def rapl(folder: Path) -> list[Counter]:
    """Return the counters of the processor packages below a powercap folder that this user may read."""
    found: list[Counter] = []
    for zone in sorted(folder.glob("intel-rapl:[0-9]*")):
        if zone.name.count(":") > 1:  # a part of a package, which is counted already
            continue
        try:
            name, wrap = (zone / "name").read_text().strip(), int((zone / "max_energy_range_uj").read_text())
            (zone / "energy_uj").read_text()
        except (OSError, ValueError):  # for root only on most systems
            continue
        found.append((f"RAPL {name}", _microjoules(zone / "energy_uj"), wrap / 1e6))
    return found


def nvml(uuid: str) -> list[Counter]:
    """Return the counter of the NVIDIA card of that UUID (GPU-...), if its driver has one (Volta and later)."""
    if not uuid:
        return []
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
        handle = ctypes.c_void_p()
        if library.nvmlInit_v2() or library.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(handle)):
            return []
        _millijoules(library, handle)
    except (OSError, AttributeError, ValueError):
        return []
    return [(f"NVML {uuid}", lambda: _millijoules(library, handle), 0.0)]


def _microjoules(path: Path) -> Callable[[], float]:
    return lambda: int(path.read_text()) / 1e6


def _millijoules(library: ctypes.CDLL, handle: ctypes.c_void_p) -> float:
    value = ctypes.c_ulonglong()
    if library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(value)):
        raise ValueError("this card counts no energy")
    return value.value / 1e3
