"""Losses with label smoothing for images that carry two labels (CutMix)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from mobilebench.evaluation.target import ONE_CLASS

if TYPE_CHECKING:
    from collections.abc import Callable

    from mobilebench.evaluation.target import Target


def mixed_cross_entropy(logits: Tensor, first: Tensor, second: Tensor, kept: Tensor, smoothing: float) -> Tensor:
    """Mean over the batch of kept * CE(first) + (1 - kept) * CE(second), in nats.

    logits: [B, C]; first, second: labels [B]; kept: weight of `first` [B]. Equal to torch's cross_entropy with
    label_smoothing on both labels, from one log-softmax (the smoothing term does not depend on the label).
    """
    log_p = torch.log_softmax(logits.float(), dim=1)
    hit_first = log_p.gather(1, first[:, None]).squeeze(1)
    hit_second = log_p.gather(1, second[:, None]).squeeze(1)
    hits = torch.lerp(hit_second, hit_first, kept)
    return -((1 - smoothing) * hits + smoothing * log_p.mean(dim=1)).mean()


def mixed_binary_cross_entropy(logits: Tensor, first: Tensor, second: Tensor, kept: Tensor, smoothing: float) -> Tensor:
    """Mean over batch and classes of kept * BCE(first) + (1 - kept) * BCE(second), in nats, of logits [B, C].

    first, second: 0 and 1 [B, C]; kept: weight of `first` [B]. BCE is linear in its target, so both are one target.
    Smoothing moves each target by that share towards one half.
    """
    target = torch.lerp(second.float(), first.float(), kept[:, None])
    target = target * (1 - smoothing) + smoothing / 2
    return functional.binary_cross_entropy_with_logits(logits.float(), target)


def mixed_loss(target: Target) -> Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]:
    """The loss of a target: of logits, first and second labels, the weight of the first, and the label smoothing."""
    return mixed_cross_entropy if target in ONE_CLASS else mixed_binary_cross_entropy


def summed_loss(logits: Tensor, labels: Tensor, target: Target) -> Tensor:
    """Sum over a batch of each image's loss without smoothing, in nats; of several labels, of the mean over classes."""
    if target in ONE_CLASS:
        return functional.cross_entropy(logits, labels, reduction="sum")
    each = functional.binary_cross_entropy_with_logits(logits, labels.float(), reduction="none")
    return each.mean(dim=1).sum()
