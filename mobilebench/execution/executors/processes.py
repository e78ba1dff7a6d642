"""Several jobs at a time on this machine, a process each.

Networks of 2.5 M parameters at batch 32 leave a GPU mostly idle, and more CPU threads per network soon help less than
more networks. A process that dies ends its own job and no other.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import pickle
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any, Generic

from mobilebench.execution.executors.base import Outcome, Result, StoppedError, WorkerDiedError
from mobilebench.system.signals import termination_as_interrupt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkServerContext
    from multiprocessing.process import BaseProcess

    from mobilebench.execution.executors.base import Job

_GRACE = 60.0  # seconds a stopped worker has to end its write
_LAST_WORD = 5.0  # seconds to say where it hangs
_PRELOADED = "mobilebench.execution.grid"  # brings PyTorch


def fork_server() -> ForkServerContext:
    """Start the process that workers are forked from, if it does not run yet, and return its context.

    It imports the stack once, beside whatever this process does meanwhile.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([_PRELOADED])
    forkserver.ensure_running()
    return context


@dataclass
class _Message:
    content: object


@dataclass
class _Worker(Generic[Result]):
    job: Job[Result]
    process: BaseProcess
    inbox: Connection
    outcome: Outcome[Result] | None = field(default=None)

    def receive(self, on_message: Callable[[Job[Result], object], None]) -> bool:
        """Take one message, and return False when there will be no more.

        A dead process leaves no more than what is in its pipe, though a process of its own may hold the pipe open.
        """
        try:
            if self.process.exitcode is not None and not self.inbox.poll():
                return False
            received = self.inbox.recv()
        except (EOFError, OSError):  # closed, or killed in the middle of a message
            return False
        if isinstance(received, _Message):
            on_message(self.job, received.content)
        else:
            result, error = received
            self.outcome = Outcome(self.job, result, error)
        return True

    def end(self) -> Outcome[Result]:
        """Wait for the process, which has closed its pipe, and return how its job ended."""
        _join([self.process])
        self.inbox.close()
        if self.outcome is not None:
            return self.outcome
        return Outcome(self.job, error=WorkerDiedError(f"its process died ({_cause(self.process.exitcode)})"))


class ProcessExecutor:
    """Runs up to `workers` jobs at a time, each in a process of its own."""

    remote = False

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(
        self, jobs: Iterable[Job[Result]], on_message: Callable[[Job[Result], object], None]
    ) -> Iterator[Outcome[Result]]:
        """Yield the outcome of every job; see `Executor.run`."""
        waiting, running = iter(jobs), dict[Any, _Worker[Result]]()
        try:
            while True:
                while len(running) < self.workers and (job := next(waiting, None)) is not None:
                    worker = _start(job)
                    running[worker.inbox] = worker
                if not running:
                    return
                for inbox in _ready(running):
                    if not running[inbox].receive(on_message):
                        yield running.pop(inbox).end()
        finally:
            _stop(running.values())


def _ready(running: Mapping[Any, _Worker[Result]]) -> list[Any]:
    """Wait until a worker has sent something or has ended, and return the inboxes of all that have."""
    dead: dict[Any, Any] = {worker.process.sentinel: inbox for inbox, worker in running.items()}
    return list({dead.get(what, what): None for what in wait([*running, *dead])})


def _start(job: Job[Result]) -> _Worker[Result]:
    context = fork_server()
    inbox, outbox = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(job, outbox), name=job.name)
    process.start()
    outbox.close()  # the worker's end is its own: when it dies, this process reads the end of the stream
    return _Worker(job, process, inbox)


def _work(job: Job[Any], outbox: Connection) -> None:
    """Run one job, in the worker."""
    faulthandler.enable()  # so that one that hangs says where, see `_join`
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent passes it on as SIGTERM, once
    threading.Thread(target=_stop_with_parent, daemon=True).start()

    def send(message: object) -> None:
        with suppress(BrokenPipeError):  # the parent is gone, and this process is being stopped
            outbox.send(_Message(message))

    result: object = None
    error: Exception | None = None
    try:
        with termination_as_interrupt():
            result = job.run(send)
    except KeyboardInterrupt:
        error = StoppedError("stopped; the next call goes on after its last epoch")
    except Exception as caught:  # noqa: BLE001 - an outcome too; the parent decides
        error = picklable(caught)
    with suppress(BrokenPipeError):
        outbox.send((result, error))


def _stop_with_parent() -> None:
    """Stop this process as Ctrl-C would when its parent ends, however that happens; no orphan goes on training."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(_GRACE)
    os._exit(1)


def picklable(error: Exception) -> Exception:
    """Return an error as another process can read it."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - made by ourselves a moment ago
    except Exception:  # noqa: BLE001 - an exception's own constructor may do anything
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _stop(workers: Iterable[_Worker[Any]]) -> None:
    for worker in workers:
        worker.inbox.close()  # or its last words would wait for somebody to read those before them
        worker.process.terminate()
    _join([worker.process for worker in workers])


def _join(processes: list[BaseProcess]) -> None:
    """Wait for processes that are to end, and kill those that do not; what they were doing is printed."""
    until = time.monotonic() + _GRACE
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))
        if process.exitcode is None and process.pid is not None:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGABRT)  # faulthandler prints every thread's stack
            process.join(_LAST_WORD)
        if process.exitcode is None:
            process.kill()
            process.join(_GRACE)


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"{name}; out of memory?" if name == "SIGKILL" else name
    return f"exit code {code}"
