"""A network that needs no training: it tells dark images from light ones, as those of tests/grids.py are."""

from __future__ import annotations

import torch
from torch import nn

SIDE = 16


class Bright(nn.Module):
    """Tells dark images from light ones by their mean; the rest of it is there to be quantised."""

    def __init__(self, outlier: float = 1.0) -> None:
        """outlier: of what a channel that nothing is read from is a multiple."""
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.head = nn.Linear(8, 2)
        with torch.no_grad():
            self.stem.weight.normal_(0, 0.05)
            self.stem.weight[0] = 1 / 27
            self.stem.weight[1] *= outlier
            self.head.weight.normal_(0, 0.05)
            self.head.weight[:, 0] = torch.tensor([-1.0, 1.0])
            self.head.weight[:, 1] = 0.0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        logits: torch.Tensor = self.head(self.stem(images).mean((2, 3)))
        return logits
