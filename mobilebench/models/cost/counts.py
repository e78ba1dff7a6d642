"""What a network costs on paper: parameters, multiply-adds, bytes; counted on the built network, nothing measured."""

from __future__ import annotations

import contextlib
import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from timm.utils.model import reparameterize_model
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mobilebench.config.pixels import input_size
from mobilebench.models.spec import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mobilebench.config.pixels import Size

FLOAT32 = 4  # bytes
FOLDS = ("reparameterize", "switch_to_deploy", "fuse")  # the methods timm calls on a network's parts
ADAM_COPIES = 4  # the weights, their gradients and Adam's two moments


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


def static_cost(model: nn.Module, size: Size) -> Cost:
    """Return what `model` costs for one image of `size`; the model and the random state stay as they were.

    Raises `ModelError` where the network cannot take images of that size or returns no [N, classes].
    """
    flops, outputs = _flops(model, size)
    parameters = list(model.parameters())
    params = sum(p.numel() for p in parameters)
    return Cost(
        params=params,
        params_trainable=sum(p.numel() for p in parameters if p.requires_grad),
        params_without_head=params - _head_params(model, outputs),
        macs=flops // 2,
    )


def deployed(model: nn.Module) -> nn.Module | None:
    """Return a re-parameterised copy: training branches folded into single convolutions, the same function in eval.

    None for a network that has nothing to fold. Uses the methods by which timm's networks and their like do it.
    """
    if not any(hasattr(module, name) for module in model.modules() for name in FOLDS):
        return None
    folded: nn.Module = reparameterize_model(copy.deepcopy(model).eval(), inplace=True)
    before, after = (sum(p.numel() for p in network.parameters()) for network in (model, folded))
    return folded if after < before else None


def deployed_cost(model: nn.Module, size: Size) -> Cost | None:
    """Return the cost of the network as it would be deployed, None where that is the network itself."""
    folded = deployed(model)
    return None if folded is None else static_cost(folded, size)


def weight_bytes(model: nn.Module) -> int:
    """Return the size of the fp32 weights in bytes, buffers (running statistics) included."""
    tensors = [*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())]
    return FLOAT32 * sum(tensor.numel() for tensor in tensors)


def activation_bytes(model: nn.Module, size: Size) -> int:
    """Return the bytes that training keeps for the backward pass, per image, in fp32: the sum of `saved_bytes`."""
    return sum(saved_bytes(model, size, batch=2)) // 2


def saved_bytes(model: nn.Module, size: Size, batch: int) -> list[int]:
    """Return the bytes of each tensor that training keeps for the backward pass of so many images, in fp32.

    Counted by autograd's hooks: every tensor that is saved, once, without the weights. On the CPU, attention with
    dropout keeps its score matrices, which the fused kernels of a GPU do not. Raises `ModelError` as `forward`.
    """
    twin = copy.deepcopy(model).train()
    held = {t.untyped_storage().data_ptr() for t in [*twin.parameters(), *twin.buffers()]}
    saved: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in held:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    devices = {t.device for t in twin.parameters() if t.is_cuda}
    with (
        torch.random.fork_rng(devices=list(devices)),
        torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
    ):
        loss = forward(twin, batch, size).sum()  # alive until here, so that no storage is counted twice
    del loss
    return list(saved.values())


def training_bytes(model: nn.Module, activations: int, batch: int) -> int:
    """Return an estimate of the memory that fp32 training with Adam needs, in bytes.

    Weights, gradients, Adam's two moments and `activations` (see `activation_bytes`) for each image of the batch.
    PyTorch's tracker of every tensor of such a step agrees within a tenth; what a GPU's kernels take as workspace comes
    on top.
    """
    params = sum(p.numel() for p in model.parameters())
    return ADAM_COPIES * FLOAT32 * params + batch * activations


def forward(model: nn.Module, batch: int, size: Size) -> torch.Tensor:
    """Return the logits [batch, classes] of black images; raises `ModelError` where they cannot be had."""
    like = next(model.parameters())
    given = input_size(size)
    shape = (batch, given.channels, given.height, given.width)
    images = torch.zeros(shape, dtype=like.dtype, device=like.device)
    name = type(model).__name__
    try:
        logits: object = model(images)
    except (RuntimeError, ValueError, AssertionError, TypeError) as error:
        raise ModelError(f"{name} cannot take images of {given}: {error}") from error
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != batch:
        found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        raise ModelError(f"{name} returns {found} for {batch} images; expected logits of the shape ({batch}, classes)")
    return logits


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


def _flops(model: nn.Module, size: Size) -> tuple[int, int]:
    """Return the floating point operations of one image (2 per multiply-add) and the number of outputs."""
    counter = FlopCounterMode(display=False)
    with evaluating(model), torch.no_grad(), _countable_attention(), counter:
        logits = forward(model, 1, size)
    return counter.get_total_flops(), logits.shape[1]


def _head_params(model: nn.Module, outputs: int) -> int:
    """Return the parameters of the classifier: the last linear layer or 1x1 convolution with that many outputs."""
    for module in reversed(list(model.modules())):
        linear = isinstance(module, nn.Linear) and module.out_features == outputs
        convolution = isinstance(module, nn.Conv2d) and module.out_channels == outputs and module.kernel_size == (1, 1)
        if linear or convolution:
            return sum(p.numel() for p in module.parameters())
    return 0


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
