"""The network the paper calls ShuffleNet: ShuffleNetV2 widened to its budget, without the channel shuffle.

Without the shuffle the first half of a stage's channels passes every stride-1 block untouched; `shufflenet_canonical`
is the published design.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTHS = (64, 192, 360, 600, 1024)
REPEATS = (4, 8, 4)


def _pointwise(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def _depthwise(channels: int, stride: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
    ]


class DownBlock(nn.Module):
    """Both branches see all channels at stride 2; their outputs are concatenated."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.short = nn.Sequential(*_depthwise(inputs, 2), *_pointwise(inputs, half))
        self.long = nn.Sequential(*_pointwise(inputs, half), *_depthwise(half, 2), *_pointwise(half, half))

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H / 2, W / 2]."""
        return torch.cat((self.short(x), self.long(x)), dim=1)


class SplitBlock(nn.Module):
    """The second half of the channels is transformed, the first half is passed on as it is."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.long = nn.Sequential(*_pointwise(half, half), *_depthwise(half, 1), *_pointwise(half, half))

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels, H, W] to the same shape."""
        kept, changed = x.chunk(2, dim=1)
        return torch.cat((kept, self.long(changed)), dim=1)


class ShuffleNet(nn.Module):
    """The paper's ShuffleNet: stem and pooling to stride 4, three stages, 1024 features."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        stem, *stages, features = WIDTHS
        self.stem = nn.Sequential(
            nn.Conv2d(3, stem, 3, 2, padding=1, bias=False), nn.BatchNorm2d(stem), nn.ReLU(inplace=True)
        )
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        blocks: list[nn.Module] = []
        inputs = stem
        for outputs, repeats in zip(stages, REPEATS, strict=True):
            blocks += [DownBlock(inputs, outputs), *(SplitBlock(outputs) for _ in range(repeats - 1))]
            inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.features = nn.Sequential(*_pointwise(inputs, features))
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(features, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, 3, H, W] to logits [N, num_classes]."""
        y = self.features(self.blocks(self.pool(self.stem(x))))
        result: Tensor = self.head(self.global_pool(y).flatten(1))
        return result
