"""Kill a small grid again and again and look whether anything was lost, doubled or changed.

Each attempt is `mobilebench train` in a process of its own, ended by SIGKILL: at a random moment, or (--every-step)
just before its 1st, 2nd, 3rd, ... step on the file system, so that no two steps are left untried. The next attempt goes
on until the grid is finished. Then every cell must be one finished MLflow run with each epoch's points once, equal to
those of a grid that nobody disturbed, and have the same weights, bit for bit.

The processes are forked from one that has imported everything: that saves the ten seconds of importing PyTorch, and
nothing that is under test.

With --on ray the grid has six cells and is trained by `mobilebench run --on ray:HOST:PORT`, in a process of its own, on
a cluster of this machine (`benchmarks/chaos_ray.py`). What is killed is a cell's worker, a node, or the call; a node
may also freeze, and wake up after it was taken for dead. The grid nobody disturbed is trained without Ray.

    python -m benchmarks.chaos --kills 100
    python -m benchmarks.chaos --kills 50 --on ray
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import random
import shutil
import signal
import sys
import tempfile
import time
from datetime import date
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import grids  # type: ignore[import-not-found]  # beside the tests that use it
import timm  # noqa: F401 - imported here, like all that follows, so that the forked processes have it
from mlflow.store.tracking import sqlalchemy_store  # noqa: F401
from mlflow.tracking import MlflowClient
from torch.utils import flop_counter  # noqa: F401

from mobilebench.cli import main as mobilebench
from mobilebench.execution import grid  # noqa: F401
from mobilebench.runs.events import Epoch
from mobilebench.runs.journal import Journal
from mobilebench.runs.records import read_results
from mobilebench.system.cpu import cores
from mobilebench.tracking import Tracker, uri

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

COMMAND = ["train", "blobs"]
EXACT = ("train_loss", "lr", "test_loss", "test_top1")  # seconds differ from run to run


def forked(folder: Path, work: Callable[[], None], *, kill_after: float | None = None) -> int | None:
    """Run `work` in a child process in `folder`; return its exit status, None when it was killed after the seconds."""
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        status = 1
        try:
            work()
            status = 0
        except SystemExit as ended:
            status = int(ended.code or 0)
        finally:
            sys.stdout.flush()
            os._exit(status)
    if kill_after is not None:
        time.sleep(kill_after)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    _, state = os.waitpid(child, 0)
    return None if os.WIFSIGNALED(state) else os.waitstatus_to_exitcode(state)


def train() -> None:
    """Do what a person does, without the lines it prints."""
    with Path("train.log").open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        mobilebench(COMMAND)


def killed_at(step: int) -> Callable[[], None]:
    """Return a training that kills itself just before the given step on the file system of its project."""

    def work() -> None:
        left = step
        here = str(Path.cwd())

        def watch(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal left
            if event in {"os.rename", "os.remove", "os.mkdir", "os.truncate"} or _is_writing(event, arguments):
                name = str(arguments[0])
                if (name.startswith((".mobilebench", "results", here))) and not name.endswith("train.log"):
                    left -= 1
                    if left == 0:
                        os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        train()

    return work


def _is_writing(event: str, arguments: tuple[Any, ...]) -> bool:
    return event == "open" and isinstance(arguments[2], int) and bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))


def look(folder: Path) -> dict[str, Any]:
    """Return what a project holds at the end: per cell its runs, points, weights (as a digest) and journal."""
    answer = folder / "found.json"
    status = forked(folder, lambda: _look(answer))
    if status != 0:
        raise SystemExit(f"the project in {folder} cannot be read, see above")
    found: dict[str, Any] = json.loads(answer.read_text())
    return found


def _look(answer: Path) -> None:
    client = MlflowClient(uri())
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    found: dict[str, Any] = {"files": {r.cell.name: r.run_id for r in read_results(Path("results"))}, "cells": {}}
    for run in client.search_runs([experiment.experiment_id]):
        history = {
            key: [(p.step, p.value) for p in client.get_metric_history(run.info.run_id, key)]
            for key in sorted({*EXACT, "epoch_seconds"} & set(run.data.metrics))
        }
        found["cells"].setdefault(run.data.tags["cell"], []).append(
            {
                "id": run.info.run_id,
                "status": run.info.status,
                "top1": run.data.metrics.get("final_test_top1"),
                "points": history,
                "weights": _digest(client, run.info.run_id),
            }
        )
    journals = [Journal(path.parent).events() for path in Path(".mobilebench/cells").glob("*/journal.jsonl")]
    found["journals"] = [[e.step for e in events if isinstance(e, Epoch)] for events in journals]
    answer.write_text(json.dumps(found))


def _digest(client: MlflowClient, run_id: str) -> str:
    import hashlib

    from safetensors.torch import load_file

    try:
        path = client.download_artifacts(run_id, "model.safetensors")
    except OSError:
        return "none"
    state = load_file(path)
    content = hashlib.sha256()
    for key in sorted(state):
        content.update(key.encode() + state[key].numpy().tobytes())
    return content.hexdigest()


def judge(found: dict[str, Any], whole: dict[str, Any], epochs: int) -> dict[str, int]:
    """Count what a killed grid lost, doubled or changed against the undisturbed one."""
    wanted = list(range(1, epochs + 1))
    lost = doubled = changed = 0
    for cell, (reference,) in whole["cells"].items():
        runs = found["cells"].get(cell, [])
        lost += not runs or found["files"].get(cell) not in {run["id"] for run in runs}
        doubled += max(0, len(runs) - 1)
        for run in runs[:1]:
            lost += run["status"] != "FINISHED"
            for key, points in reference["points"].items():
                steps = [step for step, _ in run["points"].get(key, [])]
                lost += len(set(wanted) - set(steps))
                doubled += len(steps) - len(set(steps))
                changed += key in EXACT and sorted(run["points"].get(key, [])) != sorted(points)
            changed += run["weights"] != reference["weights"] or run["top1"] != reference["top1"]
    for steps in found["journals"]:
        lost += len(set(wanted) - set(steps))
        doubled += len(steps) - len(set(steps))
    return {"lost": lost, "doubled": doubled, "changed": changed}


def projects(folder: Path, epochs: int, *, seeds: int = 1, per_class: int = 16) -> Iterator[Path]:
    """Yield fresh project folders, each with the packed data and an empty store.

    per_class: training images of each of the two classes.
    """
    template = folder / "template"
    template.mkdir()

    def make() -> None:
        grids.write(template, epochs=epochs, per_class=per_class)
        params = template / "params.yaml"
        params.write_text(params.read_text().replace("seeds: [0]", f"seeds: {list(range(seeds))}"))
        Tracker()

    if forked(template, make) != 0:
        raise SystemExit("the small grid cannot be made, see above")
    for number in count():
        yield Path(shutil.copytree(template, folder / f"round{number}"))


def random_moments(duration: float, seed: int) -> Iterator[tuple[Callable[[], None], float | None]]:
    """Yield trainings to be killed at random moments of their whole duration."""
    draw = random.Random(seed)
    while True:
        yield train, draw.uniform(0, 1.05 * duration)


def every_step(stride: int) -> Iterator[tuple[Callable[[], None], float | None]]:
    """Yield trainings killed before their 1st, 2nd, ... step; `stride` tries every so-manieth only."""
    for step in count(1, stride):
        yield killed_at(step), None


def disturb(project: Path, attempts: Iterator[tuple[Callable[[], None], float | None]], kills: int) -> int:
    """Train a project, killed up to `kills` times, then to its end; return how often it was killed."""
    done = 0
    while done < kills:
        work, moment = next(attempts)
        status = forked(project, work, kill_after=moment)
        if status is not None:
            break
        done += 1
    if forked(project, train) != 0:
        raise SystemExit(f"the grid does not end: {(project / 'train.log').read_text()[-2000:]}")
    return done


def main() -> None:
    """Kill, look, judge, print one line of JSON and one for people; exit 1 when anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--on", choices=("here", "ray"), default="here")
    parser.add_argument("--minutes", type=float, default=math.inf, help="on ray: kill nothing more after this time")
    parser.add_argument("--epochs", type=int, help="3, on ray 6")
    parser.add_argument("--per-class", type=int, help="training images of each class: 16, on ray 64")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every-step", type=int, metavar="STRIDE", help="one kill a round, before each STRIDE-th step")
    parser.add_argument("--model", help="one of the grid's two models, to have half the work")
    settings = parser.parse_args()
    ray = settings.on == "ray"
    if ray and (settings.every_step or settings.model):
        parser.error("--every-step and --model are for calls here, without --on ray")
    settings.epochs = settings.epochs or (6 if ray else 3)
    if settings.model:
        COMMAND.extend(["--model", settings.model])
    with tempfile.TemporaryDirectory() as name:
        fresh = projects(
            Path(name), settings.epochs, seeds=3 if ray else 1, per_class=settings.per_class or (64 if ray else 16)
        )
        whole = next(fresh)
        began = time.monotonic()
        disturb(whole, iter(()), 0)
        duration = time.monotonic() - began
        (on_ray if ray else here)(settings, fresh, look(whole), duration)


