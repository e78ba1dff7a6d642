"""What a network costs on paper: parameters and multiply-adds, counted on the built network."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Cost:
    """Parameters as integers, and MACs (multiply-adds) of one image at the stated input size.

    MACs cover convolutions, linear layers and the matrix products of attention; normalisation, activations and pooling
    are left out. The literature's "FLOPs" of these networks are MACs, often with normalisation and pooling added.
    """

    params: int
    params_trainable: int
    params_without_head: int
    macs: int


def static_cost(model: nn.Module, resolution: int) -> Cost:
    """Return what `model` costs for one image of `resolution` px; the model and the random state stay as they were."""
    flops, outputs = _flops(model, resolution)
    parameters = list(model.parameters())
    params = sum(p.numel() for p in parameters)
    return Cost(
        params=params,
        params_trainable=sum(p.numel() for p in parameters if p.requires_grad),
        params_without_head=params - _head_params(model, outputs),
        macs=flops // 2,
    )


def _flops(model: nn.Module, resolution: int) -> tuple[int, int]:
    """Return the floating point operations of one image (2 per multiply-add) and the number of outputs."""
    like = next(model.parameters())
    image = torch.zeros(1, 3, resolution, resolution, dtype=like.dtype, device=like.device)
    counter = FlopCounterMode(display=False)
    with evaluating(model), torch.no_grad(), _countable_attention(), counter:
        logits: torch.Tensor = model(image)
    return counter.get_total_flops(), logits.shape[-1]


def _head_params(model: nn.Module, outputs: int) -> int:
    """Return the parameters of the classifier: the last linear layer or 1x1 convolution with that many outputs."""
    for module in reversed(list(model.modules())):
        linear = isinstance(module, nn.Linear) and module.out_features == outputs
        convolution = isinstance(module, nn.Conv2d) and module.out_channels == outputs and module.kernel_size == (1, 1)
        if linear or convolution:
            return sum(p.numel() for p in module.parameters())
    return 0


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put the model in eval mode for a while; afterwards every module is in the mode it was in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextlib.contextmanager
def _countable_attention() -> Iterator[None]:
    """Have attention computed as plain matrix products: fused kernels hide theirs from the counter on some versions."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
