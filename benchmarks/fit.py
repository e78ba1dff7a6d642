"""What `data.fit` is worth: the same cells trained on warped, on centre-cut and on padded images, and their test top-1.

`python -m benchmarks.fit --images FOLDER_OR_ARCHIVE [--dataset ham10k] [--models ..] [--fits ..] [--seeds ..]`

Every fit is a project of its own below --work, where the program prepares, trains and keeps runs as for anybody: a
broken-off benchmark goes on where it was. Pairs differ in the fit alone: first weights, order, crops and mirrors are
the seed's. No CutMix and no RandAugment, which a few epochs are too short for.
"""

from __future__ import annotations

import os
import subprocess
import sys
from io import StringIO
from itertools import product
from pathlib import Path
from statistics import mean, stdev
from tempfile import gettempdir
from typing import TYPE_CHECKING

from ruamel.yaml import YAML

from benchmarks.results import arguments, publish
from mobilebench.config.suite import preset_text
from mobilebench.runs.records import read_results

if TYPE_CHECKING:
    import argparse


def params(fit: str, settings: argparse.Namespace) -> str:
    """Return the params.yaml of one fit: the paper's suite, shorter and smaller."""
    yaml = YAML(typ="safe", pure=True)
    suite = yaml.load(preset_text("paper_v1"))
    suite |= {
        "suite": f"fit_{fit}",
        "experiment": f"fit-{fit}",
        "models": settings.models,
        "datasets": [settings.dataset],
        "seeds": settings.seeds,
    }
    protocol = suite["protocol"]
    protocol |= {"epochs": settings.epochs, "warmup_epochs": 1, "resolution": settings.side, "overrides": []}
    protocol["augment"]["cutmix_alpha"] = 0.0
    protocol["data"] |= {"short_side": settings.side, "fit": fit}
    suite["runtime"] |= {"threads": settings.threads, "eval_every": settings.epochs, "acceleration": "off"}
    text = StringIO()
    yaml.dump(suite, text)
    return text.getvalue()


def call(folder: Path, *arguments: str) -> None:
    """Run the program in a project's folder."""
    here = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path[1:]])}
    program = [sys.executable, "-c", "from mobilebench.cli import main; main()"]
    subprocess.run([*program, *arguments], cwd=folder, env=here, check=True)


def read(folder: Path) -> dict[tuple[str, int], float]:
    """Return the finished test top-1 of a project, a fraction, by model and seed."""
    records = read_results(folder / "results")
    return {(r.model, r.seed): r.metrics["top1"] for r in records if r.value is not None}


def table(found: dict[str, dict[tuple[str, int], float]]) -> list[str]:
    """Return the lines of the result: every pair, then each fit against the first with a 95 % t-interval over pairs."""
    from scipy.stats import t

    first, *others = found
    cells = sorted(set.intersection(*(set(values) for values in found.values())))
    lines = ["| network | seed | " + " | ".join(found) + " |", "|-|-|" + "-|" * len(found)]
    for cell in cells:
        values = " | ".join(f"{100 * found[fit][cell]:.2f}" for fit in found)
        lines.append(f"| {cell[0]} | {cell[1]} | {values} |")
    for other in others:
        gains = [100 * (found[other][cell] - found[first][cell]) for cell in cells]
        n = len(gains)
        half = t.ppf(0.975, n - 1) * stdev(gains) / n**0.5 if n > 1 else float("nan")
        lines += ["", f"{other} minus {first}: {mean(gains):+.2f} points, 95 % interval +-{half:.2f} (n = {n} pairs)"]
    return lines


def main() -> None:
    """Train what is missing and print the table."""
    parser = arguments(__doc__)
    parser.add_argument("--images", type=Path, required=True, help="the dataset's official files, or their folder")
    parser.add_argument("--dataset", default="ham10k")
    parser.add_argument("--models", nargs="+", default=["convnext", "shufflenet"])
    parser.add_argument("--fits", nargs="+", default=["centre", "warp"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--work", type=Path, default=Path(gettempdir()) / "mobilebench_fit")
    parser.set_defaults(threads=1)
    settings = parser.parse_args()
    folders = {fit: settings.work / fit for fit in settings.fits}
    for fit, folder in folders.items():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "params.yaml").write_text(params(fit, settings))
        call(folder, "data", "prepare", settings.dataset, "--from", str(settings.images.resolve()))
    for seed, model, folder in product(settings.seeds, settings.models, folders.values()):  # pair after pair
        call(folder, "train", settings.dataset, "--model", model, "--seed", str(seed))
    lines = table({fit: read(folder) for fit, folder in folders.items()})
    publish(lines, settings, f"{settings.dataset}, {settings.side} px, {settings.epochs} epochs, batch 32")


if __name__ == "__main__":
    main()
