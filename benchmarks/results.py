"""What the benchmarks of this folder share: two of their arguments, and how their figures are printed and kept."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import torch

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


def on_a_cpu(instead: str) -> None:
    """Ends the program where there is a GPU, which these measurements are not made for. instead: what is."""
    if torch.cuda.is_available():
        raise SystemExit(f"this measures a CPU and found a GPU: {instead}, or hide the GPU with CUDA_VISIBLE_DEVICES=")


def publish(lines: Sequence[str], settings: argparse.Namespace, about: str = "") -> None:
    """Prints the lines under the time, the machine and what else they are about; appends them to the file if asked."""
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    text = "\n".join(["; ".join([when, machine.describe(settings.threads), *([about] if about else [])]), "", *lines])
    print(text)
    if settings.write:
        with settings.write.open("a") as file:
            file.write(text + "\n")
