"""Who is informed while cells train."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mobilebench.config.suite import Cell
    from mobilebench.training import EpochResult


class ProgressListener(Protocol):
    """What is informed of progress: the command line's bars, a test, nobody."""

    def epoch(self, cell: Cell, result: EpochResult, epochs: int) -> None:
        """Take note that an epoch of a cell is done."""

    def note(self, cell: Cell, message: str) -> None:
        """Take note of something a person should know about a cell."""


class NullListener:
    """A listener that shows nothing."""

    def epoch(self, cell: Cell, result: EpochResult, epochs: int) -> None:
        """Show nothing."""

    def note(self, cell: Cell, message: str) -> None:
        """Show nothing."""
