"""Checks of `benchmarks.gpu check` that train small cells: graphs, compiling, dropout, resuming, precision."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from benchmarks.contenders import CLASSES
from benchmarks.gpu_check_numbers import Found, at_most, is_so, noise, not_here, of_states
from mobilebench.config.recipe import Augment, Recipe
from mobilebench.config.runtime import Runtime
from mobilebench.models import create
from mobilebench.system.provenance import device_tags
from mobilebench.training import Trainer, checkpoint
from mobilebench.training.device import has_bf16

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.gpu_steps import Work
    from mobilebench.training import EpochResult, TrainData

Optimizer = Literal["adam", "adamw", "sgd"]

BATCH, REST, SIDE = 16, 6, 32
RECIPE = Recipe(epochs=3, warmup_epochs=1, batch_size=BATCH, resolution=SIDE, lr=3e-3)
STILL = replace(RECIPE, lr=1e-30, min_lr=0.0, augment=Augment(None, (1.0, 1.0), 0.0, (0, 0, 0, 0), cutmix_alpha=0))
FULL_BATCHES = 12  # of an epoch: four eager steps, a capture, replays

# Relative differences of the losses of the small network's epochs. On a CPU weights that begin a millionth beside move
# them by 2e-7, convolutions rounded as TF32 does by 3e-4.
SAME, _SAME_WEIGHTS = 2e-4, 1e-2  # one device, kernels without atomics
_SAME_AS_CPU = _SAME_COMPILED = 5e-3  # TF32 convolutions; other kernels, in another order
_SAME_BF16 = 2e-2
_OTHER, _EQUAL = 1e-5, 1e-6  # losses of other masks, and of the same ones
_NUDGE, _TIMES_NUDGED = 1e-6, 4.0


class Small(nn.Module):
    """A network of every kind of layer that the eleven have, of a few thousand weights."""

    def __init__(self, dropout: float = 0.2, *, norm: bool = True) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.body = nn.Sequential(
            nn.Conv2d(3, 12, 3, 2, 1, bias=False),
            nn.BatchNorm2d(12) if norm else nn.Identity(),
            nn.SiLU(inplace=True),
            nn.Conv2d(12, 12, 7, 1, 3, groups=12, bias=False),
            nn.BatchNorm2d(12) if norm else nn.Identity(),
            nn.Hardswish(inplace=True),
            nn.Conv2d(12, 32, 1),
            nn.ReLU6(inplace=True),
        )
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(32, CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        """Images [N, 3, H, W] to logits [N, CLASSES]."""
        logits: Tensor = self.head(self.body(images))
        return logits


def small_data(side: int = SIDE) -> TrainData:
    """Full batches and a rest, and two dozen images to read."""
    return noise(FULL_BATCHES * BATCH + REST, side, 24)


def run(
    device: torch.device,
    model: nn.Module,
    recipe: Recipe = RECIPE,
    *,
    acceleration: Literal["auto", "on", "off"] = "auto",
    data: TrainData | None = None,
    stop: int | None = None,
    state: dict[str, Any] | None = None,
    cells: int | None = None,
) -> tuple[Trainer, list[EpochResult]]:
    """Trains to the end, or to the epoch `stop`, from `state` where one is given; one of `cells` on the device."""
    runtime = Runtime(str(device), 1 if cells else None, acceleration=acceleration, cells_per_device=cells)
    trainer = Trainer(model, data or small_data(), recipe, 0, runtime)
    if state is not None:
        trainer.load_state_dict(state)
    results = []
    for result in trainer.epochs():
        results.append(result)
        if result.epoch == stop:
            break
    return trainer, results


def losses(results: list[EpochResult]) -> list[float]:
    """Of each epoch, learning and reading."""
    return [value for result in results for value in (result.train_loss, result.test["loss"])]


def apart(one: list[float], other: list[float]) -> float:
    """The largest relative difference of two series of losses; infinite where their lengths differ."""
    if len(one) != len(other):
        return float("inf")
    return max(abs(a - b) / abs(b) for a, b in zip(one, other, strict=True))


@contextmanager
def deterministic() -> Iterator[None]:
    """Have cuDNN use kernels without atomics; as before afterwards."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic = before


def same_as_eager(
    device: torch.device, make: Callable[[], nn.Module], recipe: Recipe = RECIPE, *, data: TrainData | None = None,
    acceleration: Literal["auto", "on"] = "auto", limit: float = SAME,
) -> Found:  # fmt: skip
    """A training with its techniques against one without any: losses of all epochs, and the weights at the end."""
    with deterministic():
        fast, one = run(device, make(), recipe, acceleration=acceleration, data=data)
        plain, two = run(device, make(), recipe, acceleration="off", data=data)
    weights = of_states(fast.model.state_dict(), plain.model.state_dict())
    failed = [decision for decision in fast.decisions if "failed" in decision or "could not" in decision]
    more = {"weights": weights, "captured": fast.captured, "given_up": failed}
    found = at_most(limit, apart(losses(one), losses(two)), "losses' relative difference", **more)
    whole = len(fast.captured) == 2 or device.type != "cuda"
    sound = whole and not failed and (weights <= _SAME_WEIGHTS or acceleration == "on" or recipe.precision == "bf16")
    return found if sound else replace(found, verdict="fail")


def graph(work: Work, device: torch.device) -> Found:
    """A network's steps replayed as CUDA graphs, a rest included, against eager ones."""
    return not_here("no CUDA graph") if device.type != "cuda" else network_as_eager(work, device, "auto")


def compiled(work: Work, device: torch.device) -> Found:
    """A compiled network, captured, against the eager one."""
    return network_as_eager(work, device, "on")


