"""Gradients of depthwise kernels that PyTorch is slow at on a CPU: the same sums, in an order that suits its caches.

In fp32 those of the weights of kernels of 5 pixels and more. In bf16, which PyTorch computes here without code of its
own for it, those of all weights and, at stride 2, of the images.

The code is `depthwise.cpp` beside this file.

Gain: see benchmarks/RESULTS.md. It can go when `python -m benchmarks.layers` shows PyTorch's own as fast.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from mobilebench.training.accel.native import library

_KERNELS, _STRIDES = (3, 5, 7, 9), (1, 2)  # what the code is written for
_LEAST_SIDE = {torch.float32: 5, torch.bfloat16: 3}  # of kernels that PyTorch is slow at
_LEAST = 2_000_000  # multiply-adds of a gradient below which handing it to threads costs more than it saves
_LEAST_OF_THREE = 100_000_000  # the same of 3 x 3 at stride 1, for which PyTorch has code in bf16 too


def use_fast_gradients(model: nn.Module, dtype: torch.dtype) -> int:
    """Have the model's depthwise kernels learn from our gradients where PyTorch is slow, in place; their number.

    dtype: that of the images between layers, fp32 or, under autocast, bf16. Its state is unchanged.
    Applies to training on channels-last batches of that type; anything else goes PyTorch's way.
    Raises NoCompilerError when there are such kernels and the code cannot be compiled.
    """
    layers = [m for m in model.modules() if type(m) is nn.Conv2d and _is_depthwise(m, _LEAST_SIDE[dtype])]
    if layers:
        _native()
    for layer in layers:
        layer.__class__ = _Depthwise
    return len(layers)


def _is_depthwise(layer: nn.Conv2d, least: int) -> bool:
    side = layer.weight.shape[-1]
    return (
        layer.groups == layer.in_channels == layer.out_channels
        and side in _KERNELS
        and side >= least
        and layer.kernel_size == (side, side)
        and layer.stride in [(stride, stride) for stride in _STRIDES]
        and layer.padding in ("same", (side // 2, side // 2))
        and layer.padding_mode == "zeros"
        and layer.dilation == (1, 1)
    )


class _Depthwise(nn.Conv2d):
    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: A002 - torch's name
        found: Tensor
        if torch.is_autocast_enabled("cpu") and input.dtype == torch.float32:  # a network's first layer
            input = input.to(torch.get_autocast_dtype("cpu"))  # noqa: A001
        if _fits(input, self):
            found = _Convolution.apply(input, weight, bias, self.stride[0])
        else:
            found = super()._conv_forward(input, weight, bias)
        return found


def _fits(images: Tensor, layer: nn.Conv2d) -> bool:
    side = layer.kernel_size[0]
    work = images.numel() * side**2 // layer.stride[0] ** 2
    return (
        layer.training
        and images.dtype == (torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32)
        and side >= _LEAST_SIDE[images.dtype]
        and images.device.type == "cpu"
        and images.is_contiguous(memory_format=torch.channels_last)
        and work >= (_LEAST_OF_THREE if side == 3 and layer.stride[0] == 1 else _LEAST)
    )


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, weight: Tensor, bias: Tensor | None, stride: int) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.stride = stride
        kernel, shift = weight.to(images.dtype), None if bias is None else bias.to(images.dtype)
        return torch.conv2d(images, kernel, shift, stride, weight.shape[-1] // 2, 1, len(weight))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        images, weight = ctx.saved_tensors
        grad = grads[0].contiguous(memory_format=torch.channels_last)
        by_images = by_weight = by_bias = None
        if ctx.needs_input_grad[0]:
            by_images = _by_images(images, weight, grad, ctx.stride)
        if ctx.needs_input_grad[1]:
            by_weight = torch.ops.mobilebench.depthwise_weight_grad(images, grad, weight.shape[-1], ctx.stride)
        if ctx.needs_input_grad[2]:  # asked of PyTorch, it would compute its gradient of the weights too
            by_bias = grad.sum((0, 2, 3), dtype=weight.dtype)
        return by_images, by_weight, by_bias, None


def _by_images(images: Tensor, weight: Tensor, grad: Tensor, stride: int) -> Tensor:
    """The gradient of the images: PyTorch's, but for bf16 at stride 2."""
    found: Tensor
    if images.dtype == torch.bfloat16 and stride == 2:
        found = torch.ops.mobilebench.depthwise_input_grad(grad, weight, *images.shape[2:])
        return found
    side = weight.shape[-1]
    found, _, _ = torch.ops.aten.convolution_backward(
        grad, images, weight.to(images.dtype), None, [stride] * 2, [side // 2] * 2, [1, 1], False, [0, 0], len(weight),  # noqa: FBT003
        [True, False, False],
    )  # fmt: skip
    return found


_WEIGHTS = "(Tensor images, Tensor grad, int side, int stride) -> Tensor"
_IMAGES = "(Tensor grad, Tensor weight, int height, int width) -> Tensor"


@torch.library.custom_op("mobilebench::depthwise_weight_grad", mutates_args=(), device_types="cpu", schema=_WEIGHTS)
def depthwise_weight_grad(images: Tensor, grad: Tensor, side: int, stride: int) -> Tensor:
    """The gradient [C, 1, side, side], fp32, of a depthwise convolution's weights, zero-padded by side // 2.

    images [N, C, H, W] and grad [N, C, H', W'], both fp32 or both bf16, on the CPU. Raises ValueError for anything
    else.
    """
    shape = (*images.shape[:2], *((length - 1) // stride + 1 for length in images.shape[2:]))
    if grad.shape != shape or images.dtype != grad.dtype or images.dtype not in _LEAST_SIDE:
        raise ValueError(
            f"gradients are {tuple(grad.shape)}, {grad.dtype}, images {images.dtype}; expected {shape}, both fp32 or "
            "both bf16"
        )
    images, grad = (tensor.contiguous(memory_format=torch.channels_last) for tensor in (images, grad))
    threads, channels = min(torch.get_num_threads(), len(images)), images.shape[1]
    sums = torch.zeros(threads, side, side, channels, dtype=torch.float32, device="cpu")
    sizes = (threads, *images.shape, *grad.shape[2:], side, stride)
    pointers = (images.data_ptr(), grad.data_ptr(), sums.data_ptr())
    if not _native().depthwise_weight_grad(*pointers, images.dtype == torch.bfloat16, *sizes):
        raise ValueError(f"no code for kernels of {side} at stride {stride}; there is for {_KERNELS} at {_STRIDES}")
    return sums.sum(0).permute(2, 0, 1).unsqueeze(1).contiguous()


@depthwise_weight_grad.register_fake
def _(images: Tensor, grad: Tensor, side: int, stride: int) -> Tensor:  # noqa: ARG001 - the operator's arguments
    return images.new_empty(images.shape[1], 1, side, side, dtype=torch.float32)


@torch.library.custom_op("mobilebench::depthwise_input_grad", mutates_args=(), device_types="cpu", schema=_IMAGES)
def depthwise_input_grad(grad: Tensor, weight: Tensor, height: int, width: int) -> Tensor:
    """The gradient [N, C, height, width] of the images of a depthwise convolution at stride 2, in bf16, channels last.

    grad [N, C, H', W'] in bf16, weight [C, 1, side, side] in fp32, on the CPU; padded by side // 2. The weights count
    as rounded to bf16, as in the forward pass. Raises ValueError for anything else.
    """
    side, shape = weight.shape[-1], (*grad.shape[:2], (height - 1) // 2 + 1, (width - 1) // 2 + 1)
    if grad.shape != shape or grad.dtype != torch.bfloat16 or weight.dtype != torch.float32:
        raise ValueError(f"gradients are {tuple(grad.shape)}, {grad.dtype}; expected {shape}, torch.bfloat16")
    grad = grad.contiguous(memory_format=torch.channels_last)
    kernel = weight.bfloat16().float().squeeze(1).permute(1, 2, 0).contiguous()
    found = torch.empty(*grad.shape[:2], height, width, dtype=torch.bfloat16, memory_format=torch.channels_last)
    sizes = (*found.shape, *grad.shape[2:], side)
    if not _native().depthwise_input_grad(grad.data_ptr(), kernel.data_ptr(), found.data_ptr(), *sizes):
        raise ValueError(f"no code for kernels of {side}; there is for {_KERNELS}")
    return found


@depthwise_input_grad.register_fake
def _(grad: Tensor, weight: Tensor, height: int, width: int) -> Tensor:  # noqa: ARG001 - the operator's arguments
    return torch.empty(
        *grad.shape[:2], height, width, dtype=grad.dtype, device=grad.device, memory_format=torch.channels_last
    )


@cache
def _native() -> ctypes.CDLL:
    """The functions of depthwise.cpp. Raises NoCompilerError."""
    code = library("depthwise")
    for function, sizes in ((code.depthwise_weight_grad, 10), (code.depthwise_input_grad, 7)):
        function.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_int64] * sizes
        function.restype = ctypes.c_int
    return code
