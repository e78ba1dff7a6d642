"""What a Ray cluster's nodes are and have: asked of each before any cell goes there.

Needs the extra `ray`. A node that is not like the machine of the call is refused by name: equal cells must mean equal
code and equal packages.
"""

from __future__ import annotations

import hashlib
import os
import socket
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilebench.errors import UserError
from mobilebench.system.provenance import environment, lock_digest, packages

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ANSWER = 120.0  # seconds that a node has to answer: it imports the packages meanwhile
_DEATH = 20.0  # seconds within which Ray knows that a node has died
_SHOWN = 3  # differences of packages that a message names


@dataclass(frozen=True)
class Needs:
    """What each attempt needs of a node."""

    cpus: float = 1.0
    gpus: float = 0.0
    """Cards, or a part of one: 0.25 lets four cells share a card."""

    @property
    def sharers(self) -> int:
        """How many cells share a card."""
        return max(1, round(1 / self.gpus)) if 0 < self.gpus < 1 else 1


@dataclass(frozen=True)
class Node:
    """A node that is alive."""

    id: str
    name: str
    """Its host name, as Ray has it."""
    cpus: float
    gpus: float

    def slots(self, cpus: float, gpus: float) -> int:
        """Return how many cells that need so much fit at once."""
        by_cpu = int(self.cpus / cpus + 1e-9) if cpus else 1 << 20
        return min(by_cpu, int(1 / gpus + 1e-9) * int(self.gpus)) if gpus else by_cpu


@dataclass(frozen=True)
class Greeting:
    """What a node says of itself."""

    name: str
    packages: Mapping[str, str]
    commit: str
    lock: str | None
    project: str
    """Digest of params.yaml as the node sees it; "" where it does not."""
    probe: bool
    """Whether it sees what the call wrote into the project folder a moment ago."""
    gpu_bytes: tuple[int, ...] = ()
    """Memory of each of its cards."""

    def differences(self, own: Greeting, *, shared: bool) -> list[str]:
        """Say in what it is not like the machine of the call. shared: whether it is to see the project folder."""
        found = []
        if self.commit != own.commit:
            found.append(f"mobilebench is of commit {self.commit[:12]}, here of {own.commit[:12]}")
        names = sorted({*self.packages, *own.packages})
        apart = [name for name in names if self.packages.get(name) != own.packages.get(name)]
        # torch decides most; a list of two hundred names helps nobody.
        apart.sort(key=lambda name: name != "torch")
        if apart:
            shown = ", ".join(
                f"{name} {self.packages.get(name, 'is not installed')} (here {own.packages.get(name, 'none')})"
                for name in apart[:_SHOWN]
            )
            found.append(shown + (f" and {len(apart) - _SHOWN} more packages" if len(apart) > _SHOWN else ""))
        if self.lock != own.lock:
            found.append("requirements.lock is another")
        if self.project != own.project:
            found.append("params.yaml is another" if self.project else "there is no params.yaml in the project folder")
        elif shared and not self.probe:
            found.append(
                "its project folder is not the one of this call (a file written here is not seen there): share it, or "
                "give --mirror URL"
            )
        return found


@cache
def installation() -> str:
    """Return a digest of what decides a cell's bits on this machine beside its hardware: packages and commit."""
    said = repr(sorted(packages().items())) + environment()["git_commit"]
    return hashlib.sha256(said.encode()).hexdigest()


def greet(root: Path, probe: str, *, gpus: bool = False) -> Greeting:
    """Return what this machine says of itself. probe: name of a file that the call has written into the folder."""
    params = root / "params.yaml"
    digest = hashlib.sha256(params.read_bytes()).hexdigest() if params.is_file() else ""
    os.chdir(root if root.is_dir() else Path.cwd())  # lock file and commit are looked for in the project's folder
    return Greeting(
        socket.gethostname(), packages(), environment()["git_commit"], lock_digest(), digest,
        (root / probe).is_file(), _gpu_bytes() if gpus else (),
    )  # fmt: skip


def _gpu_bytes() -> tuple[int, ...]:
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return tuple(int(torch.cuda.get_device_properties(i).total_memory) for i in range(count))


def alive(ray: Any) -> list[Node]:
    """Return the nodes that are alive now."""
    return [
        Node(n["NodeID"], n["NodeManagerHostname"], n["Resources"].get("CPU", 0.0), n["Resources"].get("GPU", 0.0))
        for n in ray.nodes()
        if n["Alive"]
    ]


def raise_if_nothing_fits(nodes: Sequence[Node], cpus: float, gpus: float) -> None:
    """Raise UserError where no node has room for a single cell, which would wait for ever."""
    if any(node.slots(cpus, gpus) for node in nodes):
        return
    has = "; ".join(f"{node.name}: {node.cpus:g} CPUs, {node.gpus:g} GPUs" for node in nodes) or "no node is alive"
    needs = f"{cpus:g} CPUs" + (f" and {gpus:g} of a GPU" if gpus else "")
    raise UserError(
        f"a cell needs {needs}, and no node of the cluster has that ({has}). Start a node that has (`ray start "
        "--address=... --num-cpus=N --num-gpus=N`), or set runtime.threads or --gpus-per-cell lower"
    )


def check_nodes(ray: Any, nodes: Sequence[Node], root: Path, *, shared: bool, gpus: bool) -> list[Greeting]:
    """Ask every node what it has, and return the answers; a node that is lost meanwhile is left out.

    Raises UserError naming each node that is not like this machine, and each that is there and does not answer.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    probe = f".mobilebench/probe-{os.getpid()}"
    (root / probe).parent.mkdir(parents=True, exist_ok=True)
    (root / probe).touch()
    try:
        own = greet(root, probe)
        remote = ray.remote(num_cpus=0, max_calls=1)(greet)
        asked = {
            remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False), max_retries=0)
            .remote(root, probe, gpus=gpus): node
            for node in nodes
        }  # fmt: skip
        done, late = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER)
        here = {node.id for node in alive(ray)} if late else set()
        wrong = [f"{asked[ref].name} did not answer within {ANSWER:.0f} s" for ref in late if asked[ref].id in here]
        answers = []
        for ref in done:
            try:
                answers.append(answer := ray.get(ref))
            except Exception as error:  # noqa: BLE001 - whatever a node's own installation raises
                if not _is_lost(ray, asked[ref], error):
                    wrong.append(f"{asked[ref].name}: {str(error).strip().splitlines()[-1]}")
                continue
            if apart := answer.differences(own, shared=shared):
                wrong.append(f"{asked[ref].name}: {'; '.join(apart)}")
    finally:
        (root / probe).unlink(missing_ok=True)
    if wrong:
        raise UserError(
            "these nodes of the cluster are not like this machine, so equal cells would not be equal: "
            + " | ".join(wrong)
            + ". Give every node the same checkout, the same installation (requirements.lock) and the same project "
            f"folder {root}, or take the node out of the cluster"
        )
    return answers


def _is_lost(ray: Any, node: Node, error: Exception) -> bool:
    """Return whether a node did not answer because it is gone, of which Ray may hear a while later."""
    if isinstance(error, ray.exceptions.RayTaskError):  # it answered
        return False
    if isinstance(error, ray.exceptions.TaskUnschedulableError | ray.exceptions.NodeDiedError):
        return True
    until = time.monotonic() + _DEATH
    while node.id in {found.id for found in alive(ray)}:
        if time.monotonic() > until:
            return False
        time.sleep(0.5)
    return True
