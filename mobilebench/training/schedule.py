"""The learning rate of each epoch."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mobilebench.config.recipe import Recipe


def remarks(recipe: Recipe) -> list[str]:
    """Return what a person may not expect of the recipe's rates: settings that are without effect."""
    said = []
    if recipe.epochs == 1:
        nothing = "; that is 0, so nothing is learnt" if recipe.min_lr == 0 else ""
        said.append(
            f"epochs 1: the only epoch is the last one and is trained at min_lr {recipe.min_lr:g}{nothing}; "
            f"lr {recipe.lr:g} is without effect"
        )
    if recipe.warmup_epochs == 1:
        said.append("warmup_epochs 1: the one epoch of warm-up is trained at the full lr, so nothing is warmed up")
    return said


def learning_rate(recipe: Recipe, epoch: int) -> float:
    """The rate of epoch `epoch` (0-based), constant within it.

    Linear warm-up lr * (e + 1) / warmup, then a cosine that is already one step down in the first epoch after the
    warm-up and reaches min_lr exactly in the last one: the rule of the paper's code,
    min_lr + (lr - min_lr) * (1 + cos(pi * (e - warmup + 1) / (epochs - warmup))) / 2.
    """
    if epoch < recipe.warmup_epochs:
        return recipe.lr * (epoch + 1) / recipe.warmup_epochs
    done = (epoch - recipe.warmup_epochs + 1) / (recipe.epochs - recipe.warmup_epochs)
    return recipe.min_lr + (recipe.lr - recipe.min_lr) * 0.5 * (1 + math.cos(math.pi * done))
