"""The layers that are ours on a CPU, there and back, against PyTorch's: batch normalisation and depthwise convolution.

`python -m benchmarks.layers [--threads N] [--rounds N] [--write FILE]`; see `training/accel/norm.py` and
`training/accel/depthwise.py`.
"""

from __future__ import annotations

import time
from copy import deepcopy
from statistics import median

import torch
from torch import nn

from benchmarks.results import arguments, publish
from mobilebench.training.accel import allocator as memory
from mobilebench.training.accel.depthwise import use_fast_gradients
from mobilebench.training.accel.norm import fuse_norms

# (channels, side, kernel, stride) of layers of the eleven networks at 224 px; no kernel: batch normalisation with
# ReLU6; kernel 0: batch normalisation alone.
LAYERS = (
    (24, 112, 0), (24, 56, 0), (40, 28, 0), (58, 28, 0), (96, 112, 0), (144, 56, 0), (240, 14, 0),
    (8, 112), (12, 56), (24, 112), (24, 56), (36, 56), (40, 28), (58, 28),
    (96, 112), (144, 56), (240, 14), (96, 112, 3, 1), (96, 112, 3, 2), (144, 56, 5, 2),
    (24, 56, 7, 1), (48, 28, 7, 1), (96, 14, 7, 1), (192, 7, 7, 1), (240, 14, 5, 1), (240, 28, 5, 2), (672, 7, 5, 1),
    (608, 32, 5, 1),
)  # fmt: skip


def layer(channels: int, kernel: int | None = None, stride: int = 1) -> nn.Module:
    """PyTorch's layer."""
    if not kernel:
        norm = nn.BatchNorm2d(channels)
        return nn.Sequential(norm) if kernel == 0 else nn.Sequential(norm, nn.ReLU6(inplace=True))
    convolution = nn.Conv2d(channels, channels, kernel, stride, kernel // 2, groups=channels)
    return convolution.to(memory_format=torch.channels_last)


def name_of(kernel: int | None = None, stride: int = 1) -> str:
    """What the table calls a layer."""
    if kernel:
        return f"depthwise {kernel} x {kernel}, stride {stride}"
    return "batch normalisation" if kernel == 0 else "batch normalisation, ReLU6"


def seconds(module: nn.Module, batch: torch.Tensor, slope: torch.Tensor) -> float:
    """One forward and backward pass."""
    images = batch.detach().requires_grad_()
    start = time.perf_counter()
    torch.autograd.backward(module(images), slope)
    return time.perf_counter() - start


def main() -> None:
    """Parses the arguments, measures in turns, prints and, if asked, writes the section of the results file."""
    parser = arguments(__doc__)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=20)
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    memory.keep_freed_memory()
    lines = ["| layer | channels, side | type | PyTorch, ms | ours, ms | ratio |", "|-|-|-|-|-|-|"]
    for channels, side, *kernel in LAYERS:
        for dtype, name in ((torch.float32, "fp32"), (torch.bfloat16, "bf16")):
            batch = torch.randn(settings.batch, channels, side, side).to(dtype)
            batch = batch.contiguous(memory_format=torch.channels_last)
            theirs = layer(channels, *kernel)
            ours = deepcopy(theirs)
            fuse_norms(ours)
            use_fast_gradients(ours, dtype)
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                slope = torch.randn_like(theirs(batch))
                turns = [
                    (seconds(theirs, batch, slope), seconds(ours, batch, slope)) for _ in range(settings.rounds + 1)
                ]
            a, b = (1000 * median(times) for times in zip(*turns[1:], strict=True))
            what = name_of(*kernel)
            ratio = median(x / y for x, y in turns[1:])
            lines.append(f"| {what} | {channels}, {side} | {name} | {a:.2f} | {b:.2f} | {ratio:.2f} |")
    publish([*lines, "", f"Medians of n = {settings.rounds} turns."], settings, f"batch {settings.batch}")


if __name__ == "__main__":
    main()
