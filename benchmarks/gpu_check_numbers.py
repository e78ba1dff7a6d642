"""Checks of `benchmarks.gpu check` that hold a card's numbers to a CPU's: networks, augmentation, evaluation."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.contenders import CLASSES
from mobilebench.config.runtime import Runtime
from mobilebench.models import create
from mobilebench.training import Trainer
from mobilebench.training.augment import Augmenter
from mobilebench.training.data import IMAGENET, Split, TrainData
from mobilebench.training.device import set_precision

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.gpu_steps import Work

Verdict = Literal["pass", "fail", "not possible here"]

# Distances from double precision, of one batch through a network whose statistics are fixed: with those of the batch,
# fp32 itself is off by up to a third in the gradients of new networks of 50 layers. On a CPU logits were off by 2e-6 at
# most and gradients by 1.3e-3 (where ReLU6 falls on its other side), with inputs and weights of convolutions rounded as
# TF32 does by 2e-3 and 0.07.
_TIMES, _FP32_LOGITS, _FP32_GRADIENTS = 16.0, 1e-5, 0.01  # times as far as the CPU's, or this
_TF32_LOGITS, _TF32_GRADIENTS = 0.01, 0.25
_READ_LOGITS = 0.02  # of a trained network in fp32; between two CPU paths 0.003
_PIXELS = 1e-3  # share of pixels that may differ: a draw on the edge between two branches
_SAME_PIXEL = 0.02  # of normalised values, whose range is about 5


@dataclass(frozen=True)
class Found:
    """What a check found: a figure and the most it may be, what the figure is, and more of it."""

    verdict: Verdict
    what: str
    figure: float | None = None
    limit: float | None = None
    more: dict[str, Any] = field(default_factory=dict)


def at_most(limit: float, figure: float, what: str, **more: Any) -> Found:
    """Passed where the figure is at most the limit; a figure that is no number is not."""
    return Found("pass" if figure <= limit else "fail", what, figure, limit, more)


def is_so(holds: bool, what: str, **more: Any) -> Found:  # noqa: FBT001 - what is checked
    """Passed where it holds."""
    return Found("pass" if holds else "fail", what, more=more)


def not_here(why: str) -> Found:
    """A check that this machine cannot make."""
    return Found("not possible here", why)


def distance(one: Tensor, other: Tensor) -> float:
    """How far one is from the other, of the other's length: |a - b| / |b|."""
    return float((one.double() - other.double()).norm() / other.double().norm().clamp(min=1e-30))


def of_states(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    """The distance of all floating tensors of two states together."""
    names = [name for name in other if other[name].is_floating_point()]
    return distance(*(torch.cat([state[name].detach().cpu().flatten() for name in names]) for state in (one, other)))


def fp32(work: Work, device: torch.device) -> Found:
    """One batch forward and backward in fp32 without TF32, against double precision on the CPU."""
    exact, cpu = _double(work), _backward(work, torch.device("cpu"))
    with _without_tf32():
        here = _backward(work, device)
    off = [_TIMES * distance(mine, true) for mine, true in zip(cpu, exact, strict=True)]
    return _from_double(here, exact, max(_FP32_LOGITS, off[0]), max(_FP32_GRADIENTS, off[1]))


def tf32(work: Work, device: torch.device) -> Found:
    """The same as a cell computes it, with convolutions in TF32."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0):
        return not_here("no TF32")
    set_precision(device)
    return _from_double(_backward(work, device), _double(work), _TF32_LOGITS, _TF32_GRADIENTS)


def _from_double(
    here: tuple[Tensor, Tensor], exact: tuple[Tensor, Tensor], most_logits: float, most_gradients: float
) -> Found:
    logits, gradients = (distance(mine, true) for mine, true in zip(here, exact, strict=True))
    more = {"gradients": gradients, "gradients_limit": most_gradients}
    found = at_most(most_logits, logits, "logits' distance from double precision", **more)
    return found if gradients <= most_gradients else replace(found, verdict="fail")


@contextmanager
def _without_tf32() -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _double(work: Work) -> tuple[Tensor, Tensor]:
    return _backward(work, torch.device("cpu"), torch.float64)


def _backward(work: Work, device: torch.device, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Logits and all gradients of one batch, in evaluation mode, brought to the CPU."""
    torch.manual_seed(0)
    model = create(work.model, CLASSES).to(device, dtype).to(memory_format=torch.channels_last)
    model.eval()
    made = torch.Generator().manual_seed(1)
    coarse = torch.randn((work.batch, 3, 7, 7), generator=made)
    images = functional.interpolate(coarse, (work.size, work.size), mode="bilinear")
    labels = torch.randint(CLASSES, (work.batch,), generator=made).to(device)
    logits = model(images.to(device, dtype, memory_format=torch.channels_last))
    torch.autograd.backward(functional.cross_entropy(logits, labels))
    gradients = [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
    return logits.detach().cpu(), torch.cat(gradients).cpu()


def noise(n: int, side: int, n_test: int) -> TrainData:
    """Noise in a colour of each class: n images to learn from and n_test to read, which a network soon tells apart."""
    made = np.random.default_rng(11)
    labels = np.arange(n + n_test) % CLASSES
    colours = made.integers(30, 226, size=(CLASSES, 1, 1, 3))[labels]
    images = np.clip(made.normal(colours, 25.0, size=(n + n_test, side, side, 3)), 0, 255).astype(np.uint8)
    rows = np.arange(n + n_test)
    return TrainData(Split(images, labels, rows[:n]), None, Split(images, labels, rows[n:]), *IMAGENET, CLASSES)


def augmentation(work: Work, device: torch.device) -> Found:
    """The same draws on the same images, there and on the CPU, with all that the paper's recipe does."""
    recipe, data = work.recipe(), noise(64, work.stored, 2)
    stored = torch.from_numpy(data.train.images[:64])
    draws = Augmenter(recipe, data, torch.device("cpu")).draw(0, 0, [32, 32])
    made = [
        Augmenter(recipe, data, place).images(stored.to(place), draws.to(place)).cpu()
        for place in (torch.device("cpu"), device)
    ]
    apart = (made[0] - made[1]).abs()
    share = float((apart > _SAME_PIXEL).double().mean())
    return at_most(_PIXELS, share, f"share of values further apart than {_SAME_PIXEL}", largest=float(apart.max()))


def evaluation(work: Work, device: torch.device) -> Found:
    """What a network says of test images in fp32, there and on the CPU, after an epoch of training there."""
    data = noise(8 * work.batch, work.stored, 64)
    torch.manual_seed(0)
    there = Trainer(create(work.model, CLASSES), data, work.recipe(), 0, Runtime(device=str(device), eval_every=0))
    next(there.epochs())
    here = Trainer(create(work.model, CLASSES), data, work.recipe(), 0, Runtime(device="cpu"))
    here.load_weights({name: tensor.cpu() for name, tensor in there.model.state_dict().items()})
    with _without_tf32():
        (loss, mine), (exact, true) = (trainer.predict("test") for trainer in (there, here))
    apart = distance(torch.from_numpy(mine.logits), torch.from_numpy(true.logits))
    differ = float(np.mean(mine.predicted != true.predicted))
    return at_most(_READ_LOGITS, apart, "logits' distance from the CPU's", losses=[loss, exact], other_class=differ)
