"""Small data and networks for the training tests."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mobilebench.training import Split, TrainData


def make_data(n: int = 48, side: int = 16, classes: int = 3, *, hflip: bool = True, n_test: int = 12) -> TrainData:
    rng = np.random.default_rng(7)
    labels = np.arange(n + n_test) % classes
    colours = rng.integers(40, 216, size=(classes, 1, 1, 3))
    noise = rng.integers(-30, 31, size=(n + n_test, side, side, 3))
    images = np.clip(colours[labels] + noise, 0, 255).astype(np.uint8)
    train = Split(images, labels, np.arange(n))
    test = Split(images, labels, np.arange(n, n + n_test))
    return TrainData(train, test, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), classes, hflip=hflip)


def make_net(classes: int = 3, *, dropout: float = 0.2) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(8, classes),
    )


@pytest.fixture
def data() -> TrainData:
    return make_data()
