"""The training loops that are compared, each as an endless iterator over steps of one batch.

paper: the released code's way (torchvision per image, DataLoader without workers, eager fp32, a sync per step).
timm: timm's transforms, loader and CutMix with its flags for the machine (channels-last, fused optimiser, a worker per
thread; bf16 when asked). ours: `mobilebench.training`. All see the same stored uint8 images, batch, resolution,
augmentation (crop, flip, colour jitter, CutMix), loss and optimiser.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from mobilebench.config.pixels import sides
from mobilebench.config.runtime import Runtime
from mobilebench.training import Split, TrainData, Trainer, loop
from mobilebench.training.accel.plan import make_plan
from mobilebench.training.data import IMAGENET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mobilebench.config.recipe import Recipe

# What a technique of ours is worth: without it, in fp32 and, with "_bf16" after it, in bf16.
WITHOUT: dict[str, dict[str, Any]] = {
    "ours_without_norm": {"fuse_norms": False},
    "ours_without_depthwise": {"own_depthwise": False},
    "ours_without_allocator": {"keep_freed_memory": False},
}
CONTENDERS = (
    "paper", "timm", "timm_bf16", "ours", "ours_bf16", "ours_compiled", "ours_bf16_compiled", *WITHOUT,
    *(f"{name}_bf16" for name in WITHOUT),
)  # fmt: skip
CLASSES = 10


def stored_images(n: int, side: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Random uint8 images [n, side, side, 3]; what they show does not change the time they take."""
    return np.random.default_rng(0).integers(0, 256, size=(n, side, side, 3), dtype=np.uint8)


def steps_of(contender: str, model: nn.Module, stored: int, recipe: Recipe, threads: int) -> Iterator[None]:
    """Endless training steps of `contender` on images stored at `stored` pixels; each item is one finished step."""
    torch.set_num_threads(threads)
    # On a GPU eight batches are augmented at once, and what is done once an epoch must not fall into every eighth step.
    images = stored_images((256 if torch.cuda.is_available() else 8) * recipe.batch_size, stored)
    labels = np.arange(len(images)) % CLASSES
    if contender.startswith("ours"):
        runtime = Runtime(acceleration="on" if contender.endswith("compiled") else "auto")
        return _ours(model, images, labels, recipe, runtime, WITHOUT.get(contender.removesuffix("_bf16"), {}))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if contender == "paper":
        return _paper(
            model.to(device), Pictures(images, labels, paper_transform(min(sides(recipe.resolution)))), recipe, device
        )
    loader = _timm_loader(images, labels, recipe, device, threads)
    return _timm(model.to(device), loader, recipe, device, bf16=contender.endswith("bf16"))


class Pictures(Dataset[tuple[Any, int]]):
    """Stored images as PIL images through a per-image transform."""

    def __init__(
        self,
        images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
        labels: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
        transform: Callable[[Image.Image], Any] | None = None,
    ) -> None:
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        """The transformed image and its label."""
        image = Image.fromarray(self.images[index])
        return (self.transform(image) if self.transform else image), int(self.labels[index])


def paper_transform(resolution: int) -> Callable[[Image.Image], Any]:
    """Section 3 of the paper as the released loaders write it, without their RandAugment."""
    steps = [
        transforms.RandomResizedCrop(resolution, scale=(0.9, 1.0), ratio=(1.0, 1.0)),
        transforms.RandomHorizontalFlip(),
        transforms.ColorJitter(0.2, 0.3, 0.3, 0.2),
        transforms.ToTensor(),
        transforms.Normalize(*IMAGENET),
    ]
    chain: Callable[[Image.Image], Any] = transforms.Compose(steps)
    return chain


def _ours(
    model: nn.Module, images: Any, labels: Any, recipe: Recipe, runtime: Runtime, without: dict[str, Any]
) -> Iterator[None]:
    rows = np.arange(len(images))
    split = Split(images, labels, rows)
    # A contender has a process of its own, so the plan may be another for all of it.
    vars(loop)["make_plan"] = lambda *about: replace(make_plan(*about), **without)
    trainer = Trainer(model, TrainData(split, None, split, *IMAGENET, CLASSES), recipe, 0, runtime)
    while True:
        for _ in trainer.steps():
            yield
        trainer.epoch += 1


def _paper(model: nn.Module, data: Pictures, recipe: Recipe, device: torch.device) -> Iterator[None]:
    criterion = nn.CrossEntropyLoss(label_smoothing=recipe.label_smoothing)
    optimizer = torch.optim.Adam(model.parameters(), lr=recipe.lr)
    model.train()
    while True:
        for loaded, target in DataLoader(data, recipe.batch_size, shuffle=True):
            images, labels = loaded.to(device), target.to(device)
            kept, partner = _cutmix(images)
            logits = model(images)
            loss = kept * criterion(logits, labels) + (1 - kept) * criterion(logits, labels[partner])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            loss.item()
            yield


def _cutmix(images: torch.Tensor) -> tuple[float, torch.Tensor]:
    """One box per batch, as in the released code."""
    kept = float(np.random.default_rng().beta(1.0, 1.0))
    size = images.shape[2]
    half = int(size * np.sqrt(1 - kept)) // 2
    y, x = np.random.default_rng().integers(0, size, 2)
    partner = torch.randperm(len(images), device=images.device)
    top, bottom, left, right = max(0, y - half), min(size, y + half), max(0, x - half), min(size, x + half)
    images[:, :, top:bottom, left:right] = images[partner, :, top:bottom, left:right]
    return kept, partner


def _timm_loader(images: Any, labels: Any, recipe: Recipe, device: torch.device, threads: int) -> Any:
    timm_data: Any = import_module("timm.data")  # only partly typed
    cuda = device.type == "cuda"
    mix = {"mixup_alpha": 0.0, "cutmix_alpha": 1.0, "label_smoothing": recipe.label_smoothing, "num_classes": CLASSES}
    loader = timm_data.create_loader(
        Pictures(images, labels),
        (3, recipe.resolution, recipe.resolution),
        recipe.batch_size,
        is_training=True,
        scale=(0.9, 1.0),
        ratio=(1.0, 1.0),
        color_jitter=(0.2, 0.3, 0.3, 0.2),
        num_workers=threads,
        device=device,
        use_prefetcher=cuda,
        collate_fn=timm_data.FastCollateMixup(**mix) if cuda else None,
        pin_memory=cuda,
    )
    return loader if cuda else _mixed(loader, timm_data.Mixup(**mix))


class _mixed:  # noqa: N801 - a private wrapper
    """Applies timm's Mixup after loading, as its training script does without the prefetcher."""

    def __init__(self, loader: Any, mixup: Any) -> None:
        self.loader, self.mixup = loader, mixup

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for images, labels in self.loader:
            yield self.mixup(images, labels)


def _timm(model: nn.Module, loader: Any, recipe: Recipe, device: torch.device, *, bf16: bool) -> Iterator[None]:
    timm_loss: Any = import_module("timm.loss")  # only partly typed
    timm_optim: Any = import_module("timm.optim")
    torch.backends.cudnn.benchmark = True  # as timm's train.py has it
    torch.backends.cuda.matmul.allow_tf32 = True
    model = model.to(memory_format=torch.channels_last)
    optimizer = timm_optim.create_optimizer_v2(model, opt="adam", lr=recipe.lr, weight_decay=0.0, fused=True)
    criterion = timm_loss.SoftTargetCrossEntropy()
    model.train()
    while True:
        for loaded, target in loader:
            images = loaded.to(device).contiguous(memory_format=torch.channels_last)
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                loss = criterion(model(images), target.to(device))
            torch.autograd.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
            yield
