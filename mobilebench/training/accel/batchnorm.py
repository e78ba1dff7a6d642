"""Batch normalisation for few channels on a CPU: the same function, computed over rows of many pixels at once.

PyTorch's kernel goes over a channels-last tensor pixel by pixel, a vector of C values at a time; with C small or no
multiple of the vector's length most of each vector is empty. Here k neighbouring pixels count as one row of k * C
columns, which are normalised with their channels' common statistics.

Gain: a layer is 1.5 to 3.5 times as fast where it is used, but for 40 channels, the same (benchmarks/RESULTS.md). It
can go when `python -m benchmarks.layers` shows PyTorch's own kernel as fast for few channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn

if TYPE_CHECKING:
    from torch.autograd.function import FunctionCtx

_COLUMNS = 512  # of a row, at most: long enough for any vector unit, short enough for the cache
_VECTOR = 16  # fp32 values in the widest vector register; multiples of it are fast as they are
_MOST = 64  # channels from which PyTorch's kernel is as fast
_LEAST = 1 << 18  # values in a batch below which the calls themselves cost more


def fold_batch_norms(model: nn.Module) -> None:
    """Have the model's batch normalisations of few channels computed in the fast way, in place; its state is unchanged.

    Applies to training on channels-last fp32 batches; anything else goes PyTorch's way.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.num_features < _MOST and module.num_features % _VECTOR:
            module.__class__ = _FOLDED.get(type(module), type(module))


class _Folded(nn.BatchNorm2d):
    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        return _normalised(self, input) if _fits(self, input) else super().forward(input)


class _FoldedAct(BatchNormAct2d):
    def forward(self, x: Tensor) -> Tensor:
        normalised = _normalised(self, x) if _fits(self, x) else None
        result: Tensor = super().forward(x) if normalised is None else self.act(self.drop(normalised))  # type: ignore[no-untyped-call]
        return result


_FOLDED: dict[type, type] = {nn.BatchNorm2d: _Folded, BatchNormAct2d: _FoldedAct}


def _fits(module: nn.BatchNorm2d, images: Tensor) -> bool:
    return (
        module.training
        and module.momentum is not None
        and module.affine
        and module.track_running_stats
        and images.dtype == torch.float32
        and images.device.type == "cpu"
        and images.is_contiguous(memory_format=torch.channels_last)
        and images.numel() >= _LEAST
    )


def _normalised(module: Any, images: Tensor) -> Tensor:
    module.num_batches_tracked.add_(1)
    state = (module.running_mean, module.running_var, module.momentum, module.eps)
    result: Tensor = _BatchNorm.apply(images, module.weight, module.bias, *state)
    return result


def _rows(images: Tensor) -> Tensor:
    """The tensor [N, C, H, W], channels last, as a view [pixels / k, k * C]."""
    channels, pixels = images.shape[1], images.numel() // images.shape[1]
    k = 1
    while channels * k < _COLUMNS and pixels % (2 * k) == 0:
        k *= 2
    return images.permute(0, 2, 3, 1).reshape(pixels // k, k * channels)


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, images: Tensor, weight: Tensor, bias: Tensor, running_mean: Tensor, running_var: Tensor,
        momentum: float, eps: float,
    ) -> Tensor:  # fmt: skip
        rows, channels = _rows(images), len(weight)
        k, pixels = rows.shape[1] // channels, images.numel() // channels
        ones = rows.new_ones(rows.shape[1])
        means, variances = (v.view(k, channels) for v in torch.batch_norm_update_stats(rows, ones, ones.clone(), 0.0))
        mean = means.mean(0)
        variance = variances.mean(0) + (means - mean).square().mean(0)  # of columns of equally many pixels each
        running_mean.lerp_(mean, momentum)
        running_var.lerp_(variance * (pixels / (pixels - 1)), momentum)
        invstd = torch.rsqrt(variance + eps)
        scale = weight * invstd
        ctx.save_for_backward(images, mean, invstd, weight)
        out = torch.empty_like(images)
        torch.addcmul((bias - mean * scale).repeat(k), rows, scale.repeat(k), out=_rows(out))
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        images, mean, invstd, weight = ctx.saved_tensors
        grad = grads[0].contiguous(memory_format=torch.channels_last)
        rows, slopes, channels = _rows(images), _rows(grad), len(weight)
        k, pixels = rows.shape[1] // channels, images.numel() // channels
        tiled_mean, tiled_invstd = mean.repeat(k), invstd.repeat(k)
        _, by_weight, by_bias = torch.ops.aten.native_batch_norm_backward(
            slopes, rows, torch.ones_like(tiled_mean), tiled_mean, tiled_invstd, tiled_mean, tiled_invstd,
            train=True, eps=0.0, output_mask=[False, True, True],
        )  # fmt: skip
        weight_grad, bias_grad = by_weight.view(k, channels).sum(0), by_bias.view(k, channels).sum(0)
        # d images = scale * (grad - mean(grad) - normalised * mean(grad * normalised)), as one line in grad and images.
        scale = weight * invstd
        slope = -scale * invstd * weight_grad / pixels
        offset = -scale * bias_grad / pixels - slope * mean
        found = torch.empty_like(images)
        torch.addcmul(offset.repeat(k), rows, slope.repeat(k), out=_rows(found)).addcmul_(slopes, scale.repeat(k))
        return found, weight_grad, bias_grad, None, None, None, None
