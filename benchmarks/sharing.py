"""Images/s of one CPU when several cells share it: what `runtime.cells_per_device` is worth there.

`python -m benchmarks.sharing [--models ..] [--cells 1 2 4] [--seconds N] [--resolution N] [--write FILE]`

For each number of cells so many processes train the same network side by side, the CPU's threads shared out among them,
all for the same seconds after all have made their first step. The settings take turns, rounds times.
"""

from __future__ import annotations

import multiprocessing
import time
from statistics import median
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.contenders import CLASSES, steps_of
from benchmarks.results import arguments, on_a_cpu, publish
from mobilebench.config.recipe import Recipe
from mobilebench.models import create

if TYPE_CHECKING:
    import argparse
    from multiprocessing.synchronize import Barrier


def work(barrier: Barrier, counts: Any, model_id: str, threads: int, settings: argparse.Namespace) -> None:
    """One cell's process: trains for the seconds once all are ready and adds its images/s to the queue."""
    torch.manual_seed(0)
    recipe = Recipe(batch_size=settings.batch, resolution=settings.resolution)
    steps = steps_of("ours", create(model_id, CLASSES), settings.stored, recipe, threads)
    next(steps)
    barrier.wait()
    start, done = time.perf_counter(), 0
    while (seconds := time.perf_counter() - start) < settings.seconds:
        next(steps)
        done += 1
    counts.put(done * settings.batch / seconds)


def together(model_id: str, cells: int, settings: argparse.Namespace) -> float:
    """Images/s of so many cells side by side, all together."""
    context = multiprocessing.get_context("spawn")
    barrier, counts = context.Barrier(cells), context.Queue()
    threads = max(1, settings.threads // cells)
    jobs = [context.Process(target=work, args=(barrier, counts, model_id, threads, settings)) for _ in range(cells)]
    for job in jobs:
        job.start()
    rates = [counts.get() for _ in jobs]
    for job in jobs:
        job.join()
    return float(sum(rates))


def main() -> None:
    """Parses the arguments, measures, prints and, if asked, writes the section of the results file."""
    parser = arguments(__doc__)
    parser.add_argument("--models", nargs="+", default=["shufflenet", "starnet", "mobileone"])
    parser.add_argument("--cells", nargs="+", type=int, default=[1, 2, 4])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--stored", type=int, default=256)
    settings = parser.parse_args()
    on_a_cpu("`python -m benchmarks.gpu share` measures a GPU")
    heads = " | ".join(f"{cells} cells" for cells in settings.cells)
    rows = [f"| network, images/s of all together | {heads} |", "|" + "-|" * (len(settings.cells) + 1)]
    for model_id in settings.models:
        rates: dict[int, list[float]] = {cells: [] for cells in settings.cells}
        for _ in range(settings.rounds):
            for cells in settings.cells:
                rates[cells].append(together(model_id, cells, settings))
        rows.append(f"| {model_id} | {' | '.join(f'{median(found):.1f}' for found in rates.values())} |")
        print(rows[-1], flush=True)
    how = f"{settings.resolution} px, batch {settings.batch}, {settings.seconds:g} s, medians of n = {settings.rounds}"
    publish(rows, settings, how)


if __name__ == "__main__":
    main()
