"""The `sensitivity` section of params.yaml."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

Value = int | float | str
Name = Literal["lr", "warmup", "batch", "label_smoothing", "cutmix", "weight_decay", "precision"]

MOST_SAMPLES = 100_000


@dataclass(frozen=True)
class SensitivitySettings:
    """What a probe of the protocol tries. Raises ValueError naming the key."""

    models: tuple[str, ...] | None = None
    """The probed networks, null for all of the suite."""

    datasets: tuple[str, ...] | None = None
    """The datasets they are probed on, null for all of the suite."""

    seeds: tuple[int, ...] | None = None
    """The seeds they are trained with, null for the suite's first."""

    space: tuple[Name, ...] = ("lr",)
    """The probed settings, see `mobilebench.search.space.SETTINGS`."""

    values: dict[Name, tuple[Value, ...]] = field(default_factory=dict)
    """Values to try of a setting, instead of the default ones around the protocol's."""

    samples: int | None = None
    """Quasi-random points over all settings at once; null for 16 when more than one setting is probed, else none."""

    val_fraction: float = 0.2
    """Share of the train split to choose on, unless the packed data has a validation part already."""

    prune: Literal["asha", "hyperband"] | None = None
    """How bad trials are given up early, null for not at all; given up, they enter no importance."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}

    def __post_init__(self) -> None:
        if not self.space or len(set(self.space)) < len(self.space):
            raise ValueError("sensitivity.space is empty or names a setting twice; allowed: one or more, each once")
        if not 0 < self.val_fraction < 1:
            raise ValueError(f"sensitivity.val_fraction is {self.val_fraction}; allowed: 0 < fraction < 1")
        if self.samples is not None and not 0 <= self.samples <= MOST_SAMPLES:
            raise ValueError(f"sensitivity.samples is {self.samples}; allowed: null, or 0 to {MOST_SAMPLES:,}")
        if self.seeds is not None and (not self.seeds or min(self.seeds) < 0 or max(self.seeds) >= 2**63):
            raise ValueError(f"sensitivity.seeds is {self.seeds}; allowed: null, or one or more of 0 to 2**63 - 1")
        unused = sorted(set(self.values) - set(self.space))
        if unused:
            raise ValueError(f"sensitivity.values has {', '.join(unused)}, which sensitivity.space does not probe")

    @property
    def sample_count(self) -> int:
        """How many quasi-random points are tried."""
        if self.samples is not None:
            return self.samples
        return 16 if len(self.space) > 1 else 0