def here(settings: argparse.Namespace, fresh: Iterator[Path], reference: dict[str, Any], duration: float) -> None:
    """Kill calls that train in their own process. duration: seconds that an undisturbed one takes."""
    stride = settings.every_step
    attempts = every_step(stride) if stride else random_moments(duration, settings.seed)
    total, rounds = measure(
        settings,
        fresh,
        reference,
        lambda project, kills: disturb(project, attempts, 1 if stride else kills),
    )
    cells = 1 if settings.model else 2
    how = f"before every {stride}. step" if stride else "at random moments"
    grids = f"{rounds} grids of {cells} cells x {settings.epochs} epochs ({duration:.1f} s undisturbed)"
    print_outcome(total | {"grids": rounds}, f"{total['kills']} kills -9 {how}, {grids}")


def on_ray(settings: argparse.Namespace, fresh: Iterator[Path], reference: dict[str, Any], duration: float) -> None:
    """Kill workers, nodes and calls of a Ray cluster. duration: seconds that an undisturbed grid takes without it."""
    from benchmarks.chaos_ray import KINDS, Rig

    began = time.monotonic()
    with Rig(random.Random(settings.seed), began + 60 * settings.minutes) as rig:
        total, rounds = measure(settings, fresh, reference, rig.disturb)
        seconds = time.monotonic() - began
        total["lived on"] = len(rig.left_over())
    kills = ", ".join(f"{rig.killed[kind]} x {kind} ({rig.hit[kind]} hit cells)" for kind in KINDS)
    print_outcome(
        total | {"grids": rounds, "hit": rig.hit.total(), "attempts": rig.attempts, "given up": rig.given_up},
        f"{total['kills']} kills -9 and freezes: {kills}; {rounds} grids of {len(reference['cells'])} cells x "
        f"{settings.epochs} epochs in {seconds:.0f} s ({duration:.1f} s each undisturbed), {rig.attempts} attempts, "
        f"{rig.given_up} calls gave a cell up and were given again, {total['lived on']} workers lived on",
    )


