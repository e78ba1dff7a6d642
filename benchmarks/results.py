"""What the benchmarks of this folder share: two of their arguments, and how their figures are printed and kept."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import machine
from mobilebench.system.cpu import cores

if TYPE_CHECKING:
    from collections.abc import Sequence


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser that knows --threads and --write."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--write", type=Path, help="append the section to this Markdown file")
    return parser


def publish(lines: Sequence[str], settings: argparse.Namespace, about: str = "") -> None:
    """Prints the lines under the time, the machine and what else they are about; appends them to the file if asked."""
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    text = "\n".join(["; ".join([when, machine.describe(settings.threads), *([about] if about else [])]), "", *lines])
    print(text)
    if settings.write:
        with settings.write.open("a") as file:
            file.write(text + "\n")
