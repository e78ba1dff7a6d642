"""One attempt at a job, as a worker of a Ray cluster does it."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

from mobilebench.execution.executors.base import Result_co, StoppedError
from mobilebench.execution.executors.processes import picklable
from mobilebench.execution.executors.ray_nodes import installation
from mobilebench.runs.attempts import Attempt, SupersededError
from mobilebench.runs.mirror import Mirror
from mobilebench.system.layout import STATE
from mobilebench.system.signals import termination_as_interrupt

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class RemoteJob(Protocol[Result_co]):
    """A job that may be begun again elsewhere: picklable, with nothing open."""

    @property
    def name(self) -> str:
        """What the job is called."""
        ...

    @property
    def folder(self) -> Path:
        """Its journal's folder, in which attempts are numbered."""
        ...

    def as_attempt(self, attempt: Attempt, data: Path | None) -> Self:
        """Return the job as this attempt does it. data: where packed datasets are copied to, if they are."""
        ...

    def progress(self) -> int:
        """Return how many epochs its journal has."""
        ...

    def run(self, send: Callable[[object], None]) -> Result_co:
        """Do the work; see `Job`."""
        ...


@dataclass(frozen=True)
class Begun:
    """An attempt's first message."""

    node: str


@dataclass(frozen=True)
class Where:
    """Where an attempt finds and leaves things, on every node alike."""

    root: Path
    """The project folder."""
    mirror: str | None = None
    """Address of the copy of cells' folders; None where nodes share the project folder."""
    every: int = 1
    """Epochs after which a cell is put there."""
    data: Path | None = None
    """The folder of a node's own disk that packed datasets are copied to; None to read the project's."""
    installation: str = ""
    """Digest of the installation of the machine of the call; "" to look at no node's."""


def do_attempt(job: RemoteJob[Any], attempt: Attempt, mailbox: Any, where: Where) -> tuple[object, Exception | None]:
    """Do one attempt, in a worker: return what the job returned, or the exception that it raised."""
    import ray

    def tell(message: object) -> None:
        with suppress(Exception):  # the call is gone, and Ray ends this process too
            mailbox.put_nowait((job.name, attempt.number, message))

    os.chdir(where.root)  # what a suite names is in the project's folder
    tell(Begun(ray.get_runtime_context().get_node_id()))
    here = Attempt(attempt.number, socket.gethostname(), attempt.before)
    if where.installation not in {"", installation()}:  # a node that joined after all were looked at
        return None, StoppedError(
            f"node {here.node} has other packages, or another commit, than the machine of the call"
        )
    mirror = Mirror(where.mirror, where.root / STATE) if where.mirror else None
    kept = 0

    def send(message: object) -> None:
        nonlocal kept
        if mirror is not None and job.progress() >= kept + where.every:
            mirror.raise_if_superseded(job.folder, here)
            mirror.put(job.folder)
            kept = job.progress()
        tell(message)

    try:
        with termination_as_interrupt():
            if mirror is not None:
                mirror.begin(job.folder, here)
                kept = job.progress()
            try:
                return job.as_attempt(here, where.data).run(send), None
            finally:
                if mirror is not None:  # its end too, and what was not put yet of one that is stopped
                    mirror.raise_if_superseded(job.folder, here)
                    mirror.put(job.folder)
    except KeyboardInterrupt:
        return None, StoppedError("it was stopped from outside, by its node or a scheduler")
    except SupersededError as error:
        return None, error
    except Exception as caught:  # noqa: BLE001 - an outcome too; the call decides
        return None, picklable(caught)
