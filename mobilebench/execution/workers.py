"""Several cells at a time on one device, each in a process of its own.

Networks of 2.5 M parameters at batch 32 leave a GPU mostly idle, and more CPU threads per network soon help less than
more networks. A worker only trains and keeps its journal; this process alone talks to the tracking server and writes
result files, so a store sees one writer however many cells are trained. A worker that dies takes its own cell with it.
"""

from __future__ import annotations

import signal
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilebench.errors import UserError
from mobilebench.execution.cell_run import CellFailedError, deliver, deliver_and_record, settle, train_only
from mobilebench.execution.context import open_context
from mobilebench.execution.fork_server import fork_server
from mobilebench.system.signals import termination_as_interrupt

if TYPE_CHECKING:
    from collections.abc import Iterable
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from mobilebench.config.suite import Cell, Suite
    from mobilebench.execution.context import RunContext
    from mobilebench.training import EpochResult

Failures = list[tuple["Cell", UserError]]
_GRACE = 60.0  # seconds for a stopped worker to end its write


@dataclass
class _Worker:
    cell: Cell
    process: BaseProcess
    inbox: Connection
    outcome: str | None = None  # "" when it ended well, else why not


def run_side_by_side(context: RunContext, cells: Iterable[Cell], workers: int, root: Path = Path()) -> Failures:
    """Bring every cell to its end, `workers` at a time, and return those that failed and why."""
    processes = fork_server()
    waiting, running, failed = list(cells), dict[Any, _Worker](), Failures()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                cell = waiting.pop(0)
                if not _is_taken_over(context, cell, failed):
                    worker = _start(processes, context.suite, context.dataset, root, cell)
                    running[worker.inbox] = worker
            for inbox in wait(list(running)):
                if not _hear(context, running[inbox]):
                    _end(context, running.pop(inbox), failed)
    except KeyboardInterrupt:
        _stop(context, list(running.values()))
        raise
    return failed


def _is_taken_over(context: RunContext, cell: Cell, failed: Failures) -> bool:
    try:
        return context.is_finished(cell) or settle(context, cell)
    except UserError as error:
        failed.append((cell, error))
        return True


def _start(processes: Any, suite: Suite, dataset: str, root: Path, cell: Cell) -> _Worker:
    inbox, outbox = processes.Pipe(duplex=False)
    process = processes.Process(target=_work, args=(suite, dataset, root, cell, outbox), name=cell.name)
    process.start()
    outbox.close()  # the worker's end is its own: when it dies, this side reads the end of the stream
    return _Worker(cell, process, inbox)


class _Sender:
    """The worker's listener: passes everything on. A parent that is gone stops the worker like Ctrl-C."""

    def __init__(self, outbox: Connection) -> None:
        self._outbox = outbox

    def epoch(self, cell: Cell, result: EpochResult, epochs: int) -> None:  # noqa: ARG002 - the listener's signature
        self._send(("epoch", (result, epochs)))

    def note(self, cell: Cell, message: str) -> None:  # noqa: ARG002 - the listener's signature
        self._send(("note", message))

    def _send(self, message: tuple[str, object]) -> None:
        try:
            self._outbox.send(message)
        except BrokenPipeError:
            raise KeyboardInterrupt from None


def _work(suite: Suite, dataset: str, root: Path, cell: Cell, outbox: Connection) -> None:
    """Train one cell, in the worker. Its journal has all there is to tell; the pipe only says how it ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent passes it on as SIGTERM, once
    context = replace(open_context(suite, dataset, None, root, verify=False), listener=_Sender(outbox))
    outcome = ""
    try:
        with termination_as_interrupt():
            train_only(context, cell)
    except UserError as error:
        outcome = str(error)
    except KeyboardInterrupt:
        outcome = "stopped; the next call goes on after its last epoch"
    with suppress(BrokenPipeError):
        outbox.send(("end", outcome))


def _hear(context: RunContext, worker: _Worker) -> bool:
    """Take one message of a worker; False when there will be no more."""
    try:
        kind, content = worker.inbox.recv()
    except (EOFError, ConnectionResetError):
        return False
    if kind == "end":
        worker.outcome = content
    elif kind == "note":
        context.listener.note(worker.cell, content)
    else:
        context.listener.epoch(worker.cell, *content)
        deliver(context, worker.cell, context.journal(worker.cell))
    return True


def _end(context: RunContext, worker: _Worker, failed: Failures) -> None:
    """Deliver what a worker that has ended left in its journal, and keep its result or its failure."""
    worker.process.join()
    journal = context.journal(worker.cell)
    try:
        if worker.outcome is None:
            reason = f"its process died ({_cause(worker.process.exitcode)})"
            journal.append({"type": "fail", "tags": {"reason": reason}})
            worker.outcome = f"{worker.cell.name} failed: {reason}"
        if worker.outcome:
            deliver(context, worker.cell, journal)
            raise CellFailedError(worker.outcome)
        deliver_and_record(context, worker.cell, journal)
    except UserError as error:
        context.listener.note(worker.cell, str(error))
        failed.append((worker.cell, error))


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"{name}; out of memory?" if name == "SIGKILL" else name
    return f"exit code {code}"


def _stop(context: RunContext, workers: list[_Worker]) -> None:
    """Let the workers end their writes, and tell the server what they have."""
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.process.join(_GRACE)
        deliver(context, worker.cell, context.journal(worker.cell))
