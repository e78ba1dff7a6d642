"""Which epoch is kept: a pure function of the readings so far, so that a resumed cell chooses as an unbroken one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mobilebench.evaluation.metrics import MetricError, get_metric

if TYPE_CHECKING:
    from collections.abc import Sequence

_STRICT: dict[str, Any] = {"extra": "forbid", "strict": True}


@dataclass(frozen=True)
class BestVal:
    """Keep the weights of the epoch that is best on the validation images; stop when it no longer gets better.

    Raises ValueError, naming the key and what is allowed.
    """

    metric: str = "top1"
    """The metric that validation images are read by, in its own direction."""
    patience: int = 0
    """Epochs without a better one after which training stops; 0 trains all epochs."""
    min_epochs: int = 1
    """The first epoch that may be kept, counted from 1; patience counts from there."""
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    def __post_init__(self) -> None:
        try:
            get_metric(self.metric)
        except MetricError as error:
            raise ValueError(f"selection.best_val.metric: {error}") from None
        if self.patience < 0:
            raise ValueError(f"selection.best_val.patience is {self.patience}; allowed: 0 (train all epochs) or more")
        if self.min_epochs < 1:
            raise ValueError(f"selection.best_val.min_epochs is {self.min_epochs}; allowed: 1 or more")


@dataclass(frozen=True)
class Span:
    """What of a phase of training decides when it ends."""

    epochs: int
    """Its most epochs."""
    patience: int = 0
    """Epochs without a better one after which it ends, counted from its first at the earliest; 0 for none."""


@dataclass(frozen=True)
class Choice:
    """What a history of readings says."""

    keep: int | None
    """The epoch, counted from 1, whose weights are to be kept; None before the first that may be: it is not before
    `min_epochs`, and its reading is a number."""
    stop: bool
    """Whether training ends here."""
    phase: int = 0
    """Index of the phase that the next epoch belongs to."""
    before: int = 0
    """Epochs before that phase."""


def judge(history: Sequence[float], rule: BestVal | None, spans: Sequence[Span] = ()) -> Choice:
    """Return the choice after the epochs 1 to len(history), given their values of the rule's metric.

    spans: the phases of training; none for one without an end but the rule's patience. rule: None where no epoch is
    chosen, and phases end by their epochs alone.

    The earliest of equally good epochs is kept, over all phases. A later epoch must be better, however little, to take
    its place. An epoch whose value is not a finite number (the metric is undefined for what the network said then) is
    never kept, and patience does not run before there is one to keep. Epochs after the one where training ends count
    for nothing.
    """
    sign = 1.0 if rule is None or get_metric(rule.metric).higher_is_better else -1.0
    parts = spans or (Span(len(history) + 1, rule.patience if rule else 0),)
    keep, best, phase, before = None, -math.inf, 0, 0
    for epoch, value in enumerate(history, start=1):
        if rule and epoch >= rule.min_epochs and math.isfinite(value) and sign * value > best:
            keep, best = epoch, sign * value
        waited = 0 if keep is None else epoch - max(keep, before)
        if epoch - before >= parts[phase].epochs or 0 < parts[phase].patience <= waited:
            if phase + 1 == len(parts):
                return Choice(keep, stop=True, phase=phase, before=before)
            phase, before = phase + 1, epoch
    return Choice(keep, stop=False, phase=phase, before=before)
