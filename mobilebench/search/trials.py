"""Trials as data: what a study has of each, and where their settings lie on axes. No Optuna."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from mobilebench.config.parsing import digest
from mobilebench.search.space import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from mobilebench.config.sensitivity import Value

    Floats = NDArray[np.float64]

State = Literal["complete", "failed", "pruned", "running", "waiting"]
Values = dict[str, "Value"]


@dataclass(frozen=True)
class TrialRow:
    """One trial as the study has it; val_top1 is None unless it is complete, reason is why it failed."""

    number: int
    seed: int
    values: Values
    source: str
    state: State
    val_top1: float | None = None
    reason: str = ""

    @property
    def key(self) -> str:
        """What names its combination of settings."""
        return digest(self.values)


def ordered(setting: str, values: Iterable[Value]) -> list[Value]:
    """Return values in the order of their setting's axis; choices as the protocol lists them."""
    return sorted(values, key=str, reverse=True) if SETTINGS[setting].scale == "choice" else sorted(values, key=float)


def axis_values(name: str, rows: Sequence[Values]) -> list[Value]:
    """Return the different values that combinations have of one setting, in the order of its axis."""
    return ordered(name, {row[name] for row in rows})


def coordinates(rows: Sequence[Values], names: Sequence[str]) -> Floats:
    """Return where combinations lie on the axes of the settings, [rows, settings]."""
    axes = {name: axis_values(name, rows) for name in names}
    return np.array([[SETTINGS[name].coordinate(row[name], axes[name]) for name in names] for row in rows])
