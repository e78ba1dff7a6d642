"""The hours that a grid has left, in words: how long, by what that is known, and of which cells it is not."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING

from mobilebench.execution.estimate import BASES
from mobilebench.system.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mobilebench.execution.plan import Plan


def clock(seconds: float) -> str:
    """Return a span of time as h:min:s, with days before it from one day on."""
    return str(timedelta(seconds=round(seconds)))


def hours_in_words(plan: Plan, workers: int | None = None) -> Iterator[str]:
    """Yield sentences on how long what is left takes. workers: trainings at a time, where that is to be said too."""
    known, unknown = plan.known, plan.unknown
    if known:
        at_once = (
            "" if workers is None or workers == 1 else f", {clock(plan.seconds_at(workers))} with {workers} at once"
        )
        yield (
            f"{counted(len(known), 'cell')} to train: about {clock(plan.seconds)} (h:min:s) of training one after "
            f"another{at_once}."
        )
        by = Counter(BASES[cell.basis] for cell in known)
        said = "; ".join(f"{counted(count, 'cell')} by {basis}" for basis, count in by.items())
        on = "" if all(not cell.device_known for cell in known) else f" on {plan.device}"
        off = " (easily wrong by a factor of three)" if BASES["other models"] in by else ""
        yield f"This is rough{off}: {said}, trained{on}."
        if guessed := sum(not cell.device_known for cell in known):
            yield f"Of {counted(guessed, 'cell')} it is unknown on which device these runs were trained."
    if unknown:
        yield f"How long {counted(len(unknown), 'other cell' if known else 'cell')} will take is not known yet."
        if plan.elsewhere:
            yield f"Runs on other devices ({'; '.join(plan.elsewhere)}) say nothing of it."
