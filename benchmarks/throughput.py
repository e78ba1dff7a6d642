"""Training throughput on a CPU of the eleven networks against the paper's loop and timm's, alternating in one run.

`python -m benchmarks.throughput end_to_end|augmentation|all [--models ..] [--rounds N] [--threads N] [--write FILE]`

Every turn is a process of its own, the only one alive: no contender takes memory or processor time from another, and
each has the allocator as it would have it alone. They take turns, in one order and then in the other, and ratios are
medians over rounds: a machine whose speed drifts slows neighbours alike.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import geometric_mean, median
from typing import TYPE_CHECKING, Any, Literal

import torch

from benchmarks import augmentation, machine
from benchmarks.contenders import CLASSES, CONTENDERS, steps_of
from benchmarks.results import arguments, on_a_cpu, publish
from mobilebench.config.recipe import Recipe
from mobilebench.models import PAPER_MODELS, create
from mobilebench.system.cpu import cores

if TYPE_CHECKING:
    import argparse

GRID_IMAGES = 100 * (50_000 + 9_469 + 50_000 + 7_009 + 12_000 + 100_000 + 5_360)
# per network: 100 epochs over the seven train splits
# Passes over all layers' outputs in a training step: written and read forward, read again backward, and their gradients
# written once and read twice (for the gradients of the weights and of the inputs).
PASSES = 6


@dataclass
class Measured:
    """One network: images/s of each turn, seconds to the first step, peak memory in MB, per contender."""

    rates: dict[str, list[float]] = field(default_factory=dict)
    first_step: dict[str, float] = field(default_factory=dict)
    peak_mb: dict[str, float] = field(default_factory=dict)

    def ratio(self, mine: str, other: str) -> float:
        """Median over rounds of mine / other."""
        return median(a / b for a, b in zip(self.rates[mine], self.rates[other], strict=True))


def turn(contender: str, model_id: str, settings: argparse.Namespace) -> tuple[float, float, float]:
    """A contender's turn, in a process of its own: seconds to the first step, images/s after warm-up, peak MB."""
    torch.manual_seed(0)
    precision: Literal["fp32", "bf16"] = "bf16" if "bf16" in contender else "fp32"
    recipe = Recipe(batch_size=settings.batch, resolution=settings.resolution, precision=precision)
    start = time.perf_counter()
    steps = steps_of(contender, create(model_id, CLASSES), settings.stored, recipe, settings.threads)
    next(steps)
    first = time.perf_counter() - start
    for _ in range(settings.warm_up):
        next(steps)
    start = time.perf_counter()
    for _ in range(settings.steps):
        next(steps)
    return first, settings.steps * settings.batch / (time.perf_counter() - start), peak_mb()


def peak_mb() -> float:
    """Peak memory of the process so far."""
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss would count the parent's memory at the fork
        return int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def kept(model_id: str, settings: argparse.Namespace) -> Measured:
    """What `--keep` holds of a network from an earlier, interrupted run; else measured now and added to it."""
    stored: dict[str, Any] = {}
    if settings.keep and settings.keep.exists():
        stored = json.loads(settings.keep.read_text())
    if model_id in stored:
        return Measured(**stored[model_id])
    result = measure(model_id, settings)
    if settings.keep:
        settings.keep.write_text(json.dumps(stored | {model_id: asdict(result)}))
    return result


def measure(model_id: str, settings: argparse.Namespace) -> Measured:
    """Runs every contender on one network, in turns, one process alive at a time."""
    measured = Measured({name: [] for name in settings.contenders})
    context = multiprocessing.get_context("spawn")
    for number in range(settings.rounds):
        for contender in settings.contenders[:: -1 if number % 2 else 1]:
            with ProcessPoolExecutor(1, context) as alone:
                first, rate, peak = alone.submit(turn, contender, model_id, settings).result()
            measured.rates[contender].append(rate)
            measured.first_step.setdefault(contender, first)
            measured.peak_mb[contender] = peak
    return measured


def bounds(model_id: str, peak: machine.Peak, resolution: int) -> tuple[float, float]:
    """Images/s that the machine's peak product rate and its bandwidth would allow (3 MACs per forward MAC)."""
    from mobilebench.models.cost.counts import static_cost

    model = create(model_id, CLASSES)
    macs = 3 * static_cost(model, resolution).macs
    outputs: list[int] = []
    for module in model.modules():
        if not any(module.children()):
            module.register_forward_hook(lambda _m, _i, out: outputs.append(getattr(out, "numel", lambda: 0)()))
    with torch.inference_mode():
        model.eval()(torch.zeros(1, 3, resolution, resolution))
    return peak.macs_per_second / macs, peak.bytes_per_second / (4 * PASSES * sum(outputs))


