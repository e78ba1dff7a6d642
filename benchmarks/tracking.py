"""What tracking costs: a share of an epoch of ten seconds, and the time `score` takes on a full and a crowded store.

The limits are those of the project: under 2 % of a 10 s epoch; 77 cells x 5 seeds scored in under 3 s, and in under
10 s with 10,000 other runs in the store. Exit status 1 when one is missed. With --address a tracking server is timed
instead of a local sqlite file (first part only).

    python benchmarks/tracking.py
"""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import statistics
import sys
import tempfile
import time
import uuid
from contextlib import chdir, closing
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from mobilebench.analysis.collect import score_experiment
from mobilebench.config.suite import Cell, parse_suite, preset_text
from mobilebench.runs.events import DatasetInput, Epoch, Finish, Start
from mobilebench.runs.journal import Journal
from mobilebench.system.cpu import cores
from mobilebench.tracking import Tracker

if TYPE_CHECKING:
    from collections.abc import Iterator

EPOCH = 10.0  # seconds
EPOCHS, SEEDS, OTHERS = 100, 5, 10_000
_PER_RUN = ("params", "tags", "metrics", "latest_metrics")  # MLflow's tables of a run


def journal(folder: Path, cell: Cell, experiment: str, epochs: int) -> Iterator[Journal]:
    """Yield the cell's journal after its start, after each epoch, and after its end."""
    made = Journal(folder / f"{cell.name}-{experiment}")
    suite = parse_suite(preset_text("paper_v1"), "paper_v1")
    tags = {
        "kind": "cell", "cell": cell.name, "identity": uuid.uuid4().hex[:12], "journal": uuid.uuid4().hex,
        "model": cell.model, "dataset": cell.dataset, "seed": str(cell.seed), "protocol_hash": suite.protocol.hash,
        "data_digest": "0" * 64, "code_version": "1", "git_commit": "0" * 40, "host": "x", "cpu": "x",
    }  # fmt: skip
    data = DatasetInput(cell.dataset, "0" * 36, "data/packed", "{}")
    params = {f"setting{n}": str(n) for n in range(40)}
    made.append(Start(experiment=experiment, run_name=cell.name, tags=tags, params=params, dataset=data))
    yield made
    keys = ("train_loss", "lr", "epoch_seconds", "images_per_second", "test_loss", "test_top1")
    for step in range(1, epochs + 1):
        made.append(Epoch(step=step, metrics=dict.fromkeys(keys, step / (step + 1))))
        yield made
    top1 = 0.3 + 0.6 * (hash((cell.model, cell.dataset, cell.seed)) % 1000) / 1000
    final = {"final_test_top1": top1, "final_test_loss": 1.0, "n_test": 1000.0, "params": 2.5e6, "macs": 3e8}
    made.append(Finish(step=epochs, metrics=final))
    yield made


def per_epoch(tracker: Tracker, folder: Path) -> list[float]:
    """Return the seconds that each of 100 epochs spends on its journal line and on the server."""
    seconds: list[float] = []
    steps = journal(folder, Cell("net", "data", 0), f"cost {uuid.uuid4().hex[:6]}", EPOCHS)
    tracker.deliver(next(steps))
    while True:
        began = time.perf_counter()
        made = next(steps, None)
        if made is None:
            return seconds[:EPOCHS]
        tracker.deliver(made)
        seconds.append(time.perf_counter() - began)


def fill(tracker: Tracker, folder: Path) -> int:
    """Deliver the paper's grid with five seeds, all epochs; return the number of cells."""
    suite = parse_suite(preset_text("paper_v1"), "paper_v1")
    cells = [Cell(m, d, s) for d in suite.datasets for s in range(SEEDS) for m in suite.models]
    for number, cell in enumerate(cells):
        *_, whole = journal(folder / "cells", cell, "five seeds", 5)  # the score reads no histories
        tracker.deliver(whole)
        print(f"\r{number + 1}/{len(cells)} runs", end="", file=sys.stderr)
    print(file=sys.stderr)
    return len(cells)


def crowd(tracker: Tracker, path: Path, folder: Path, count: int) -> None:
    """Put copies of one run (20 epochs) into another experiment, by SQL: telling 10,000 takes a quarter of an hour."""
    *_, whole = journal(folder, Cell("net", "data", 0), "others", 20)
    template = tracker.deliver(whole)
    with closing(sqlite3.connect(path)) as connection, connection:
        rows = {table: _rows(connection, table, template) for table in ("runs", *_PER_RUN)}
        for _ in range(count):
            run_id = uuid.uuid4().hex
            for table, (columns, values) in rows.items():
                copies = [[run_id if value == template else value for value in row] for row in values]
                marks = ", ".join("?" * len(columns))
                connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", copies)


def _rows(connection: sqlite3.Connection, table: str, run_id: str) -> tuple[list[str], list[tuple[object, ...]]]:
    found = connection.execute(f"SELECT * FROM {table} WHERE run_uuid = ?", (run_id,))
    return [str(column[0]) for column in found.description], found.fetchall()


def score_seconds(tracker: Tracker, repeats: int = 3) -> float:
    """Return the median seconds of scoring the grid: query, check, matrix, 4000 draws of intervals."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        scored = score_experiment(tracker, "five seeds", lam=0.5, anchors="grid")
        seconds.append(time.perf_counter() - began)
        assert scored.matrix.counts.min() == SEEDS
    return statistics.median(seconds)


def report(what: str, value: float, limit: float, unit: str) -> bool:
    """Print one line and return whether the limit holds."""
    good = value < limit
    print(f"{what}: {value:.3g} {unit} (limit {limit:g} {unit}) {'ok' if good else 'MISSED'}")
    return good


def main() -> None:
    """Measure, print, and exit with 1 when a limit is missed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", help="A tracking server to time instead of a sqlite file.")
    parser.add_argument("--others", type=int, default=OTHERS)
    settings = parser.parse_args()
    print(f"{platform.machine()}, {cores()} cores, load {os.getloadavg()[0]:.1f}, {date.today()}")  # noqa: DTZ011
    with tempfile.TemporaryDirectory() as name, chdir(name):
        good = measure(settings, Path(name))
    raise SystemExit(not good)


def measure(settings: argparse.Namespace, folder: Path) -> bool:
    """Return whether all limits hold."""
    tracker = Tracker(settings.address)
    seconds = per_epoch(tracker, folder)
    share = 100 * statistics.median(seconds) / EPOCH
    worst = 100 * max(seconds) / EPOCH
    where = "server" if settings.address else "sqlite"
    good = report(
        f"tracking an epoch, {where}, median of n={len(seconds)} (worst {worst:.2g} %)", share, 2, "% of 10 s"
    )
    if settings.address:
        return good
    cells = fill(tracker, folder)
    tracker.analyze()
    good &= report(f"score of {cells} cells, median of n=3", score_seconds(tracker), 3, "s")
    crowd(tracker, folder / "mlflow.db", folder, settings.others)
    tracker.analyze()
    what = f"score of {cells} cells beside {settings.others} other runs, median of n=3"
    return report(what, score_seconds(tracker), 10, "s") and good


if __name__ == "__main__":
    main()
