"""The `tuning` of a protocol: settings that are chosen anew for each cell, on its validation images."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from itertools import product
from typing import Any, ClassVar

MOST_TRIALS = 10_000
_STRICT: dict[str, Any] = {"extra": "forbid", "strict": True}

# What is held fixed for every trial of a cell, and why. Everything else of the recipe says how a network learns.
FIXED = {
    "data": "other values need other packed data",
    "resolution": "all trials see the same images",
    "eval_resize": "all trials see the same images",
    "normalize": "all trials see the same images",
    "network": "all trials train the same network",
    "model_options": "all trials train the same network",
    "init": "all trials start from the same weights; what learns of pretrained ones may be tuned, as "
    "init.pretrained.head_lr",
    "selection": "it says by which reading the trials are compared",
    "tuning": "it is what is being set",
    "overrides": "they are made before a cell is tuned",
}


@dataclass(frozen=True)
class Range:
    """The values of a number from which samples are drawn. Raises ValueError naming the key."""

    low: float
    """The smallest value."""
    high: float
    """The largest."""
    log: bool = False
    """Whether samples are spread evenly over the logarithm."""
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(
                f"tuning.space has a range from {self.low} to {self.high}; allowed: low < high, both finite"
            )
        if self.log and self.low <= 0:
            raise ValueError(f"tuning.space has a range with log from {self.low}; allowed with log: low of more than 0")


@dataclass(frozen=True)
class Tuning:
    """Settings of which each cell tries several, and keeps what is best on its validation images.

    Raises ValueError naming the key.
    """

    space: dict[str, tuple[Any, ...] | Range] = field(default_factory=dict)
    """The settings by their keys in the protocol (`lr`, `augment.hflip`), each with the values to try, or a range.

    Lists alone are a grid: every combination is a trial. A range, {low: 1.0e-5, high: 1.0e-2, log: true}, is sampled,
    and lists beside it too. With `lr`, `min_lr` moves by the same factor unless it is in the space itself.
    """
    trials: int | None = None
    """How many samples are drawn where the space has a range; null where it has lists alone."""
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    def __post_init__(self) -> None:
        if not self.space:
            raise ValueError("tuning.space is empty; allowed: one setting or more, as in {lr: [0.01, 0.001]}")
        for name, values in self.space.items():
            root = name.partition(".")[0]
            if root in FIXED and not name.startswith("init.pretrained."):
                raise ValueError(f"tuning.space has {name}, which cannot be tuned: {FIXED[root]}")
            if isinstance(values, Range):
                continue
            spelled = [json.dumps(value) for value in values]
            if not values or len(set(spelled)) < len(spelled):
                raise ValueError(f"tuning.space.{name} is {list(values)}; allowed: one value or more, each once")
        if self.is_grid:
            if self.trials is not None:
                raise ValueError(
                    f"tuning.trials is {self.trials}, and the space has lists alone, which are a grid of {self.count} "
                    "trials; leave trials out, or give a setting a range ({low: ..., high: ...})"
                )
        elif self.trials is None or not 2 <= self.trials <= MOST_TRIALS:
            raise ValueError(
                f"tuning.trials is {self.trials}; allowed where the space has a range: 2 to {MOST_TRIALS:,}"
            )
        if not 2 <= self.count <= MOST_TRIALS:
            raise ValueError(f"tuning.space makes {self.count} trials; allowed: 2 to {MOST_TRIALS:,}")

    @property
    def is_grid(self) -> bool:
        """Whether every combination is tried: the space has lists alone."""
        return not any(isinstance(values, Range) for values in self.space.values())

    @property
    def count(self) -> int:
        """How many trials a cell has."""
        if self.is_grid:
            return math.prod(len(values) for values in self.space.values() if not isinstance(values, Range))
        return self.trials or 0

    def grid(self) -> list[dict[str, Any]]:
        """Return every combination of the lists, in the order of the settings' names, whatever that of a file is."""
        lists = {name: self.space[name] for name in sorted(self.space)}
        values = [found for found in lists.values() if not isinstance(found, Range)]
        return [dict(zip(lists, combination, strict=True)) for combination in product(*values)]

    def epochs(self, own: int) -> int:
        """Return the epochs of all trials together; about, where `epochs` is sampled. own: the recipe's, of each."""
        tried = self.space.get("epochs", (own,))
        mean = (tried.low + tried.high) / 2 if isinstance(tried, Range) else sum(tried) / len(tried)
        return round(self.count * mean)
