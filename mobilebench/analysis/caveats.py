"""What the results of a grid cannot bear, said wherever they are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilebench.analysis.pretraining import overlaps
from mobilebench.system.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mobilebench.runs.records import Record


def caveats(records: Iterable[Record]) -> tuple[str, ...]:
    """Return a sentence for each reason why results say less than they seem to: what weights know, what was chosen."""
    some = list(records)
    return (*chosen_on_test(some), *overlaps(some))


def chosen_on_test(records: Iterable[Record]) -> tuple[str, ...]:
    """Return a sentence where epochs were chosen on the test images, () where none was."""
    records = list(records)
    chosen = [record for record in records if record.chosen_on == "test"]
    if not chosen:
        return ()
    which = "All results" if len(chosen) == len(records) else f"{len(chosen)} of {counted(len(records), 'result')}"
    words = (
        f"CHOSEN ON TEST: {which} are of the epoch that was best on the test images themselves (selection best_test), "
        "as published code had it. They are too high, by an amount that is not known, and no estimate for new images."
    )
    return (words,)
