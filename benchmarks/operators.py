"""Where a training step's time goes: the operators of one step on the fast path, by their own share of it.

`python -m benchmarks.operators [--models ..] [--top N] [--write FILE]`
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.contenders import CLASSES, steps_of
from benchmarks.results import arguments, publish
from mobilebench.config.recipe import Recipe
from mobilebench.models import create

if TYPE_CHECKING:
    import argparse


def shares(model_id: str, settings: argparse.Namespace) -> list[tuple[str, float]]:
    """The costliest operators of the third step and their share of its time, fractions."""
    torch.manual_seed(0)
    recipe = Recipe(resolution=settings.resolution)
    steps = steps_of("ours", create(model_id, CLASSES), settings.stored, recipe, settings.threads)
    next(steps)
    next(steps)
    cuda = torch.cuda.is_available()
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]) as measured:
        next(steps)
    times = [
        (event.key.removeprefix("aten::"), event.self_device_time_total if cuda else event.self_cpu_time_total)
        for event in measured.key_averages()
    ]
    total = sum(time for _, time in times)
    return sorted(((name, time / total) for name, time in times), key=lambda pair: -pair[1])[: settings.top]


def main() -> None:
    """Parses the arguments, measures, prints and, if asked, writes the section of the results file."""
    parser = arguments(__doc__)
    parser.add_argument("--models", nargs="+", default=["mobilenet", "ghostnet", "mobileone", "starnet", "convnext"])
    parser.add_argument("--top", type=int, default=5)
    parser.add_argument("--resolution", type=int, default=224)
    parser.add_argument("--stored", type=int, default=256)
    settings = parser.parse_args()
    lines = ["| network | operators by their own time |", "|-|-|"]
    for model_id in settings.models:
        found = ", ".join(f"{name} {share:.0%}" for name, share in shares(model_id, settings))
        lines.append(f"| {model_id} | {found} |")
    publish(lines, settings, f"{settings.resolution} px")


if __name__ == "__main__":
    main()
