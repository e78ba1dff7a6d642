"""The processors of this machine."""

from __future__ import annotations

import os


def cores() -> int:
    """Return how many processors this process may use: fewer than the machine has under an affinity mask."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
