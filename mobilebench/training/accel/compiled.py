"""A network that torch.compile makes, but for its last layer: what is compiled then does not depend on the classes.

PyTorch keeps what it has compiled on disk, for the same code and the same shapes. Datasets differ in the number of
classes; without the layer that has it, the cells of a network on other datasets find what the first one compiled.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Forward = Callable[[Tensor], Tensor]

OPTIONS: dict[str, str | int | bool | Callable[..., object]] = {"fallback_random": True}  # eager's dropout


def compile_network(model: nn.Module) -> Forward:
    """Returns the network's forward pass in training, compiled at the first batch of images."""
    made: list[Forward] = []

    def forward(images: Tensor) -> Tensor:
        if not made:
            made.append(_compile(model, images[:2]))
        return made[0](images)

    return forward


def _compile(model: nn.Module, images: Tensor) -> Forward:
    name = last_linear(model, images)
    if name is None:
        whole: Forward = torch.compile(model, options=OPTIONS)
        return whole
    trunk, last = torch.compile(without(model, name), options=OPTIONS), model.get_submodule(name)

    def forward(images: Tensor) -> Tensor:
        logits: Tensor = last(trunk(images))
        return logits

    return forward


@torch.no_grad()
def last_linear(model: nn.Module, images: Tensor) -> str | None:
    """Returns the name of the linear layer whose output is the network's, None where there is none. Changes nothing."""
    said: dict[int, str] = {}
    kept: list[Tensor] = []  # alive, so that no two of them have the same id

    def note(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            kept.append(output)
            said[id(output)] = name

        return hook

    modes = [(module, module.training) for module in model.modules()]
    hooks = [module.register_forward_hook(note(name)) for name, module in _linears(model)]
    try:
        # Autocast would keep the weights that it casts here, without a way back for gradients, and use them again.
        with torch.autocast(images.device.type, enabled=False):
            return said.get(id(model.eval()(images)))
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes:
            module.training = training


def _linears(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return ((name, module) for name, module in model.named_modules() if name and isinstance(module, nn.Linear))


def without(model: nn.Module, name: str) -> nn.Module:
    """Returns the network with one of its modules passing on what it is given; all others are the network's own."""
    top = _shallow(model)
    *above, last = name.split(".")
    inner = top
    for part in above:
        child = _shallow(inner.get_submodule(part))
        inner.add_module(part, child)
        inner = child
    inner.add_module(last, nn.Identity())
    return top


def _shallow(module: nn.Module) -> nn.Module:
    """A copy with the same parameters, buffers and children."""
    made = copy.copy(module)
    made._modules = dict(module._modules)  # noqa: SLF001 - else a child that is replaced would be in the original too
    return made