def network_as_eager(work: Work, device: torch.device, acceleration: Literal["auto", "on"]) -> Found:
    """A network's training with techniques against one without, and against what its rounding alone does to it.

    New networks of many layers magnify a change of their weights by a millionth: within a dozen of the paper's steps to
    percents of the loss, of the small steps here to 0.01 to 0.1 %. So a training that began so much beside the eager
    one says how far apart two right ones may be.
    """
    recipe, data, nudged = replace(work.recipe(), epochs=2), _of(work), network(work)
    with torch.no_grad():
        for parameter in nudged.parameters():
            parameter.mul_(1 + _NUDGE * torch.randn_like(parameter))
    with deterministic():
        fast, one = run(device, network(work), recipe, acceleration=acceleration, data=data)
        _, two = run(device, network(work), recipe, acceleration="off", data=data)
        _, beside = run(device, nudged, recipe, acceleration="off", data=data)
    series = [[result.train_loss for result in results] for results in (one, two, beside)]
    limit = max(SAME, _TIMES_NUDGED * apart(series[2], series[1]))
    given_up = [decision for decision in fast.decisions if "failed" in decision or "could not" in decision]
    more = {"captured": fast.captured, "given_up": given_up}
    found = at_most(limit, apart(series[0], series[1]), "train losses' relative difference", **more)
    sound = not given_up and (len(fast.captured) == 2 or device.type != "cuda")
    return found if sound else replace(found, verdict="fail")


def network(work: Work) -> nn.Module:
    """The network with the weights of one seed."""
    torch.manual_seed(0)
    return create(work.model, CLASSES)


def _of(work: Work) -> TrainData:
    return noise(7 * work.batch + max(2, work.batch // 2), work.stored, 16)


def small_graph(device: torch.device) -> Found:
    """The small network with dropout, Adam and a smaller last batch: replayed against eager."""
    return not_here("no CUDA graph") if device.type != "cuda" else same_as_eager(device, Small)


def small_bf16(device: torch.device) -> Found:
    """The same in bf16."""
    if device.type != "cuda" or not has_bf16(device):
        return not_here("no bf16 arithmetic, or no CUDA graph")
    return same_as_eager(device, Small, replace(RECIPE, precision="bf16"), limit=_SAME_BF16)


def small_compiled(device: torch.device) -> Found:
    """The small network and the colours compiled against eager."""
    return same_as_eager(device, Small, acceleration="on", limit=_SAME_COMPILED)


def rest(device: torch.device) -> Found:
    """The last, smaller batch of an epoch has a graph of its own."""
    if device.type != "cuda":
        return not_here("no CUDA graph")
    trainer, _ = run(device, Small())
    return is_so(trainer.captured == [REST, BATCH], "batch sizes captured", captured=trainer.captured)


def masks(device: torch.device) -> Found:
    """Dropout's masks are others in each epoch and the seed's in each run: nothing is learnt, nothing else is drawn."""
    (_, one), (_, two) = (run(device, Small(0.5, norm=False), STILL) for _ in range(2))
    series = [result.train_loss for result in one]
    again = apart(losses(one), losses(two))
    return is_so(
        max(series) - min(series) > _OTHER and again < _EQUAL,
        "losses of epochs without learning",
        losses=series,
        again=again,
    )


def as_on_cpu(device: torch.device) -> Found:
    """The curve of a small training against the CPU's."""
    there, here = (losses(run(place, Small(0.0))[1]) for place in (device, torch.device("cpu")))
    return at_most(_SAME_AS_CPU, apart(there, here), "losses' relative difference")


def resumed(device: torch.device, optimizer: Optimizer, began: torch.device | None = None) -> Found:
    """Stopped after an epoch and carried on from its checkpoint, against a training in one piece.

    began: the device of the first epoch, the same one for None.
    """
    recipe = replace(RECIPE, optimizer=optimizer, lr=0.03 if optimizer == "sgd" else RECIPE.lr)
    with deterministic(), tempfile.TemporaryDirectory() as folder:
        half, _ = run(began or device, Small(0.0), recipe, stop=1)
        path = Path(folder) / "cell.pt"
        checkpoint.save(path, half.state_dict())
        later, two = run(device, Small(0.0), recipe, state=checkpoint.load(path))
        whole, one = run(device, Small(0.0), recipe)
    weights = of_states(later.model.state_dict(), whole.model.state_dict())
    captured = bool(later.captured) or device.type != "cuda"
    limit = SAME if began is None else _SAME_AS_CPU
    found = at_most(limit, apart(losses(two), losses(one)[2:]), "losses' relative difference", weights=weights)
    return found if captured else replace(found, verdict="fail", what="the rest was not captured")


def flags(device: torch.device) -> Found:
    """Precision is the protocol's whatever was set before, and a run's tags say which it was."""
    if device.type != "cuda":
        return not_here("flags are of CUDA")
    cudnn, products = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, cudnn.benchmark, products.allow_tf32
    cudnn.allow_tf32, cudnn.benchmark, products.allow_tf32 = False, True, True
    try:
        trainer, _ = run(device, Small(), stop=1)
        now = cudnn.allow_tf32, cudnn.benchmark, products.allow_tf32
        tags = device_tags(trainer.device)
    finally:
        cudnn.allow_tf32, cudnn.benchmark, products.allow_tf32 = before
    wanted = {"tf32_convolutions": "true", "tf32_matmuls": "false", "cudnn_benchmark": "false"}
    said = {name: tags.get(name) for name in wanted}
    return is_so(now == (True, False, False) and said == wanted, "flags while training and in its tags", tags=said)
