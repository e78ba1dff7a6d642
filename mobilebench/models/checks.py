"""What every network must pass before it is trained, whoever wrote it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from mobilebench.models.cost.counts import evaluating, forward
from mobilebench.models.spec import ModelError

if TYPE_CHECKING:
    from torch import nn

    from mobilebench.config.pixels import Size

BUDGET = 2_500_000
TOLERANCE = 0.2
SHOWN = 5  # names in a message


def check(model: nn.Module, num_classes: int, size: Size) -> None:
    """Check that `model` can be a cell of a grid.

    Forward at `size` gives finite [N, num_classes] in eval and training mode, and the gradient reaches every
    trainable parameter. The model and the random state stay as they were. Raises `ModelError` saying what failed.
    """
    with torch.random.fork_rng(devices=[]):
        _check_eval(model, num_classes, size)
        _check_gradient(copy.deepcopy(model), size)


def budget_warnings(model: nn.Module) -> tuple[str, ...]:
    """Return a warning where the network is more than a fifth off 2.5 M parameters: xScore compares equal budgets.

    That budget is of suites whose every network is trained from scratch, and says nothing elsewhere.
    """
    params = sum(p.numel() for p in model.parameters())
    if abs(params / BUDGET - 1) <= TOLERANCE:
        return ()
    low, high = BUDGET * (1 - TOLERANCE) / 1e6, BUDGET * (1 + TOLERANCE) / 1e6
    warning = (
        f"{params / 1e6:.2f} M parameters lie outside {low:.1f} to {high:.1f} M; "
        "xScore compares networks of equal budget, so say so beside its score"
    )
    return (warning,)


def _check_eval(model: nn.Module, num_classes: int, size: Size) -> None:
    if not any(p.requires_grad for p in model.parameters()):
        raise ModelError(f"{type(model).__name__} has no trainable parameters")
    with evaluating(model), torch.no_grad():
        logits = forward(model, 1, size)
    if logits.shape[1] != num_classes:
        raise ModelError(f"{type(model).__name__} has {logits.shape[1]} outputs; the dataset has {num_classes} classes")
    if not logits.isfinite().all():
        raise ModelError(f"{type(model).__name__} returns values that are not finite for a black image")


def _check_gradient(twin: nn.Module, size: Size) -> None:
    """Raise where a trainable parameter of the copy gets no gradient; one that is zero by construction is allowed."""
    twin.train()
    logits = forward(twin, 2, size)
    loss = functional.cross_entropy(logits, torch.zeros(2, dtype=torch.long, device=logits.device))
    trainable = {name: p for name, p in twin.named_parameters() if p.requires_grad}
    gradients = torch.autograd.grad(loss, list(trainable.values()), allow_unused=True)
    unreached = [name for name, gradient in zip(trainable, gradients, strict=True) if gradient is None]
    if unreached:
        names = ", ".join(unreached[:SHOWN]) + (", ..." if len(unreached) > SHOWN else "")
        raise ModelError(
            f"{len(unreached)} parameters of {type(twin).__name__} get no gradient ({names}); use them or freeze them"
        )
