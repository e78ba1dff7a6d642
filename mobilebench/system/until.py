"""Work that ends at a moment: reading which one from a person's words, and stopping then as Ctrl-C does."""

from __future__ import annotations

import re
import signal
import threading
from contextlib import contextmanager
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING

from mobilebench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FORMS = (
    "a time of day (18:30: today, or tomorrow where it is past), a time from now (+90m, +2h) or a date and time of \
ISO 8601 (2031-05-17T18:30)"
)
_LONGEST_WAIT = 60.0  # seconds; the clock is asked again after each, for it may be set, or the machine may sleep


class Deadline:
    """When work is to stop, and whether it did because its time had come."""

    def __init__(self, moment: datetime | None) -> None:
        """moment: None for never."""
        self.moment = moment
        self.reached = False


def parse_until(text: str, now: datetime) -> datetime:
    """Return the moment that `text` names, with its zone; without one it is of this machine's.

    now: with its zone. Raises UserError, naming the three forms, for any other text and for a moment that is past.
    """
    try:
        moment = _moment(text.strip(), now)
    except (ValueError, OverflowError, OSError):
        raise UserError(f"--until {text!r} is no time; expected {_FORMS}") from None
    if moment <= now:
        raise UserError(f"--until {text!r} is past: it is {now:%Y-%m-%d %H:%M} now; expected {_FORMS}")
    return moment


def _moment(text: str, now: datetime) -> datetime:
    if span := re.fullmatch(r"\+([0-9]+)([mh])", text):
        return now + timedelta(minutes=int(span[1]) * (60 if span[2] == "h" else 1))
    if clock := re.fullmatch(r"([0-9]{1,2}):([0-9]{2})", text):
        at = time(int(clock[1]), int(clock[2]))
        # Without their zone, so that each day has its own: between the two the clocks may be changed.
        today, tomorrow = (datetime.combine(now + timedelta(days), at).astimezone() for days in (0, 1))
        return today if today > now else tomorrow
    if not re.match(r"[0-9]{4}-", text) or len(text) <= len("2031-05-17"):
        raise ValueError(text)
    return datetime.fromisoformat(text).astimezone()


def local_now() -> datetime:
    """Return the time of this machine's clock, with its zone."""
    return datetime.now().astimezone()


@contextmanager
def stopped_at(
    deadline: Deadline, now: Callable[[], datetime] = local_now, wait: Callable[[float], object] | None = None
) -> Iterator[None]:
    """Stop the block at its deadline as a scheduler does, by SIGTERM to this process, and note there that it was.

    The caller turns SIGTERM into KeyboardInterrupt (`signals.termination_as_interrupt`) and keeps it so until this
    block has ended. now, wait: the clock, and what waits so many seconds; tests have their own.
    """
    moment = deadline.moment
    if moment is None:
        yield
        return
    ended, lock = threading.Event(), threading.Lock()
    worker = threading.main_thread().ident
    assert worker is not None, "the main thread has begun"

    def watch() -> None:
        while not ended.is_set() and (left := (moment - now()).total_seconds()) > 0:
            (wait or ended.wait)(min(left, _LONGEST_WAIT))
        with lock:  # nothing is sent to who has ended
            if not ended.is_set():
                deadline.reached = True
                signal.pthread_kill(worker, signal.SIGTERM)  # to that thread: it wakes from whatever it waits for

    thread = threading.Thread(target=watch, daemon=True, name="until")
    thread.start()
    try:
        yield
    finally:
        with lock:
            ended.set()
        thread.join()
