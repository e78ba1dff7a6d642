"""The recipe's optimiser and how its learning rate is set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from mobilebench.config.recipe import Recipe


def make_optimizer(model: nn.Module, recipe: Recipe, device: torch.device, *, plain: bool) -> torch.optim.Optimizer:
    """The recipe's optimiser with torch's defaults (betas .9, .999; SGD momentum .9); fused on the fast path."""
    settings: dict[str, Any] = {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
    settings |= {"foreach": False} if plain else {"fused": True}
    graphed = device.type == "cuda" and not plain
    if graphed:  # a CUDA graph reads the learning rate from the device
        settings["lr"] = torch.tensor(recipe.lr, device=device)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), momentum=0.9, **settings)
    if graphed:
        settings["capturable"] = True
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
    optimizer: torch.optim.Optimizer = kind(model.parameters(), **settings)
    return optimizer


def set_rate(optimizer: torch.optim.Optimizer, held: float | Tensor, lr: float) -> None:
    """Sets the learning rate; `held` is what the optimiser was made with, a tensor where a CUDA graph reads it."""
    if isinstance(held, Tensor):
        held.fill_(lr)
    for group in optimizer.param_groups:
        group["lr"] = held if isinstance(held, Tensor) else lr
