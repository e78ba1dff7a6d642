"""Who is informed while cells train."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mobilebench.config.suite import Cell
    from mobilebench.training import EpochResult


class ProgressListener(Protocol):
    """What is informed of progress: the command line's bars, a test, nobody."""

    def epoch(self, cell: Cell, result: EpochResult, epochs: int) -> None:
        """Take note that an epoch of a cell is done."""

    def trials_planned(self, cell: Cell, epochs: Mapping[int, int]) -> None:
        """Take note of the trials that a tuned cell still has to train: their numbers, and the epochs left of each."""

    def trial_epoch(self, cell: Cell, trial: int, result: EpochResult, epochs: int) -> None:
        """Take note that an epoch of a trial is done."""

    def trial_ended(self, cell: Cell, trial: int, words: str) -> None:
        """Take note of how a trial ended."""

    def note(self, cell: Cell, message: str) -> None:
        """Take note of something a person should know about a cell."""


class NullListener:
    """A listener that shows nothing."""

    def epoch(self, cell: Cell, result: EpochResult, epochs: int) -> None:
        """Show nothing."""

    def trials_planned(self, cell: Cell, epochs: Mapping[int, int]) -> None:
        """Show nothing."""

    def trial_epoch(self, cell: Cell, trial: int, result: EpochResult, epochs: int) -> None:
        """Show nothing."""

    def trial_ended(self, cell: Cell, trial: int, words: str) -> None:
        """Show nothing."""

    def note(self, cell: Cell, message: str) -> None:
        """Show nothing."""
