"""The learning rate of each epoch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mobilebench.config.phases import MultiStep

if TYPE_CHECKING:
    from mobilebench.config.phases import Phase
    from mobilebench.config.recipe import Recipe


def remarks(recipe: Recipe) -> list[str]:
    """Return what a person may not expect of the recipe's rates: settings that are without effect."""
    if recipe.knn:
        return ["nearest neighbours: nothing learns; optimiser, rates, batch size and augmentation are without effect"]
    said = []
    for number, phase in enumerate(recipe.plan):
        where = f"phases[{number}]: " if recipe.phases else ""
        if phase.epochs == 1 and phase.schedule == "cosine":
            nothing = "; that is 0, so nothing is learnt" if phase.min_lr == 0 else ""
            said.append(
                f"{where}epochs 1: the only epoch is the last one and is trained at min_lr {phase.min_lr:g}{nothing}; "
                f"lr {phase.lr:g} is without effect"
            )
        if phase.warmup_epochs == 1:
            said.append(
                f"{where}warmup_epochs 1: the one epoch of warm-up is trained at the full lr, so nothing is warmed up"
            )
    return said


def learning_rate(phase: Phase, epoch: int) -> float:
    """The rate of epoch `epoch` (0-based) of a phase, constant within it.

    Linear warm-up lr * (e + 1) / warmup, then the schedule. `cosine` is already one step down in the first epoch after
    the warm-up and reaches min_lr exactly in the last one: the rule of the paper's code,
    min_lr + (lr - min_lr) * (1 + cos(pi * (e - warmup + 1) / (epochs - warmup))) / 2. `cosine_annealing` is torch's
    rule, a step behind it.
    """
    if epoch < phase.warmup_epochs:
        return phase.lr * (epoch + 1) / phase.warmup_epochs
    if isinstance(phase.schedule, MultiStep):
        return phase.lr * phase.schedule.factor ** sum(step <= epoch for step in phase.schedule.multistep)
    if phase.schedule == "constant":
        return phase.lr
    ahead = 1 if phase.schedule == "cosine" else 0
    done = (epoch - phase.warmup_epochs + ahead) / (phase.epochs - phase.warmup_epochs)
    return phase.min_lr + (phase.lr - phase.min_lr) * 0.5 * (1 + math.cos(math.pi * done))
