"""The optimiser of a phase of training and how its learning rate is set."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mobilebench.config.phases import Phase
    from mobilebench.training.finetune import Group


_HOW = ("lr", "capturable", "foreach", "fused")


def make_optimizer(parts: Sequence[Group], phase: Phase, device: torch.device, *, plain: bool) -> torch.optim.Optimizer:
    """The phase's optimiser with torch's defaults (betas .9, .999); fused on the fast path."""
    settings: dict[str, Any] = {"lr": phase.lr, "weight_decay": phase.weight_decay}
    settings |= {"foreach": False} if plain else {"fused": True}
    graphed = device.type == "cuda" and not plain
    rates = [phase.lr * part.scale for part in parts]
    # A CUDA graph reads the learning rates from the device.
    lrs = [torch.tensor(rate, device=device) if graphed else rate for rate in rates]
    groups = [
        {"params": part.parameters, "lr": lr} | ({} if part.decays else {"weight_decay": 0.0})
        for part, lr in zip(parts, lrs, strict=True)
    ]
    if phase.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=phase.momentum, **settings)
    if graphed:
        settings["capturable"] = True
        # Said of each trainer otherwise: the steps before the capture are eager.
        warnings.filterwarnings("ignore", message=".*step\\(\\) is running without CUDA graph capture")
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[phase.optimizer]
    optimizer: torch.optim.Optimizer = kind(groups, **settings)
    return optimizer


def load_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Takes over a state, and leaves to the optimiser how it computes: that was decided for the device of the state.

    Raises ValueError where the state is of other groups of parameters.
    """
    own = [{key: group[key] for key in _HOW if key in group} for group in optimizer.param_groups]
    groups = [group | mine for group, mine in zip(state["param_groups"], own, strict=True)]
    optimizer.load_state_dict(state | {"param_groups": groups})  # it places the state by these flags
    for group, mine in zip(optimizer.param_groups, own, strict=True):
        group.update(mine)  # the very tensor of a rate that a CUDA graph reads


class Rates:
    """The learning rates of an optimiser's groups, set together; made before a state is loaded into it."""

    def __init__(self, optimizer: torch.optim.Optimizer, parts: Sequence[Group]) -> None:
        self._optimizer = optimizer
        self._scales = [part.scale for part in parts]
        # What it was made with: tensors where a CUDA graph reads them.
        self._held: list[float | Tensor] = [group["lr"] for group in optimizer.param_groups]

    def set(self, lr: float) -> None:
        """Give each group its share of the epoch's learning rate."""
        for group, held, scale in zip(self._optimizer.param_groups, self._held, self._scales, strict=True):
            if isinstance(held, Tensor):
                held.fill_(lr * scale)
            group["lr"] = held if isinstance(held, Tensor) else lr * scale
