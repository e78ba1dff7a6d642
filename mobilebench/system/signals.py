"""Signals that stop a person's or a scheduler's work: held back during a write, and both kinds as Ctrl-C."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_STOPPING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def deferred_signals() -> Iterator[None]:
    """Hold Ctrl-C and a termination back until the block is done: a write that has begun is finished first.

    Only the main thread receives signals. In any other the block just runs.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    before: dict[signal.Signals, Any] = {
        number: signal.signal(number, lambda number, _: received.append(number)) for number in _STOPPING
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
    for late in received:  # one that is ignored outside the block must not stand in for the next
        signal.raise_signal(late)


@contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """Let a scheduler's SIGTERM stop the block as Ctrl-C does: the journal says so and the next call goes on."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
