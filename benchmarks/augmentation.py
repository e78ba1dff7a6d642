"""Images per second of one core through crop, flip, colour jitter and normalisation, alternating between contenders."""

from __future__ import annotations

import time
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torchvision.transforms import v2

from benchmarks.contenders import CLASSES, paper_transform, stored_images
from mobilebench.config.recipe import Augment, Recipe
from mobilebench.training import Split, TrainData
from mobilebench.training.augment import Augmenter
from mobilebench.training.data import IMAGENET

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES = ((32, 32), (32, 224), (256, 224))
_BATCH = 64


def table(rounds: int) -> list[str]:
    """Markdown rows: stored and output side, contender, images/s (median of `rounds`), ratio to torchvision v2."""
    torch.set_num_threads(1)
    rows = ["| stored px | output px | contender | images/s/core | times torchvision v2 | n |", "|-|-|-|-|-|-|"]
    for stored, size in SIZES:
        actions = _contenders(stored, size)
        rates: dict[str, list[float]] = {name: [] for name in actions}
        for action in actions.values():
            action()
        for _ in range(rounds):
            for name, action in actions.items():
                start = time.perf_counter()
                action()
                rates[name].append(_BATCH / (time.perf_counter() - start))
        for name, measured in rates.items():
            ratio = median(mine / base for mine, base in zip(measured, rates["torchvision v2"], strict=True))
            rows.append(f"| {stored} | {size} | {name} | {median(measured):.0f} | {ratio:.2f} | {rounds} |")
    return rows


def _contenders(stored: int, size: int) -> dict[str, Callable[[], object]]:
    images = stored_images(_BATCH, stored)
    pictures = [Image.fromarray(image) for image in images]
    tensors = [torch.from_numpy(image).permute(2, 0, 1).contiguous() for image in images]
    by_pil, by_v2 = paper_transform(size), _v2(size)
    actions: dict[str, Callable[[], object]] = {
        "torchvision v2": lambda: torch.stack([by_v2(tensor) for tensor in tensors]),
        "torchvision PIL": lambda: torch.stack([by_pil(picture) for picture in pictures]),
        "ours eager": _ours(images, size, compiled=False),
        "ours compiled": _ours(images, size, compiled=True),
    }
    if find_spec("kornia") is not None:
        actions["kornia"] = _kornia(images, size)
    return actions


def _v2(size: int) -> Callable[[torch.Tensor], Any]:
    steps = [
        v2.RandomResizedCrop(size, scale=(0.9, 1.0), ratio=(1.0, 1.0), antialias=True),
        v2.RandomHorizontalFlip(),
        v2.ColorJitter(0.2, 0.3, 0.3, 0.2),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(*IMAGENET),
    ]
    chain: Callable[[torch.Tensor], Any] = v2.Compose(steps)
    return chain


def _ours(images: Any, size: int, *, compiled: bool) -> Callable[[], object]:
    split = Split(images, np.arange(_BATCH) % CLASSES, np.arange(_BATCH))
    recipe = replace(Recipe(resolution=size, batch_size=_BATCH), augment=Augment(cutmix_alpha=0))
    augmenter = Augmenter(recipe, TrainData(split, None, split, *IMAGENET, CLASSES), torch.device("cpu"))
    augmenter.compile_colour(_BATCH if compiled else None)
    stored = torch.from_numpy(images)
    return lambda: augmenter.images(stored, augmenter.draw(0, 0, [_BATCH]))


def _kornia(images: Any, size: int) -> Callable[[], object]:
    augmentation: Any = import_module("kornia.augmentation")  # optional, so not known to the type checker
    chain = augmentation.AugmentationSequential(
        augmentation.RandomResizedCrop((size, size), scale=(0.9, 1.0), ratio=(1.0, 1.0)),
        augmentation.RandomHorizontalFlip(),
        augmentation.ColorJitter(0.2, 0.3, 0.3, 0.2),
        augmentation.Normalize(*IMAGENET),
    )
    stored = torch.from_numpy(images)
    return lambda: chain(stored.permute(0, 3, 1, 2).float() / 255)
