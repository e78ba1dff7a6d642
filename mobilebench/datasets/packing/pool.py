"""Work shared out to processes, a bounded number of pieces under way, so that memory stays flat."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Protocol, TypeVar

from mobilebench.datasets.packing.decode import start_worker
from mobilebench.datasets.spec import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Piece = TypeVar("Piece")
Done = TypeVar("Done")


class ParallelMap(Protocol):
    """Yields work(piece) for every piece, in the order of completion."""

    def __call__(self, work: Callable[[Piece], Done], pieces: Iterable[Piece]) -> Iterator[Done]:
        """Start the work and yield what comes of it."""
        ...


@contextmanager
def processes(workers: int) -> Iterator[ParallelMap]:
    """Yield a function that shares work out to processes; with one worker it is done in this process.

    The work must be importable (processes are spawned: forking a process that runs threads can hang it). Raises
    DataError when a process is killed, which is nearly always for want of memory.
    """
    if workers == 1:
        yield lambda work, pieces: (work(piece) for piece in pieces)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker)
    try:
        yield lambda work, pieces: _bounded(pool, work, iter(pieces), 3 * workers)
    except BrokenProcessPool as error:
        raise DataError(
            f"one of {workers} decoding processes was ended from outside, most likely for want of memory; try fewer"
            " (runtime.prepare_workers in params.yaml)."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _bounded(
    pool: ProcessPoolExecutor, work: Callable[[Piece], Done], pieces: Iterator[Piece], limit: int
) -> Iterator[Done]:
    under_way: set[Future[Done]] = {pool.submit(work, piece) for piece in islice(pieces, limit)}
    while under_way:
        done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
        under_way |= {pool.submit(work, piece) for piece in islice(pieces, len(done))}
        for future in done:
            yield future.result()
