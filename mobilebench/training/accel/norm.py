"""Batch normalisation on a CPU together with the activation after it: the same function in fewer passes over memory.

PyTorch writes what it has normalised, reads it for the activation and writes that; back again it reads and writes once
more for the activation. Here each is one pass to sum and one to write, in fp32 and in bf16, and what is between the two
layers is not kept for the way back. The code is `norm.cpp` beside this file.

Gain: see benchmarks/RESULTS.md. It can go when `python -m benchmarks.layers` shows PyTorch's own as fast.
"""

from __future__ import annotations

import ctypes
import math
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

from mobilebench.training.accel.native import library

if TYPE_CHECKING:
    from torch.autograd.function import FunctionCtx

# Values in a batch below which PyTorch is as fast (`python -m benchmarks.layers`). It is slow at few channels that fill
# no whole vectors, and where an activation follows, which costs it passes of their own; its batch normalisation alone
# is the faster one elsewhere in fp32.
_LEAST_RAGGED, _LEAST_WITH_ACTIVATION, _LEAST_BF16 = 1 << 18, 5 << 18, 16 << 18
_FEW = 70  # channels
_VECTOR, _ROW = 16, 128  # values of a vector in norm.cpp; columns of a row, at least
_CODES: dict[type, int] = {nn.Identity: 0, nn.ReLU: 1, nn.ReLU6: 2, nn.SiLU: 3, nn.Hardswish: 4}  # as in norm.cpp
_NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16"}


def fuse_norms(model: nn.Module) -> int:
    """Have the model's batch normalisations computed in the fast way, with an activation that follows; their number.

    In place; its state is unchanged. Applies to training on channels-last batches in fp32 or bf16; anything else goes
    PyTorch's way. Raises NoCompilerError when there are such layers and the code cannot be compiled.
    """
    norms = [module for module in model.modules() if type(module) in _FUSED]
    if norms:
        _native()
    for module in norms:
        module.__class__ = _FUSED[type(module)]
    for module in model.modules():
        if isinstance(module, nn.Sequential) and any(
            _pair(*two) for two in zip(module, list(module)[1:], strict=False)
        ):
            kind: Any = type(module)
            module.__class__ = _in_pairs(kind)
    return len(norms)


def _pair(norm: nn.Module, activation: nn.Module) -> bool:
    hooked = any(module._forward_hooks or module._forward_pre_hooks for module in (norm, activation))  # noqa: SLF001
    return type(norm) is _Norm and type(activation) in _CODES and not hooked


@cache
def _in_pairs(kind: Any) -> Any:
    """The kind of sequence with another forward pass; itself where it has one of its own."""
    if kind.forward is not nn.Sequential.forward:
        return kind

    def forward(self: nn.Sequential, input: Any) -> Any:  # noqa: A002 - torch's name
        modules = iter(zip(self, [*list(self)[1:], None], strict=True))
        for module, following in modules:
            if following is not None and _pair(module, following) and _fits(module, input, _CODES[type(following)]):
                input = _normalised(module, input, _CODES[type(following)])  # noqa: A001
                next(modules)
            else:
                input = module(input)  # noqa: A001
        return input

    return type(kind.__name__, (kind,), {"forward": forward, "__module__": kind.__module__})


class _Norm(nn.BatchNorm2d):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        return _normalised(self, input, 0) if _fits(self, input, 0) else super().forward(input)


class _NormAct(BatchNormAct2d):
    def forward(self, x: Tensor) -> Tensor:
        code = _CODES.get(type(self.act))
        if code is not None and type(self.drop) is nn.Identity and _fits(self, x, code):
            return _normalised(self, x, code)
        result: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return result


_FUSED: dict[type, type] = {nn.BatchNorm2d: _Norm, BatchNormAct2d: _NormAct}


def _fits(module: Any, images: Any, activation: int) -> bool:
    return (
        module.training
        and module.momentum is not None
        and module.affine
        and module.track_running_stats
        and images.dtype in _NAMES
        and images.device.type == "cpu"
        and images.is_contiguous(memory_format=torch.channels_last)
        and images.numel() >= _least(images, activation)
    )


def _least(images: Tensor, activation: int) -> float:
    """Values from which ours is faster than PyTorch's."""
    channels = images.shape[1]
    if channels < _FEW and channels % _VECTOR:
        return _LEAST_RAGGED
    if activation:
        return _LEAST_WITH_ACTIVATION
    return _LEAST_BF16 if images.dtype == torch.bfloat16 else math.inf


