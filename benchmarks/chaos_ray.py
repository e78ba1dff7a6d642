"""What `chaos --on ray` kills: the worker of a running cell, a node, or the call itself, on a cluster of this machine.

A node may also freeze: its raylet and the workers of its cells get SIGSTOP, are taken for dead by Ray's head and then
by the call, and get SIGCONT after their cells were begun again elsewhere: what they still write would be doubled.

The head has no CPU, two nodes have one each. Every choice is drawn by one seeded generator; what is under way at that
moment is not, so that two runs of one seed kill alike and hit otherwise.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import psutil
from ray_nodes import STORE, head  # type: ignore[import-not-found]  # beside the tests that use it

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from pathlib import Path

_SILENT = 300.0  # seconds without a change in a project after which its call hangs
_MOST = 10.0  # seconds of work before a kill
_EARLY = 0.2  # share of kills that do not wait for a cell to be under way
_AT_A_WRITE = 0.5  # share of kills that wait for the next change of a cell's files
_FROZEN = (
    25.0,
    40.0,
)  # seconds that a node is frozen: it is dead after some 12, its cells are begun again after some 20
_AWAKE = 5.0  # seconds that a node which wakes up has before it is taken away
KINDS = ("worker", "node", "driver", "freeze")


@dataclass
class Rig:
    """A cluster, and what was killed on it."""

    draw: random.Random
    until: float
    """Time (`time.monotonic`) after which nothing more is killed."""
    killed: Counter[str] = field(default_factory=Counter)
    hit: Counter[str] = field(default_factory=Counter)
    """Kills that ended at least one process that was training a cell."""
    given_up: int = 0
    """Calls that ended with a cell failed, for want of an epoch in three attempts in a row."""
    attempts: int = 0
    """That were begun, of cells of finished grids."""
    _seen: dict[int, float] = field(default_factory=dict)
    """Workers of cells, with when they were created."""
    _said: int = 0
    """Characters in the log before the newest call."""
    _cluster: Any = None

    def __enter__(self) -> Self:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        self._cluster = head()
        for _ in range(2):
            self._add_node()
        return self

    def __exit__(self, *_: object) -> None:
        self._cluster.shutdown()

    def disturb(self, project: Path, kills: int) -> int:
        """Train a project by calls that are killed, or that lose what they run on, `kills` times, then to its end.

        Returns how many kills there were before the end. Raises SystemExit where a call hangs or fails for another
        reason than cells that gained no epoch.
        """
        done = 0
        call = self._give(project)

        def over() -> bool:
            return call.poll() is not None

        try:
            while True:
                if done < kills and time.monotonic() < self.until and self._comes_to_a_kill(call, project):
                    kind = self._kill(call, project)
                    done += 1
                    if kind == "driver":
                        call = self._give(project)
                elif self._await(over, project) and call.returncode == 0:
                    self.attempts += sum(map(_attempts, (project / ".mobilebench/cells").glob("*/lease.json")))
                    return done
                else:
                    self._note_failure(project)
                    call = self._give(project)
        finally:
            if call.poll() is None:
                call.kill()
                call.wait()

    def left_over(self, patience: float = 60) -> list[int]:
        """Return the processes that trained cells and are there after so many seconds of patience."""
        until = time.monotonic() + patience
        while left := [pid for pid, created in self._seen.items() if _lives(pid, created)]:
            if time.monotonic() > until:
                break
            time.sleep(0.5)
        return left

    def _give(self, project: Path) -> subprocess.Popen[bytes]:
        """Give the command, as a person does."""
        command = [sys.executable, "-m", "mobilebench", "run", "--on", f"ray:{self._cluster.address}"]
        with (project / "train.log").open("ab") as log:
            self._said = len((project / "train.log").read_text(errors="replace"))
            return subprocess.Popen(command, cwd=project, stdout=log, stderr=log)

    def _comes_to_a_kill(self, call: subprocess.Popen[bytes], project: Path) -> bool:
        """Wait for the next moment to kill something; False where the call ended before."""

        def over() -> bool:
            return call.poll() is not None

        if self.draw.random() >= _EARLY:
            self._await(lambda: over() or bool(self._workers()), project)
        until = time.monotonic() + self.draw.uniform(0, _MOST)
        at_a_write = self.draw.random() < _AT_A_WRITE
        self._await(lambda: over() or time.monotonic() > until, project)
        if at_a_write:
            before, until = _files(project), time.monotonic() + 5
            while not over() and time.monotonic() < until and _files(project) == before:
                time.sleep(0.005)
        return not over()

    def _kill(self, call: subprocess.Popen[bytes], project: Path) -> str:
        """Kill or freeze one thing and return its kind; the place of a node is taken by a new one."""
        workers = self._workers()
        kind = self.draw.choice(KINDS if workers else ("node", "driver"))
        number = self.draw.randrange(1 << 30)
        if kind == "worker":
            hit = _kill([*workers][number % len(workers)])
        elif kind == "node":
            node = self._node(number)
            hit = _raylet(node) in workers.values()
            _kill(_raylet(node))
            self._cluster.remove_node(node, allow_graceful=False)
            self._add_node()
        elif kind == "freeze":
            node = self._node(number)
            hit = _raylet(node) in workers.values()
            self._freeze(node, [pid for pid, raylet in workers.items() if raylet == _raylet(node)], call, project)
        else:
            hit = bool(workers)
            call.kill()
            call.wait()
        self.killed[kind] += 1
        self.hit[kind] += hit
        print(f"kill {self.killed.total()}: a {kind}{', hit' if hit else ''}", file=sys.stderr)
        return kind

    def _freeze(self, node: Any, workers: list[int], call: subprocess.Popen[bytes], project: Path) -> None:
        """Stop a node and the workers of its cells until they are taken for dead, and let them go on for a while."""
        stopped = [pid for pid in (*workers, _raylet(node)) if _signal(pid, signal.SIGSTOP)]
        self._add_node()
        until = time.monotonic() + self.draw.uniform(*_FROZEN)
        self._await(lambda: call.poll() is not None or time.monotonic() > until, project)
        for pid in stopped:
            _signal(pid, signal.SIGCONT)
        time.sleep(_AWAKE)
        self._cluster.remove_node(node, allow_graceful=False)

    def _node(self, number: int) -> Any:
        nodes = sorted(self._cluster.worker_nodes, key=_raylet)
        return nodes[number % len(nodes)]

    def _add_node(self) -> None:
        self._cluster.add_node(num_cpus=1, object_store_memory=STORE)

    def _workers(self) -> dict[int, int]:
        """Return the processes that train a cell, each with its node's raylet; Ray calls them by the cell's name."""
        found = {}
        for raylet in map(_raylet, self._cluster.worker_nodes):
            for process in _children(raylet):
                with suppress(psutil.Error):
                    if ".blobs." in (process.cmdline() or [""])[0]:
                        found[process.pid] = raylet
                        self._seen[process.pid] = process.create_time()
        return found

    def _await(self, ready: Callable[[], bool], project: Path) -> bool:
        """Wait until something is so. Raises SystemExit where nothing changes in the project for too long."""
        seen, since = _files(project), time.monotonic()
        while not ready():
            time.sleep(0.1)
            if (now := _files(project)) != seen:
                seen, since = now, time.monotonic()
            if time.monotonic() - since > _SILENT:
                log = (project / "train.log").read_text()[-3000:]
                raise SystemExit(f"nothing has changed in {project} for {_SILENT:.0f} s; its calls hang: {log}")
        return True

    def _note_failure(self, project: Path) -> None:
        """Count a call that gave a cell up. Raises SystemExit for any other failure."""
        said = (project / "train.log").read_text(errors="replace")[self._said :]
        if "gained no epoch" not in said:
            raise SystemExit(f"a call failed: {said[-3000:]}")
        self.given_up += 1


def _files(project: Path) -> dict[str, tuple[int, int]]:
    """Return what tells whether something was written for a cell."""
    return dict(_stamps(project / ".mobilebench/cells", project / "results", project / "train.log"))


def _stamps(*paths: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    for path in paths:
        for found in path.rglob("*") if path.is_dir() else [path]:
            with suppress(OSError):
                status = found.stat()
                yield str(found), (status.st_size, status.st_mtime_ns)


def _attempts(lease: Path) -> int:
    import json

    return int(json.loads(lease.read_text())["attempt"])


def _raylet(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _kill(pid: int) -> bool:
    """Kill a process and return whether it was there."""
    return _signal(pid, signal.SIGKILL)


def _signal(pid: int, number: signal.Signals) -> bool:
    """Send a signal to a process and return whether it was there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _lives(pid: int, created: float) -> bool:
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return process.create_time() == created and process.status() != psutil.STATUS_ZOMBIE
    return False
