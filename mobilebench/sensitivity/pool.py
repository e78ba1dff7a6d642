"""Where trials run: in this process, or in several that end when it does."""

from __future__ import annotations

import multiprocessing
import queue
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mobilebench.sensitivity.trial import Outcome, Progress, join

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection


class _Here(Executor):
    """Runs a job in this process, at once: no second import of the stack where one worker is enough."""

    def submit(self, fn: Callable[..., Outcome], /, *args: object, **kwargs: object) -> Future[Outcome]:  # type: ignore[override]
        future: Future[Outcome] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - handed to whoever asks for the result
            future.set_exception(error)
        return future


@contextmanager
def workers(jobs: int) -> Iterator[tuple[Executor, queue.Queue[Progress]]]:
    """Give an executor of `jobs` processes and the queue their progress comes on; they end when this process does."""
    if jobs == 1:
        yield _Here(), queue.Queue()
        return
    context = multiprocessing.get_context("spawn")  # a forked torch hangs in its thread pools
    messages = context.Queue()
    ears: Connection
    ears, mouth = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(jobs, context, initializer=join, initargs=(messages, ears))
    try:
        yield pool, messages  # type: ignore[misc]
        pool.shutdown()
    finally:
        mouth.close()  # workers still at it, after an error or Ctrl-C, end at once: their epochs are on disk
        pool.shutdown(cancel_futures=True)
