"""What a Ray cluster costs: `mobilebench run --on ray` against `--on serial`, and how busy the one driver becomes.

    python -m benchmarks.cluster overhead --rounds 3
    python -m benchmarks.cluster calls
    python -m benchmarks.cluster driver --cells 1000 --epochs 10

`overhead` trains grids of tiny cells, 2 and 8 of them, both ways in turn on one CPU; what 6 cells more take is the cost
of a cell, the rest is paid once a call. `calls` times what the loop asks of Ray. `driver` simulates 64 GPUs
(`benchmarks/cluster_driver.py`). Each prints a section for RESULTS.md; --write FILE appends it.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import chdir, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.results import arguments, publish

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.cluster_driver import Load

STORE = 80 << 20  # bytes of a node's object store
SEEDS = 4  # of two networks: 8 cells
FEW, MANY = 2, 2 * SEEDS
PARTS = ("gcs_server", "raylet", "driver", "worker")
SLOTS = 64


@contextmanager
def cluster() -> Iterator[Any]:
    """Yield a cluster of this machine: a head without CPUs and a node of one."""
    from ray.cluster_utils import Cluster

    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE},
    )
    made.add_node(num_cpus=1, object_store_memory=STORE)
    try:
        yield made
    finally:
        made.shutdown()  # type: ignore[no-untyped-call]


def project(folder: Path, seeds: int) -> Path:
    """Make a project of two small networks, two epochs, and return its folder."""
    import grids  # type: ignore[import-not-found]  # beside the tests that use it

    folder.mkdir()
    with chdir(folder):
        grids.write(folder)
        params = folder / "params.yaml"
        params.write_text(params.read_text().replace("seeds: [0]", f"seeds: {list(range(seeds))}"))
    return folder


@dataclass
class Call:
    """One call of the command: its seconds, those of its own process, and the most memory of each kind of process."""

    seconds: float
    cpu_seconds: float
    bytes_of: dict[str, int] = field(default_factory=dict)


def call(folder: Path, on: str, cells: int) -> Call:
    """Train the first cells of a project, which are its first seeds."""
    seeds = [word for seed in range(cells // 2) for word in ("--seed", str(seed))]
    began, most, cpu = time.perf_counter(), dict.fromkeys(PARTS, 0), 0.0
    with (folder / "run.log").open("ab") as log:
        command = [sys.executable, "-m", "mobilebench", "run", "--on", on, *seeds]
        process = psutil.Popen(command, cwd=folder, stdout=log, stderr=log)
    while process.poll() is None:
        time.sleep(0.25)
        with suppress(psutil.Error):
            times = process.cpu_times()
            cpu = times.user + times.system
            found = memory(process)
            most = {part: max(size, found[part]) for part, size in most.items()}
    if process.returncode:
        raise SystemExit(f"the call failed: {(folder / 'run.log').read_text()[-2000:]}")
    return Call(time.perf_counter() - began, cpu, most)


def memory(driver: psutil.Process) -> dict[str, int]:
    """Return the resident bytes of a call and of this process' cluster: of a raylet and a worker, the largest one's."""
    found = dict.fromkeys(PARTS, 0) | {"driver": driver.memory_info().rss}
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            name = (process.cmdline() or [""])[0]
            part = "worker" if name.startswith("ray::") else process.name()
            if part in found:
                found[part] = max(found[part], process.memory_info().rss)
    return found


def overhead(settings: argparse.Namespace) -> None:
    """Train both ways in turn and print what a cell and a call cost more on Ray."""
    per_cell, per_call, cpu, calls = [], [], [], []
    with tempfile.TemporaryDirectory() as name, cluster() as made:
        template = project(Path(name) / "template", SEEDS)
        for number in range(settings.rounds):
            took: dict[tuple[str, int], Call] = {}
            for cells in (FEW, MANY):
                for kind, on in (("serial", "serial"), ("ray", f"ray:{made.address}")):
                    folder = Path(shutil.copytree(template, Path(name) / f"{kind}{cells}-{number}"))
                    took[kind, cells] = call(folder, on, cells)
                    print(f"{number} {kind} {cells}: {took[kind, cells]}", file=sys.stderr)
            slope = {k: (took[k, MANY].seconds - took[k, FEW].seconds) / (MANY - FEW) for k in ("serial", "ray")}
            per_cell.append((slope["serial"], slope["ray"], slope["ray"] - slope["serial"]))
            more = took["ray", FEW].seconds - took["serial", FEW].seconds
            per_call.append(more - FEW * (slope["ray"] - slope["serial"]))
            cpu.append((took["ray", MANY].cpu_seconds - took["ray", FEW].cpu_seconds) / (MANY - FEW))
            calls += [took["ray", MANY], took["serial", MANY]]
    serial, ray, more_of_cell = zip(*per_cell, strict=True)
    most = {part: [c.bytes_of[part] / 1e6 for c in calls[::2]] for part in PARTS}
    alone = [c.bytes_of["driver"] / 1e6 for c in calls[1::2]]
    publish(
        [
            "| what | median | of all rounds |",
            "|-|-|-|",
            _row("a tiny cell, --on serial", serial, "s"),
            _row("a tiny cell, --on ray", ray, "s"),
            _row("a cell more on ray", more_of_cell, "s"),
            _row("a call more on ray", per_call, "s"),
            _row("work of the driver's process for a cell", cpu, "s"),
            *(_row(f"memory of the {part.replace('_', ' ')}", sizes, "MB") for part, sizes in most.items()),
            _row("memory of the call --on serial, which trains itself", alone, "MB"),
        ],
        settings,
        f"n = {settings.rounds} rounds of {FEW} and {MANY} cells each way, in turn, one cell at a time",
    )


def _row(what: str, values: Sequence[float], unit: str) -> str:
    digits = 0 if unit == "MB" else 2
    median, least, most = (f"{value:.{digits}f}" for value in (statistics.median(values), min(values), max(values)))
    return f"| {what} | {median} {unit} | {least} to {most} |"


def calls(settings: argparse.Namespace) -> None:
    """Time what the executor's loop asks of Ray, on a cluster of this machine, and print it."""
    import ray
    from ray.util.queue import Queue

    with cluster() as made:
        ray.init(address=made.address, log_to_driver=False, configure_logging=False)
        mailbox = Queue(actor_options={"num_cpus": 0})
        task = ray.remote(max_calls=1)(_nothing).options(num_cpus=10)  # which waits for ever
        mailbox.qsize()
        waiting: list[Any] = [task.remote(mailbox) for _ in range(SLOTS)]
        actions: dict[str, Callable[[], object]] = {
            "submitting a task": lambda: waiting.append(task.remote(mailbox)),
            f"asking which of {SLOTS} tasks have ended": lambda: ray.wait(
                waiting[:SLOTS], num_returns=1, timeout=0, fetch_local=False
            ),
            "asking the mailbox how much it has": mailbox.qsize,
            "putting a message into it": lambda: mailbox.put_nowait(("cell", 1, b"")),
            "taking one": lambda: mailbox.get_nowait_batch(1),
            "asking which nodes there are": ray.nodes,
        }
        rows = [_row(what, [_milliseconds(action) for _ in range(50)], "ms") for what, action in actions.items()]
        ray.shutdown()
    publish(["| what | median | of all |", "|-|-|-|", *rows], settings, "n = 50 each")


