"""Cross-entropy with label smoothing for images that carry two labels (CutMix)."""

from __future__ import annotations

import torch
from torch import Tensor


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
