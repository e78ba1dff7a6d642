"""`benchmarks.gpu train`: real cells of a suite by the project's own commands, to be brought home with `sync`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from statistics import median
from typing import TYPE_CHECKING, Any

import click

from mobilebench.config.suite import Cell
from mobilebench.runs.events import Epoch, Finish
from mobilebench.runs.journal import Journal
from mobilebench.system.layout import PACKED, RESULTS, STATE
from mobilebench.system.provenance import OWN

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch

    from benchmarks.gpu_report import Report

COLUMNS = {
    "cell": "cell", "state": "state", "epochs": "epochs", "test_top1": "test top-1",
    "images_per_second": "images/s, median of epochs", "seconds": "seconds of the command", "command": "command",
}  # fmt: skip
_IN_WORDS = {"undelivered": "trained, not delivered"}
LEAST_MINUTES = 1  # what is left of the time for another cell to be begun


def train(
    report: Report, suite: str, dataset: str, models: Sequence[str], project: Path, raw: Path | None
) -> list[str]:
    """A row a model: its cells of the dataset trained offline, in this order; returns where they are and what is next.

    project: the folder they are trained in, made where it is none. raw: the official files or an archive of them; None
    to fetch them. Raises ClickException where a command that comes before the training fails.
    """
    project.mkdir(parents=True, exist_ok=True)
    if not (project / "params.yaml").exists():
        _must(report.device, project, "init", suite)
    if not (project / PACKED / dataset).exists():
        source = [] if raw is None else ["--from", str(raw.resolve())]
        _must(report.device, project, "data", "prepare", dataset, *source)
    for _, model in report.within((model, model) for model in models):
        command = ["run", dataset, "--model", model, "--offline", "--json"]
        if report.seconds_left != float("inf"):
            command += ["--until", f"+{max(LEAST_MINUTES, round(report.seconds_left / 60))}m"]
        start = time.monotonic()
        done = _mobilebench(report.device, project, *command)
        found = cells_of(done.stdout)
        if not found:
            state = "finished before" if done.returncode == 0 else f"failed: {done.stderr[-500:]}"
            report.row("train", cell=f"{model} {dataset}", state=state, command=f"mobilebench {' '.join(command)}")
        for cell in found:
            report.row(
                "train",
                cell=f"{cell['model']} {dataset} seed {cell['seed']}",
                state=_IN_WORDS.get(cell["name"], cell["name"]),
                **_kept(project, Cell(cell["model"], dataset, cell["seed"])),
                detail=cell["detail"],
                seconds=time.monotonic() - start,
                command=f"mobilebench {' '.join(command)}",
            )
    there = project.resolve()
    home = f"in the project there, `mobilebench sync {there.name}` delivers them"
    again = f"`cd {there}; mobilebench run {dataset} --offline`"
    return [
        f"The cells are in {there}: journals, weights in {STATE}, results in {RESULTS}. Bring it home; {home}.",
        f"To go on here: {again}. An unfinished cell goes on after its last finished epoch.",
    ]


def _kept(project: Path, cell: Cell) -> dict[str, Any]:
    """What the journal of a cell has: epochs, images/s (median over them), the result, what was decided."""
    folders = sorted((project / STATE).glob(f"{cell.name}-*"), key=lambda folder: folder.stat().st_mtime)
    if not folders:
        return {}
    events = Journal(folders[-1]).events()
    rates = [event.metrics["images_per_second"] for event in events if isinstance(event, Epoch)]
    finish = next((event for event in events if isinstance(event, Finish)), None)
    row: dict[str, Any] = {"epochs": len(rates), "images_per_second": median(rates) if rates else None}
    if finish is not None:
        row |= {"test_top1": finish.metrics.get("final_test_top1"), "decisions": finish.tags.get("decisions")}
    return row


def cells_of(document: str) -> list[dict[str, Any]]:
    """The cells that a `mobilebench run --json` had to train, with their states; none where it wrote no document."""
    try:
        found = json.loads(document)
    except ValueError:
        return []
    return list(found.get("cells", ())) if isinstance(found, dict) else []


def _must(device: torch.device, project: Path, *words: str) -> None:
    done = _mobilebench(device, project, *words)
    if done.returncode:
        raise click.ClickException(f"`mobilebench {' '.join(words)}` failed in {project}: {done.stderr[-1000:]}")


def _mobilebench(device: torch.device, project: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mobilebench", *words]
    paths = [str(OWN), *filter(None, [os.environ.get("PYTHONPATH")])]  # this program, installed or not
    card = "" if device.type != "cuda" else str(device.index or 0)
    env = {"CUDA_VISIBLE_DEVICES": card} | os.environ | {"PYTHONPATH": os.pathsep.join(paths)}  # that card alone
    print(f"mobilebench {' '.join(words)}", file=sys.stderr, flush=True)
    return subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, check=False)