def measure(
    settings: argparse.Namespace,
    fresh: Iterator[Path],
    reference: dict[str, Any],
    disturbed: Callable[[Path, int], int],
) -> tuple[dict[str, int], int]:
    """Return the sums of what went wrong and the number of finished grids.

    disturbed: finishes a project, with at most so many kills, and returns how many there were.
    """
    total = {"kills": 0, "lost": 0, "doubled": 0, "changed": 0}
    stride = settings.every_step
    rounds, until = 0, time.monotonic() + 60 * settings.minutes
    while total["kills"] < settings.kills:
        project = next(fresh)
        kills = disturbed(project, settings.kills - total["kills"])
        for key, value in judge(look(project), reference, settings.epochs).items():
            total[key] += value
        shutil.rmtree(project)
        rounds += 1
        total["kills"] += kills
        print(f"{rounds} grids: {total}", file=sys.stderr)
        if time.monotonic() > until or (stride and not kills):  # past the time, or the last step
            break
    return total, rounds


def print_outcome(total: dict[str, int], what: str) -> None:
    """Print the outcome and where it was measured; exit 1 when anything was lost, doubled or changed."""
    print(json.dumps(total))
    print(
        f"{what}: {total['lost']} lost, {total['doubled']} doubled, {total['changed']} changed "
        f"[{platform.machine()}, {cores()} cores, {date.today()}]"  # noqa: DTZ011 - the day where it was run
    )
    raise SystemExit(any(total.get(key) for key in ("lost", "doubled", "changed", "lived on")))


if __name__ == "__main__":
    main()
