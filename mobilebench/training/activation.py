"""Activations whose gradient needs their input: in place they copy it first, a read and a write for nothing.

`nn.SiLU(inplace=True)` overwrites what autograd has to keep, so that autograd takes a copy. Out of place the input is
kept as it is: the same two tensors in memory, the same values.
"""

from __future__ import annotations

from typing import Any

from torch import nn

_COPYING = (nn.SiLU, nn.ReLU6, nn.Hardtanh, nn.Hardswish, nn.Mish)  # ReLU's gradient needs its output alone
_TRUSTED = {"torch", "torchvision", "timm", "mobilebench"}  # other code may drop what an activation returns


def copy_nothing(model: nn.Module) -> None:
    """Have such activations work out of place from now on, in place; the model's values and state stay what they are.

    Left alone are those called by code that might rely on its input being overwritten: a person's own network.
    """
    for caller in model.modules():
        if type(caller).__module__.split(".")[0] in _TRUSTED:
            for module in caller.children():
                _leave_input(module)


def _leave_input(module: Any) -> None:
    if type(module) in _COPYING:
        module.inplace = False
