"""Activations whose gradient needs their input: in place they copy it first, a read and a write for nothing.

`nn.SiLU(inplace=True)` overwrites what autograd has to keep, so that autograd takes a copy. Out of place the input is
kept as it is: in training the same two tensors in memory, and the same values.

Gain: one copy of each such activation; benchmarks/RESULTS.md has no figure for it alone. It can go when PyTorch's
in-place activations no longer copy in training, or when the networks here are built without them.
"""

from __future__ import annotations

from typing import cast

from torch import nn

_COPYING = (nn.SiLU, nn.ReLU6, nn.Hardtanh, nn.Hardswish, nn.Mish)  # ReLU's gradient needs its output alone
_TRUSTED = {"torch", "torchvision", "timm", "mobilebench"}


def disable_inplace(model: nn.Module) -> None:
    """Have the model's activations of these kinds leave their input alone; its values and state stay what they are.

    Does nothing to a network with code of its own: it might rely on an activation overwriting what it is given.
    """
    modules = list(model.modules())
    if all(type(module).__module__.split(".")[0] in _TRUSTED for module in modules):
        for module in modules:
            if type(module) in _COPYING:
                cast("nn.SiLU", module).inplace = False
