"""Which epoch is kept: a pure function of the readings so far, so that a resumed cell chooses as an unbroken one."""

from __future__ import annotations

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
class Choice:
    """What a history of readings says."""

    keep: int | None
    """The epoch, counted from 1, whose weights are to be kept; None before the first that may be."""
    stop: bool
    """Whether training ends here."""


def judge(history: Sequence[float], rule: BestVal) -> Choice:
    """Return the choice after the epochs 1 to len(history), given their values of the rule's metric.

    The earliest of equally good epochs is kept. A later epoch must be better, however little, to take its place.
    """
    sign = 1.0 if get_metric(rule.metric).higher_is_better else -1.0
    open_to = range(rule.min_epochs, len(history) + 1)
    if not open_to:
        return Choice(None, stop=False)
    keep = max(open_to, key=lambda epoch: (sign * history[epoch - 1], -epoch))
    return Choice(keep, stop=0 < rule.patience <= len(history) - keep)
