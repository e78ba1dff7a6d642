"""The block of the network the paper calls ShuffleNet: torchvision's ShuffleNetV2, widened, without its shuffle.

Without the shuffle the first half of a stage's channels passes every stride-1 block untouched; `shufflenet_canonical`
is the published design.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.models.shufflenetv2 import InvertedResidual


class Unshuffled(InvertedResidual):  # type: ignore[misc]
    """torchvision's block without its last step."""

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        if self.stride > 1:
            return torch.cat((self.branch1(x), self.branch2(x)), dim=1)
        kept, changed = x.chunk(2, dim=1)
        return torch.cat((kept, self.branch2(changed)), dim=1)
