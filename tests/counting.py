"""Jobs for tests of executors on other machines: counters that write a journal as a cell does."""

from __future__ import annotations

import os
import signal
import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import psutil
import pytest

from mobilebench.errors import UserError
from mobilebench.runs.events import Epoch
from mobilebench.runs.journal import Journal, epochs_done

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mobilebench.runs.attempts import Attempt


@dataclass(frozen=True)
class Count:
    """A job that counts epochs into its journal, and does what it is asked at some of them."""

    folder: Path
    epochs: int = 2
    dies: tuple[int, ...] = ()
    """Epochs after which its process is killed, the first time that each is reached."""
    crashes: bool = False
    """Whether its process dies before the first epoch, always."""
    raises: bool = False
    deaf: bool = False
    """Whether it goes on when it is interrupted."""
    seconds: float = 0.0
    attempt: Attempt | None = None

    @property
    def name(self) -> str:
        return self.folder.name

    def as_attempt(self, attempt: Attempt, data: Path | None) -> Count:
        return replace(self, attempt=attempt)

    def progress(self) -> int:
        return epochs_done(Journal(self.folder))

    def run(self, send: Callable[[object], None]) -> tuple[int, str, str]:
        journal = Journal(self.folder, self.attempt)
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        if self.crashes:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.raises:
            raise UserError("no such thing")
        began = time.time()
        for epoch in range(self.progress() + 1, self.epochs + 1):
            send(("begins", epoch, os.getpid()))
            with suppress(KeyboardInterrupt) if self.deaf else nullcontext():
                time.sleep(self.seconds)
            journal.append(Epoch(step=epoch, metrics={}))
            send(("epoch", epoch, os.getpid()))
            if epoch in self.dies:
                os.kill(os.getpid(), signal.SIGKILL)
        return self.progress(), visible, f"{began} {time.time()}"


@dataclass
class Heard:
    """What jobs sent, and what is to be done when they do."""

    messages: list[tuple[str, object]] = field(default_factory=list)
    act: Callable[[str, object], None] | None = None

    def __call__(self, job: object, message: object) -> None:
        self.messages.append((job.name, message))  # type: ignore[attr-defined]
        if self.act:
            self.act(job.name, message)  # type: ignore[attr-defined]


def steps(job: Count) -> list[int]:
    return [event.step for event in Journal(job.folder).events() if isinstance(event, Epoch)]


def wait_until_gone(pid: int) -> None:
    """Wait for the end of a process, which fails the test where it does not come."""
    for _ in range(300):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.1)
    pytest.fail(f"process {pid} lives on")
