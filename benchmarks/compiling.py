"""What compiling a network costs a cell on another dataset: whole, and without its last layer, as in a training.

`python -m benchmarks.compiling [--models NAME ...] [--threads N] [--write FILE]`

Each first step is that of a new process; PyTorch's cache is empty before the first one of each way.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from tempfile import TemporaryDirectory

import torch

from benchmarks.results import arguments, publish
from mobilebench.models import create
from mobilebench.training.accel.compiled import OPTIONS, compile_network

CLASSES = (10, 67, 10)


def first_step(way: str, model_id: str, classes: int, side: int, threads: int) -> float:
    """Seconds of the first step, compiled here and now."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = create(model_id, classes).to(memory_format=torch.channels_last).train()
    forward = torch.compile(model, options=OPTIONS) if way == "whole" else compile_network(model)
    images = torch.rand(32, 3, side, side).contiguous(memory_format=torch.channels_last)
    start = time.perf_counter()
    torch.autograd.backward(forward(images).sum())
    return time.perf_counter() - start


def in_a_process(way: str, model_id: str, classes: int, side: int, threads: int, cache: str) -> float:
    """The same in a process of its own, whose PyTorch keeps what it compiles in `cache`."""
    given = f"{way!r}, {model_id!r}, {classes}, {side}, {threads}"
    code = f"from benchmarks.compiling import first_step; print(first_step({given}))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"TORCHINDUCTOR_CACHE_DIR": cache}, check=True,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    """Parses the arguments, measures, prints and, if asked, writes the section of the results file."""
    parser = arguments(__doc__)
    parser.add_argument("--models", nargs="+", default=["mobilenet"])
    parser.add_argument("--side", type=int, default=64)
    settings = parser.parse_args()
    lines = [
        f"| network | compiled | {' | '.join(f'{n} classes, s' for n in CLASSES)} |",
        "|-|-|" + "-|" * len(CLASSES),
    ]
    for model_id in settings.models:
        for way in ("whole", "without its last layer"):
            with TemporaryDirectory() as cache:
                times = [in_a_process(way, model_id, n, settings.side, settings.threads, cache) for n in CLASSES]
            lines.append(f"| {model_id} | {way} | {' | '.join(f'{seconds:.1f}' for seconds in times)} |")
            print(lines[-1], flush=True)
    publish([*lines, "", "n = 1."], settings, f"{settings.side} px, batch 32")


if __name__ == "__main__":
    main()
