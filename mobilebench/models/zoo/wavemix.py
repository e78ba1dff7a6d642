"""WaveMix-192/16, an image classifier that mixes pixels by the discrete wavelet transform (Jeevan et al., 2022).

Modules and tensors have the names of the authors' package, so that their published weights load. Its transform needs
another library and keeps its filters on one device; the Haar wavelet is four sums of neighbours, written out here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

WIDTH = 192
DEPTH = 16
EXPANSION = 2
DROPOUT = 0.5
PATCH = 4
LEVELS = 3
STEP = PATCH * 2**LEVELS  # the stem takes patches of four pixels, each level halves what is left


class FeedForward(nn.Sequential):
    """Mix the channels of every pixel, then enlarge the map twofold: [N, inputs, H, W] to [N, outputs, 2H, 2W]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, WIDTH * EXPANSION, 1),
            nn.GELU(),
            nn.Dropout(DROPOUT),
            nn.Conv2d(WIDTH * EXPANSION, WIDTH, 1),
            nn.ConvTranspose2d(WIDTH, outputs, 4, stride=2, padding=1),
            nn.BatchNorm2d(outputs),
        )


class Block(nn.Module):
    """Three levels of the wavelet transform of a narrowed map, mixed from the smallest to the largest."""

    def __init__(self) -> None:
        super().__init__()
        half = WIDTH // 2
        self.feedforward1 = FeedForward(WIDTH + half, WIDTH)
        self.feedforward2 = FeedForward(WIDTH + half, half)
        self.feedforward3 = FeedForward(WIDTH, half)
        self.reduction = nn.Conv2d(WIDTH, WIDTH // 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, WIDTH, H, W] to the same shape; H and W are multiples of 8."""
        levels, low = [], self.reduction(x)
        for _ in range(LEVELS):
            low, details = haar(low)
            levels.append(torch.cat([low, details], dim=1))  # [N, WIDTH, H / 2, W / 2], then a quarter, an eighth
        first, second, third = levels
        mixed = torch.cat([second, self.feedforward3(third)], dim=1)
        result: Tensor = self.feedforward1(torch.cat([first, self.feedforward2(mixed)], dim=1))
        return result


class WaveMix(nn.Module):
    """WaveMix-192/16: a stem of stride 4, sixteen residual blocks, the mean over all pixels, one linear layer."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block() for _ in range(DEPTH))
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, num_classes))
        self.conv = nn.Sequential(
            nn.Conv2d(3, WIDTH // 4, 3, padding=1),
            nn.Conv2d(WIDTH // 4, WIDTH // 2, 3, padding=1),
            nn.Conv2d(WIDTH // 2, WIDTH, PATCH, stride=PATCH),
            nn.GELU(),
            nn.BatchNorm2d(WIDTH),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, 3, H, W] to logits [N, num_classes]; H and W are multiples of 32, or ValueError is raised."""
        height, width = x.shape[2:]
        if height % STEP or width % STEP:
            raise ValueError(f"WaveMix halves maps down to 1/{STEP}; height and width must be multiples of {STEP} px")
        y = self.conv(x)
        for block in self.layers:
            y = block(y) + y
        logits: Tensor = self.pool(y)
        return logits


def haar(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return one level of the Haar wavelet transform, which keeps the energy of [N, C, H, W]; H and W are even.

    The first part [N, C, H / 2, W / 2] is half the sum of each square of four pixels, the second [N, 3 C, H / 2, W / 2]
    holds for each channel in turn its differences: of the rows, of the columns, of the diagonals.
    """
    top, bottom = x[:, :, ::2], x[:, :, 1::2]
    sums, differences = (top + bottom) / 2, (top - bottom) / 2
    low = sums[..., ::2] + sums[..., 1::2]
    rows = differences[..., ::2] + differences[..., 1::2]
    columns = sums[..., ::2] - sums[..., 1::2]
    diagonals = differences[..., ::2] - differences[..., 1::2]
    return low, torch.stack([rows, columns, diagonals], dim=2).flatten(1, 2)
