"""The phases that a network is trained in, one after the other, each with an optimiser of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

_STRICT: dict[str, Any] = {"extra": "forbid", "strict": True}

Optimizer = Literal["adam", "adamw", "sgd"]
# The recipe's own keys that say how a training of one phase goes.
FLAT = ("epochs", "warmup_epochs", "optimizer", "lr", "min_lr", "weight_decay")


@dataclass(frozen=True)
class MultiStep:
    """A rate that falls after certain epochs. Raises ValueError, naming the key."""

    multistep: tuple[int, ...]
    """After which epochs of the phase, ascending."""
    factor: float = 0.1
    """What the rate is multiplied by each time, in (0, 1)."""
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    def __post_init__(self) -> None:
        steps = self.multistep
        if not steps or list(steps) != sorted(set(steps)) or steps[0] < 1:
            raise ValueError(f"schedule.multistep is {list(steps)}; allowed: epochs from 1, ascending")
        if not 0 < self.factor < 1:
            raise ValueError(f"schedule.factor is {self.factor}; allowed: more than 0 and less than 1")


@dataclass(frozen=True)
class Phase:
    """One part of the training. Raises ValueError, naming the key and what is allowed."""

    epochs: int
    """Its most epochs."""
    lr: float
    """Its highest learning rate."""
    optimizer: Optimizer = "adamw"
    """A new optimiser, with torch's defaults but for what is said here."""
    momentum: float = 0.9
    """Momentum of sgd, in [0, 1); the others have none."""
    weight_decay: float = 0.0
    """As the recipe's."""
    schedule: Literal["constant", "cosine", "cosine_annealing"] | MultiStep = "constant"
    """How the rate goes after the warm-up, constant within an epoch.

    cosine: it falls to min_lr, which the last epoch has, as the recipe's own `lr` does. cosine_annealing: as torch's
    CosineAnnealingLR over the phase's epochs, stepped once an epoch; the first has the full rate. {multistep: [15, 20],
    factor: 0.1}: it falls after these epochs.
    """
    min_lr: float = 0.0
    """Where a cosine ends."""
    warmup_epochs: int = 0
    """Epochs of linear warm-up."""
    patience: int = 0
    """Epochs without a better one on val after which the phase ends; 0 for none. Needs `selection: {best_val: ...}`."""
    start: Literal["last", "best"] = "last"
    """Which weights it starts from: those that training has reached, or those of the best epoch on val so far."""
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    def problem(self) -> str:
        """Return the key that is wrong, what it is and what is allowed; "" where all are sound."""
        last_step = self.schedule.multistep[-1] if isinstance(self.schedule, MultiStep) else 0
        checks = [
            (self.epochs >= 1, "epochs", self.epochs, "1 or more"),
            (self.lr > 0, "lr", self.lr, "more than 0"),
            (0 <= self.min_lr <= self.lr, "min_lr", self.min_lr, f"0 or more and at most lr ({self.lr})"),
            (0 <= self.momentum < 1, "momentum", self.momentum, "0 or more and less than 1"),
            (self.weight_decay >= 0, "weight_decay", self.weight_decay, "0 or more"),
            (0 <= self.warmup_epochs < self.epochs, "warmup_epochs", self.warmup_epochs, f"0 to {self.epochs - 1}"),
            (self.patience >= 0, "patience", self.patience, "0 (none) or more"),
            (last_step < self.epochs, "schedule.multistep", last_step, f"epochs before the last ({self.epochs})"),
        ]
        wrong = [f"{key} is {found!r}; allowed: {allowed}" for ok, key, found, allowed in checks if not ok]
        return wrong[0] if wrong else ""