def _normalised(module: Any, images: Tensor, activation: int) -> Tensor:
    module.num_batches_tracked.add_(1)
    state = (module.running_mean, module.running_var, module.momentum, module.eps, activation)
    result: Tensor = _Normalisation.apply(images, module.weight, module.bias, *state)
    return result


class _Rows:
    """A tensor [N, C, H, W], channels last, as norm.cpp goes over it."""

    def __init__(self, images: Tensor) -> None:
        self.values, self.channels = images.numel(), images.shape[1]
        self.pixels = self.values // self.channels
        k = _VECTOR // math.gcd(self.channels, _VECTOR)
        self.k = k * max(1, _ROW // (k * self.channels))
        self.threads = torch.get_num_threads()
        self.name = _NAMES[images.dtype]

    def tiled(self, *of_channels: Tensor) -> list[Tensor]:
        """Each [C] as [L], fp32."""
        return [value.float().repeat(self.k) for value in of_channels]

    def sums(self, function: str, *tensors: Tensor, activation: tuple[int, ...] = ()) -> tuple[Tensor, Tensor]:
        """Two sums for each channel, [C] in fp64."""
        columns = self.k * self.channels
        sums = torch.zeros(self.threads, 2, columns, dtype=torch.float64, device="cpu")
        own = torch.empty(self.threads, 2, columns, dtype=torch.float32, device="cpu")
        self.call(function, *tensors, sums, own, activation=activation)
        first, second = sums.sum(0).view(2, self.k, self.channels).sum(1)
        return first, second

    def call(self, function: str, *tensors: Tensor, activation: tuple[int, ...]) -> None:
        """A function of norm.cpp on all rows."""
        pointers = [tensor.data_ptr() for tensor in tensors]
        sizes = (self.threads, self.values, self.k * self.channels, *activation)
        _native()[f"{function}_{self.name}"](*pointers, *sizes)


class _Normalisation(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, images: Tensor, weight: Tensor, bias: Tensor, running_mean: Tensor, running_var: Tensor,
        momentum: float, eps: float, activation: int,
    ) -> Tensor:  # fmt: skip
        rows = _Rows(images)
        # Sums about a value near the mean: squares far from zero would leave nothing to tell the variance by.
        about = images.permute(0, 2, 3, 1).flatten(0, 2)[:64].float().mean(0)
        first, second = rows.sums("forward_sums", images, *rows.tiled(about))
        apart = first / rows.pixels
        mean, variance = about + apart, (second / rows.pixels - apart.square()).clamp_min(0)
        running_mean.lerp_(mean.to(running_mean), momentum)
        running_var.lerp_((variance * (rows.pixels / (rows.pixels - 1))).to(running_var), momentum)
        invstd = torch.rsqrt(variance + eps)
        scale = weight * invstd
        shift = bias - mean * scale
        found = torch.empty_like(images)
        rows.call("forward_values", images, *rows.tiled(scale, shift), found, activation=(activation,))
        ctx.save_for_backward(images, mean, invstd, scale, shift)
        ctx.activation = activation  # type: ignore[attr-defined]
        return found

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        images, mean, invstd, scale, shift = ctx.saved_tensors
        grad, rows, code = grads[0].contiguous(memory_format=torch.channels_last), _Rows(images), (ctx.activation,)
        tiled = rows.tiled(mean, scale, shift)
        found = torch.empty_like(images)
        by_bias, moment = rows.sums("backward_sums", images, grad, *tiled, found, activation=code)
        # d images = scale * (grad - mean(grad) - normalised * mean(grad * normalised)), as one line in grad and images.
        slope = -scale * invstd.square() * moment / rows.pixels
        offset = -scale * by_bias / rows.pixels - slope * mean
        rows.call("backward_values", images, grad, *tiled[1:], *rows.tiled(slope, offset), found, activation=code)
        return found, (moment * invstd).float(), by_bias.float(), None, None, None, None, None


@cache
def _native() -> dict[str, Any]:
    """The functions of norm.cpp. Raises NoCompilerError."""
    pointers = {"forward_sums": 4, "backward_sums": 8, "forward_values": 4, "backward_values": 7}
    code, found = library("norm"), {}
    for name, count in pointers.items():
        for kind in _NAMES.values():
            function = code[f"{name}_{kind}"]
            sizes = 3 if name == "forward_sums" else 4
            function.argtypes = [ctypes.c_void_p] * count + [ctypes.c_int64] * sizes
            function.restype = None
            found[f"{name}_{kind}"] = function
    return found
