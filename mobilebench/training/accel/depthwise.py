"""The gradient of depthwise kernels of 5 pixels and more on a CPU: the same sums, in an order that suits its caches.

The code is `depthwise.cpp` beside this file, compiled by the machine's own compiler in about two seconds when a trainer
asks for it. It runs on PyTorch's own OpenMP threads; any others would have to fight for the cores with these.

Gain: PyTorch's was up to a quarter of a network's whole step; a layer is 1.6 to 3.4 times as fast with ours, forward
and backward (benchmarks/RESULTS.md). It can go when `python -m benchmarks.layers` shows PyTorch's own as fast.
"""

from __future__ import annotations

import ctypes
import subprocess
from functools import cache
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

_KERNELS, _STRIDES = (5, 7, 9), (1, 2)  # what the code is written for; PyTorch's is as fast for smaller kernels
_LEAST = 2_000_000  # multiply-adds of a gradient below which handing it to threads costs more than it saves


class NoCompilerError(Exception):
    """The code could not be compiled here; the message says why."""


def use_fast_gradients(model: nn.Module) -> int:
    """Have the model's large depthwise kernels learn from our gradient, in place; their number. Its state is unchanged.

    Applies to training on channels-last fp32 batches; anything else goes PyTorch's way.
    Raises NoCompilerError when there are such kernels and the code cannot be compiled.
    """
    layers = [module for module in model.modules() if type(module) is nn.Conv2d and _is_large_depthwise(module)]
    if layers:
        _native()
    for layer in layers:
        layer.__class__ = _Depthwise
    return len(layers)


def _is_large_depthwise(layer: nn.Conv2d) -> bool:
    side = layer.weight.shape[-1]
    return (
        layer.groups == layer.in_channels == layer.out_channels
        and side in _KERNELS
        and layer.kernel_size == (side, side)
        and layer.stride in [(stride, stride) for stride in _STRIDES]
        and layer.padding in ("same", (side // 2, side // 2))
        and layer.padding_mode == "zeros"
        and layer.dilation == (1, 1)
    )


class _Depthwise(nn.Conv2d):
    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002 - torch's name
        found: Tensor
        if _fits(input, self):
            found = _Convolution.apply(input, weight, bias, self.stride[0])
        else:
            found = super()._conv_forward(input, weight, bias)
        return found


def _fits(images: Tensor, layer: nn.Conv2d) -> bool:
    work = images.numel() * layer.kernel_size[0] ** 2 // layer.stride[0] ** 2
    return (
        layer.training
        and images.dtype == torch.float32
        and images.device.type == "cpu"
        and images.is_contiguous(memory_format=torch.channels_last)
        and not torch.is_autocast_enabled("cpu")
        and work >= _LEAST
    )


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.stride = stride
        return torch.conv2d(images, weight, bias, stride, weight.shape[-1] // 2, 1, len(weight))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        images, weight = ctx.saved_tensors
        grad = grads[0].contiguous(memory_format=torch.channels_last)
        side = weight.shape[-1]
        by_images = by_weight = by_bias = None
        if ctx.needs_input_grad[0]:
            by_images, _, _ = torch.ops.aten.convolution_backward(
                grad, images, weight, None, [ctx.stride] * 2, [side // 2] * 2, [1, 1], False, [0, 0], len(weight),  # noqa: FBT003
                [True, False, False],
            )  # fmt: skip
        if ctx.needs_input_grad[1]:
            by_weight = torch.ops.mobilebench.depthwise_weight_grad(images, grad, side, ctx.stride)
        if ctx.needs_input_grad[2]:  # asked of PyTorch, it would compute its gradient of the weights too
            by_bias = grad.sum((0, 2, 3))
        return by_images, by_weight, by_bias, None


_SCHEMA = "(Tensor images, Tensor grad, int side, int stride) -> Tensor"


# An operator of PyTorch's, so that torch.compile takes it as it is.
@torch.library.custom_op("mobilebench::depthwise_weight_grad", mutates_args=(), device_types="cpu", schema=_SCHEMA)
def depthwise_weight_grad(images: Tensor, grad: Tensor, side: int, stride: int) -> Tensor:
    """The gradient [C, 1, side, side] of a depthwise convolution's weights, zero-padded by side // 2.

    images [N, C, H, W] and grad [N, C, H', W'], both fp32, on the CPU. Raises ValueError for anything else.
    """
    shape = (*images.shape[:2], *((length - 1) // stride + 1 for length in images.shape[2:]))
    if grad.shape != shape or not images.dtype == grad.dtype == torch.float32:
        raise ValueError(f"gradients are {tuple(grad.shape)}, {grad.dtype}; expected {shape}, torch.float32")
    images, grad = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (images, grad))
    threads, channels = min(torch.get_num_threads(), len(images)), images.shape[1]
    sums = torch.zeros(threads, side, side, channels, dtype=torch.float32, device="cpu")
    sizes = (threads, *images.shape, *grad.shape[2:], side, stride)
    if not _native()(images.data_ptr(), grad.data_ptr(), sums.data_ptr(), *sizes):
        raise ValueError(f"no code for kernels of {side} at stride {stride}; there is for {_KERNELS} at {_STRIDES}")
    return sums.sum(0).permute(2, 0, 1).unsqueeze(1).contiguous()


@depthwise_weight_grad.register_fake
def _(images: Tensor, grad: Tensor, side: int, stride: int) -> Tensor:  # noqa: ARG001 - the operator's arguments
    return images.new_empty(images.shape[1], 1, side, side)


def _native() -> Any:
    """The compiled function. Raises NoCompilerError."""
    found = _compiled_once()
    if isinstance(found, NoCompilerError):
        raise found
    return found


@cache
def _compiled_once() -> Any:
    compiler = which("g++")
    if compiler is None:
        return NoCompilerError("there is no g++")
    try:
        with TemporaryDirectory(prefix="mobilebench", ignore_cleanup_errors=True) as folder:
            function = ctypes.CDLL(_compile(compiler, Path(folder))).depthwise_weight_grad
    except subprocess.CalledProcessError as error:
        return NoCompilerError(f"{compiler} says {(error.stderr.strip().splitlines() or ['nothing'])[0]}")
    except (subprocess.TimeoutExpired, OSError) as error:
        return NoCompilerError(str(error))
    function.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_int64] * 9
    function.restype = ctypes.c_int
    return function


def _compile(compiler: str, folder: Path) -> str:
    """The library's path. Linked without an OpenMP of its own, it finds PyTorch's, which is loaded for all to see."""
    parts, library = str(folder / "depthwise.o"), str(folder / "depthwise.so")
    source = str(Path(__file__).with_suffix(".cpp"))
    for how in (
        ["-O3", "-march=native", "-std=c++17", "-fopenmp", "-fPIC", "-c", source, "-o", parts],
        ["-shared", parts, "-o", library],
    ):
        subprocess.run([compiler, *how], check=True, capture_output=True, text=True, timeout=60)  # noqa: S603 - our file
    return library