def _nothing(_: object) -> None:
    pass


def _milliseconds(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - began)


def driver(settings: argparse.Namespace) -> None:
    """Simulate a grid at several lengths of an epoch and print how busy its driver is."""
    loads = []
    for seconds in settings.epoch_seconds:
        with tempfile.TemporaryDirectory() as name:
            folder = project(Path(name) / "project", 1 + settings.cells // 2)
            command = [sys.executable, "-m", "mobilebench", "train", "blobs", "--seed", "0"]
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
            with chdir(folder):
                loads.append((seconds, _simulated(folder, settings, seconds)))
            print(loads[-1], file=sys.stderr)
    rows = [_load(seconds, load) for seconds, load in loads]
    names = [*loads[0][1].parts]
    parts = [
        f"| {name} | {1000 * statistics.median(load.parts[name] / load.cells for _, load in loads):.1f} ms |"
        for name in names
    ]
    publish(
        [
            "| seconds of an epoch | asked for, epochs/s | done, epochs/s | driver busy | GPUs busy | hours |",
            "|-|-|-|-|-|-|",
            *rows,
            "",
            f"| the driver's work for a cell of {settings.epochs} epochs | |",
            "|-|-|",
            *parts,
        ],
        settings,
        f"simulated: {settings.cells} cells x {settings.epochs} epochs on {SLOTS} GPUs, {settings.start_seconds:g} s "
        "from a task's beginning to its first epoch, sqlite; n = 1 simulation a row",
    )


def _simulated(folder: Path, settings: argparse.Namespace, seconds: float) -> Load:
    from benchmarks.cluster_driver import simulate
    from mobilebench.execution.suites import open_suite

    return simulate(
        open_suite(), folder, slots=SLOTS, epochs=settings.epochs, epoch_seconds=seconds,
        start_seconds=settings.start_seconds,
    )  # fmt: skip


def _load(seconds: float, load: Load) -> str:
    done = load.cells * load.epochs / load.seconds
    return (
        f"| {seconds:g} | {SLOTS / seconds:.1f} | {done:.1f} | {100 * load.busy / load.seconds:.0f} % | "
        f"{100 * load.slots_busy:.0f} % | {load.seconds / 3600:.2f} |"
    )


def main() -> None:
    """Measure what was asked for."""
    parser = arguments(__doc__)
    parser.add_argument("what", choices=("overhead", "calls", "driver"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cells", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--epoch-seconds", type=float, nargs="+", default=[10.0, 1.0])
    parser.add_argument("--start-seconds", type=float, default=10.0, help="of an attempt, before its first epoch")
    settings = parser.parse_args()
    {"overhead": overhead, "calls": calls, "driver": driver}[settings.what](settings)


if __name__ == "__main__":
    main()
