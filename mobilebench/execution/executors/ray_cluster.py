"""Jobs on the nodes of a Ray cluster, an attempt at a time each, begun again after its worker or node was lost.

Needs the extra `ray`. Ray places attempts and says which ended; everything else is decided here. An attempt that
gained an epoch is free: being preempted is no failure of a cell's. So many in a row without one end it. What a job
raises is an outcome and never tried again.

Nothing large goes through Ray: a job is a suite and a cell, its data are memory maps on its node, its result is in its
journal. One process is one attempt, on CPUs too: bits, memory and threads are then what they are without Ray.
"""

from __future__ import annotations

import logging
import os
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, cast

from mobilebench.errors import UserError
from mobilebench.execution.executors.ray_attempt import RemoteJob, Where
from mobilebench.execution.executors.ray_call import LOOK, Call, Head, Terms
from mobilebench.execution.executors.ray_nodes import (
    Greeting,
    Needs,
    alive,
    check_nodes,
    installation,
    raise_if_nothing_fits,
)
from mobilebench.system.cpu import cores
from mobilebench.system.extras import require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from mobilebench.execution.executors.base import Job, Outcome, Result
    from mobilebench.runs.mirror import Mirror

# Set before Ray is imported, and for its workers: no telemetry, no environment of `uv run` made anew on every node, one
# way of being out of memory, and compilers that an attempt started end with it. No reports of tasks to the head: where
# it is gone, leaving the cluster waits for the last one, until Ray ends this process before it has said what happened.
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_task_oom_retries": "0",
    "RAY_kill_child_processes_on_worker_exit": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_task_events_report_interval_ms": "0",
}
_log = logging.getLogger(__name__)
_LOCAL_STORE = 80 << 20  # bytes of Ray's object store, of which next to nothing is used


@dataclass(eq=False)
class RayExecutor:
    """Runs jobs on a cluster. `open` connects; closing the iterator of `run` stops what is under way."""

    address: str | None
    """`HOST:PORT` of the head, `auto` for the cluster that this machine is in; None for this machine alone."""
    root: Path
    """The project folder, at the same path on every node."""
    needs: Needs = field(default_factory=Needs)
    attempts: int = 3
    """Attempts in a row without an epoch after which a job has failed."""
    fresh: bool = True
    """Whether each attempt has a process of its own."""
    note: Callable[[str], None] = print
    """Passes on what a person should know."""
    mirror: Mirror | None = None
    """Where journals and checkpoints are kept of nodes that do not share the project folder; None where they do."""
    mirror_every: int = 1
    """Epochs after which a cell is put there."""
    node_data: Path | None = None
    """The folder of a node's own disk that packed datasets are copied to; None to read those of the project folder."""
    look: float = LOOK
    """Seconds between looks at which nodes there are, and that Ray has to say how work on a dead one ended."""
    greetings: list[Greeting] = field(default_factory=list, init=False)
    """What each node said of itself."""
    remote: ClassVar[bool] = True
    ray: Any = field(default=None, init=False)
    """The module; None before `open`."""
    head: Head = field(init=False)

    def open(self) -> None:
        """Connect, and look at every node; raises as `connect` and `check`."""
        self.connect()
        self.check()

    def connect(self) -> bool:
        """Connect, and return whether a node has a GPU. Raises UserError where there is no cluster at the address."""
        require("ray")
        os.environ.update(_SETTINGS | {key: os.environ[key] for key in _SETTINGS if key in os.environ})
        import ray

        self.ray = ray
        _keep_off_stdout()
        _raise_if_nobody_answers(self.address)
        local: dict[str, Any] = {"num_cpus": cores(), "object_store_memory": _LOCAL_STORE, "include_dashboard": False}
        try:
            ray.init(
                address=self.address or "local", namespace=f"mobilebench-{os.getpid()}", log_to_driver=False,
                configure_logging=False, **({} if self.address else local),
            )  # fmt: skip
        except (ConnectionError, ValueError, RuntimeError) as error:
            # Something listens there: Ray says no more than that it could not connect where a token is amiss.
            why = (
                f"{str(error).splitlines()[0]} (where it asks for a token: RAY_AUTH_MODE=token, and ~/.ray/auth_token)"
            )
            raise _no_cluster(self.address, why) from None
        self.head = Head(ray.get_runtime_context().gcs_address)
        return any(node.gpus for node in alive(ray))

    def check(self) -> None:
        """Raise UserError where a node is not like this machine, none has room, or all are lost meanwhile."""
        nodes = alive(self.ray)
        raise_if_nothing_fits(nodes, self.needs.cpus, self.needs.gpus)
        working = [node for node in nodes if node.slots(self.needs.cpus, self.needs.gpus)]
        self.greetings = check_nodes(self.ray, working, self.root, shared=self.mirror is None, gpus=self.needs.gpus > 0)
        if not self.greetings:
            raise UserError("every node of the cluster was lost while it was looked at; start nodes and try again")

    def close(self) -> None:
        """Leave the cluster; one of this machine alone ends."""
        with suppress(Exception):  # a head that is gone
            self.ray.shutdown()

    def run(
        self, jobs: Iterable[Job[Result]], on_message: Callable[[Job[Result], object], None]
    ) -> Iterator[Outcome[Result]]:
        """Yield the outcome of every job, each a `RemoteJob`; see `Executor.run`."""
        from ray.util.queue import Queue
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        # On this node, which ends with this process: a mailbox elsewhere could be lost alone.
        node = self.ray.get_runtime_context().get_node_id()
        here = NodeAffinitySchedulingStrategy(node, soft=False)
        mailbox = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})
        waiting = cast("Iterator[RemoteJob[Result]]", iter(jobs))
        mirror = self.mirror.url if self.mirror is not None else None
        where = Where(self.root, mirror, self.mirror_every, self.node_data, installation())
        terms = Terms(self.needs, self.attempts, self.fresh, where, self.mirror, self.note, self.look)
        yield from Call(self.ray, self.head, mailbox, terms, waiting, on_message).outcomes()


def _keep_off_stdout() -> None:
    """Have Ray log what it says of lost nodes, pages of it. It prints that on stdout even with log_to_driver=False."""
    from ray._private import worker

    def log(data: Any, ignore_prefix: bool) -> None:  # noqa: ARG001, FBT001 - Ray's signature
        _log.info("Ray: %s", "\n".join(data["lines"]))

    worker.print_to_stdstream = log


def _raise_if_nobody_answers(address: str | None) -> None:
    """Raise UserError where nothing listens at a HOST:PORT, for which Ray would wait for minutes."""
    host, _, port = (address or "").rpartition(":")
    if not host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, ValueError) as error:
        raise _no_cluster(address, str(error)) from None


def _no_cluster(address: str | None, why: str) -> UserError:
    return UserError(
        f"no Ray cluster answers at {address or 'this machine'}: {why}. Start one with `ray start --head --num-cpus=0` "
        "here and `ray start --address=HOST:6379` on the nodes"
    )
