"""Work shared out to processes, a bounded number of pieces under way, so that memory stays flat."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from mobilebench.datasets.decode import start_worker
from mobilebench.datasets.spec import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Piece = TypeVar("Piece")
Done = TypeVar("Done")


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spread(work: Callable[[Piece], Done], pieces: Iterable[Piece], workers: int) -> Iterator[Done]:
    """Yield work(piece) for every piece, in the order of completion; one worker means this very process.

    `work` must be importable (processes are spawned: forking a process that runs threads can hang it). Raises DataError
    when a process is killed, which is nearly always for want of memory.
    """
    if workers == 1:
        yield from map(work, pieces)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=start_worker) as pool:
        try:
            yield from _bounded(pool, work, iter(pieces), 3 * workers)
        except BrokenProcessPool as error:
            raise DataError(
                f"one of {workers} decoding processes was ended from outside, most likely for want of memory; try fewer"
                " (--workers, or runtime.prepare_workers in params.yaml)."
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _bounded(
    pool: ProcessPoolExecutor, work: Callable[[Piece], Done], pieces: Iterator[Piece], limit: int
) -> Iterator[Done]:
    under_way: set[Future[Done]] = {pool.submit(work, piece) for piece in islice(pieces, limit)}
    while under_way:
        done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
        under_way |= {pool.submit(work, piece) for piece in islice(pieces, len(done))}
        for future in done:
            yield future.result()
