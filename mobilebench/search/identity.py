"""The identity of a study: what must be equal for its trials to be comparable."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Identity:
    """What must be equal for trials to be comparable; a study carries it in its name and, whole, in its attributes."""

    model: str
    dataset: str
    seed: int
    recipe_hash: str
    data_digest: str
    network: str
    code_version: int
    val_digest: str
    space_version: int = 2
    """Of how a trial's settings become its recipe; since 2 min_lr moves with lr."""

    def name(self, cell_name: str) -> str:
        """Return the study's name, given the cell's."""
        parts = (f"r{self.recipe_hash}", f"d{self.data_digest[:12]}", f"n{self.network}", f"v{self.code_version}")
        return "-".join((cell_name, *parts, f"c{self.val_digest}", f"s{self.space_version}"))

    def differences(self, other: Mapping[str, Any]) -> list[str]:
        """Return in words what another study's identity has different."""
        mine = asdict(self)
        return [f"{key} {other.get(key)!r}, not {mine[key]!r}" for key in mine if other.get(key) != mine[key]]
