"""How the trials of a tuned cell ended, from their journals, and which of them is taken."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mobilebench.config.parsing import parse
from mobilebench.runs.events import Epoch, Fail, Finish, reason_tags

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mobilebench.runs.journal import Journal

_DIVERGED = "diverged"  # the tag of a trial that ended so; its value are the seconds of the epoch that was not finished


@dataclass(frozen=True)
class TrialEnd:
    """How a trial ended."""

    value: float | None
    """The metric that chooses, on val, at the epoch that counts; None where the trial diverged or it is undefined."""
    epoch: int
    """The epoch that counts; 0 where none does."""
    seconds: float
    """Training time in seconds."""
    joules: float | None = None
    """What training took, where it was measured."""
    test: float | None = None
    """The dataset's metric on test at that epoch, where the run reads test along; nothing is chosen by it."""
    reason: str = ""
    """Why there is no value."""

    def outcome(self) -> dict[str, Any]:
        """Return it as a finished trial's journal keeps it."""
        return asdict(self)


def diverged(reason: str, seconds: float) -> Fail:
    """Return the end of a trial that diverged. seconds: of the epoch that was not finished."""
    return Fail(tags=reason_tags(reason) | {_DIVERGED: repr(seconds)})


def end_of(journal: Journal) -> TrialEnd | None:
    """Return how a trial ended, None where it did not: not begun, stopped, or failed in a way that may not come again.

    A trial that diverged would do so again, and is not tried again. Raises JournalError for an unreadable journal.
    """
    events = journal.events()
    match events[-1] if events else None:
        case Finish(outcome=dict() as outcome):
            return parse(TrialEnd, outcome, f"{journal.path}: ")
        case Fail(tags={"reason": reason, **tags}) if _DIVERGED in tags:
            epochs = [event.metrics for event in events if isinstance(event, Epoch)]
            joules = [metrics.get("energy_joules") for metrics in epochs]
            known = [found for found in joules if found is not None]
            return TrialEnd(
                None, 0, sum(metrics["epoch_seconds"] for metrics in epochs) + float(tags[_DIVERGED]),
                sum(known) if epochs and len(known) == len(epochs) else None, reason=reason,
            )  # fmt: skip
    return None


def ends_of(journal: Journal) -> dict[int, TrialEnd]:
    """Return how the trials of a tuned cell ended, by number, of those that did."""
    found = {number: end_of(trial) for number, trial in journal.trials().items()}
    return {number: end for number, end in found.items() if end is not None}


def best(ends: Mapping[int, TrialEnd], *, higher_is_better: bool) -> int | None:
    """Return the trial with the best value, the first of equally good ones; None where none has a value."""
    sign = 1 if higher_is_better else -1
    values = {number: sign * end.value for number, end in ends.items() if end.value is not None}
    return min(values, key=lambda number: (-values[number], number), default=None)


def weights_of(trial: Journal) -> Path:
    """Return where a trial's weights lie, those of the epoch that counts, until its cell is finished."""
    return trial.folder / "weights.pt"


def leftovers(journal: Journal) -> list[Path]:
    """Return the weights and checkpoints of a cell's trials, which nobody needs once the cell is finished."""
    names = ("checkpoint*", "chosen-*", "weights.pt*")
    return sorted(path for trial in journal.trials().values() for name in names for path in trial.folder.glob(name))
