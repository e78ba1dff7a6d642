"""Where a number comes from: the code's commit, the packages and the machine, as strings for tags and reports."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version

PACKAGES = ("torch", "torchvision", "timm", "numpy")


@cache
def environment() -> dict[str, str]:
    """Return what every run says of its surroundings: git commit and dirty flag, package versions, machine."""
    status = _git("status", "--porcelain", "--untracked-files=no")
    return {
        "git_commit": _git("rev-parse", "HEAD") or "unknown",
        "git_dirty": "unknown" if status is None else str(bool(status)).lower(),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "host": platform.node(),
        "cpu": f"{_cpu_name()} x{os.cpu_count()}",
    }


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)  # noqa: S603, S607 - fixed words
    except (
        OSError,
        subprocess.CalledProcessError,
    ):  # no git here, or no repository: a tag of a run, not a reason to stop
        return None
    return done.stdout.strip()


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo") as file:  # noqa: PTH123 - a device file of Linux only
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
