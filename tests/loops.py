"""A training loop small enough for a test: coloured noise, and a network with batch norm and dropout."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from mobilebench.config.recipe import Recipe
from mobilebench.config.runtime import Runtime
from mobilebench.training import EpochResult, Split, TrainData, Trainer

CPU = Runtime(device="cpu", threads=1)  # test processes share the cores
RECIPE = Recipe(epochs=4, warmup_epochs=1, batch_size=16, resolution=24, lr=0.01)


def make_data(n: int = 48, side: int = 16, classes: int = 3, *, hflip: bool = True, n_test: int = 12) -> TrainData:
    rng = np.random.default_rng(7)
    labels = np.arange(n + n_test) % classes
    colours = rng.integers(40, 216, size=(classes, 1, 1, 3))
    noise = rng.integers(-30, 31, size=(n + n_test, side, side, 3))
    images = np.clip(colours[labels] + noise, 0, 255).astype(np.uint8)
    train = Split(images, labels, np.arange(n))
    test = Split(images, labels, np.arange(n, n + n_test))
    return TrainData(train, None, test, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), classes, hflip=hflip)


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


def train(
    data: TrainData, recipe: Recipe = RECIPE, runtime: Runtime = CPU, seed: int = 0
) -> tuple[Trainer, list[EpochResult]]:
    trainer = Trainer(make_net(), data, recipe, seed, runtime)
    return trainer, list(trainer.epochs())


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