def end_to_end(settings: argparse.Namespace) -> list[str]:
    """Markdown: the table of all networks, geometric means, and the projection of the whole grid."""
    peak = machine.measure_peak(settings.threads)
    names = settings.contenders
    others = [name for name in names if not name.startswith("ours")] or names[:1]
    pairs = [(mine, other) for mine in names if mine.startswith("ours") for other in others if mine != other]
    head = [*(f"{n} img/s" for n in names), *(f"{a} / {b}" for a, b in pairs), "roofline reached"]
    rows = [f"| network | {' | '.join(head)} | first step s ({', '.join(names)}) | peak MB ({', '.join(names)}) |"]
    rows.append("|" + "-|" * (len(head) + 3))
    results: dict[str, Measured] = {}
    for model_id in settings.models:
        result = results[model_id] = kept(model_id, settings)
        compute, bandwidth = bounds(model_id, peak, settings.resolution)
        best = "ours" if "ours" in names else names[-1]
        share = median(result.rates[best]) / min(compute, bandwidth)
        bound = "compute" if compute < bandwidth else "bandwidth"
        cells = [f"{median(result.rates[n]):.1f}" for n in names] + [f"{result.ratio(a, b):.2f}" for a, b in pairs]
        cells += [f"{share:.0%} of {bound}", ", ".join(f"{result.first_step[n]:.1f}" for n in names)]
        rows.append(f"| {model_id} | {' | '.join(cells)} | {', '.join(f'{result.peak_mb[n]:.0f}' for n in names)} |")
        print(rows[-1], flush=True)
    means = [f"{geometric_mean([r.ratio(a, b) for r in results.values()]):.2f}" for a, b in pairs]
    rows.append(f"| geometric mean | {' | '.join(['', *([''] * (len(names) - 1)), *means])} | | | |")
    notes = [
        f"n = {settings.rounds} rounds of {settings.steps} steps, the first {settings.warm_up + 1} not counted.",
        "Ratios are medians of same-round ratios.",
        f"Batch {settings.batch}, {settings.resolution} px from {settings.stored} px stored.",
        f"Load of the machine at the end, all processes: {os.getloadavg()[0]:.1f} on {cores()} cores.",
        f"Measured peaks: {peak.macs_per_second / 1e9:.0f} GMAC/s fp32, {peak.bytes_per_second / 1e9:.1f} GB/s.",
    ]
    return [*rows, "", *notes, *projection(results, names)]


def projection(results: dict[str, Measured], names: list[str]) -> list[str]:
    """The paper's whole grid at the measured rates, one process at a time; marked as what it is."""
    if set(results) != set(PAPER_MODELS):
        return []
    hours = {n: sum(GRID_IMAGES / median(r.rates[n]) for r in results.values()) / 3600 for n in names}
    text = ", ".join(f"{name} {value:,.0f} h" for name, value in hours.items())
    return [f"Projection, not a measurement: 77 cells x 100 epochs at these rates on this machine: {text}."]


def main() -> None:
    """Parses the arguments, runs, prints and, if asked, writes the section of the results file."""
    parser = arguments(__doc__)
    parser.set_defaults(threads=min(4, cores()))  # timm's loader has as many processes
    parser.add_argument("part", choices=("end_to_end", "augmentation", "all"))
    parser.add_argument("--models", nargs="+", default=list(PAPER_MODELS))
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=["paper", "timm", "ours", "ours_bf16"],
                        help="ratios are ours to paper's and timm's; where neither is named, to the first")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3)
    # The paper's loop takes some six steps to get its memory, and is slower by half meanwhile.
    parser.add_argument("--warm-up", type=int, default=6, help="steps after the first, uncounted")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--stored", type=int, default=256)
    parser.add_argument("--keep", type=Path, help="measured networks are kept here; run again to carry on")
    settings = parser.parse_args()
    on_a_cpu("`python -m benchmarks.gpu speed` measures a GPU")
    lines: list[str] = []
    if settings.part in {"end_to_end", "all"}:
        lines += ["### End to end", "", *end_to_end(settings), ""]
    if settings.part in {"augmentation", "all"}:
        lines += ["### Augmentation alone, one core", "", *augmentation.table(max(5, settings.rounds)), ""]
    publish(lines, settings)


if __name__ == "__main__":
    main()
