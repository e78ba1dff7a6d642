"""Batch normalisation of few channels, there and back, ours (`training/batchnorm.py`) against PyTorch's, on a CPU.

`python -m benchmarks.batchnorm [--threads N] [--rounds N] [--write FILE]`
"""

from __future__ import annotations

import time
from copy import deepcopy
from statistics import median

import torch
from torch import nn

from benchmarks.results import arguments, publish
from mobilebench.training import memory
from mobilebench.training.batchnorm import fold_batch_norms

# (channels, side) of layers of the eleven networks at 224 px.
SHAPES = ((8, 112), (12, 56), (24, 112), (24, 56), (36, 56), (40, 28), (58, 28))


def seconds(norm: nn.Module, batch: torch.Tensor, slope: torch.Tensor) -> float:
    """One forward and backward pass."""
    images = batch.detach().requires_grad_()
    start = time.perf_counter()
    torch.autograd.backward(norm(images), slope)
    return time.perf_counter() - start


def main() -> None:
    """Parses the arguments, measures in turns, prints and, if asked, writes the section of the results file."""
    parser = arguments(__doc__)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=20)
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    memory.keep_freed_memory()
    lines = ["| channels, side | PyTorch, ms | ours, ms | ratio |", "|-|-|-|-|"]
    for channels, side in SHAPES:
        batch, slope = (
            torch.randn(settings.batch, channels, side, side).contiguous(memory_format=torch.channels_last)
            for _ in range(2)
        )
        theirs = nn.BatchNorm2d(channels)
        ours = deepcopy(theirs)
        fold_batch_norms(ours)
        turns = [(seconds(theirs, batch, slope), seconds(ours, batch, slope)) for _ in range(settings.rounds + 1)][1:]
        a, b = (1000 * median(times) for times in zip(*turns, strict=True))
        lines.append(f"| {channels}, {side} | {a:.2f} | {b:.2f} | {median(x / y for x, y in turns):.2f} |")
    lines += ["", f"Medians of n = {settings.rounds} turns."]
    publish(lines, settings, f"batch {settings.batch}")


if __name__ == "__main__":
    main()
