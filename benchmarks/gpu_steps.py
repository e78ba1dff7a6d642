"""What `benchmarks.gpu` times: the project's training, and others' loops on the same batches or with their own loader.

Each contender is a context: entered it is built, and gives a turn, a call that trains on so many images; left it is
gone from the device. So one alone is alive at a time, and each has all of the device's memory.
"""

from __future__ import annotations

import statistics
import time
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache, partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from benchmarks.contenders import CLASSES, steps_of, stored_images
from benchmarks.gpu_report import first_line, raise_if_lost
from mobilebench.config.recipe import Recipe
from mobilebench.config.runtime import Runtime
from mobilebench.models import create
from mobilebench.system.cpu import cores
from mobilebench.training import Split, TrainData, Trainer
from mobilebench.training.accel.cuda_graph import GraphedStep, on_stream
from mobilebench.training.augment import Augmenter
from mobilebench.training.batches import Batch, Batches
from mobilebench.training.data import IMAGENET
from mobilebench.training.device import autocast, pick_device, set_precision
from mobilebench.training.finetune import groups
from mobilebench.training.image_store import Store
from mobilebench.training.loss import mixed_cross_entropy
from mobilebench.training.memory import free_bytes, free_unused, reserve_bytes
from mobilebench.training.optim import make_optimizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from torch import Tensor, nn

    Contender = Callable[[], AbstractContextManager["Running"]]

Precision = Literal["fp32", "bf16"]
MIB = 1 << 20


@dataclass(frozen=True)
class Work:
    """What all contenders of one table train: a network on random images, on a device.

    size, stored: pixels of the network's and the stored images; batch: images a step; images: of a turn, a multiple of
    batch; turns: measured of each contender in a round; rounds: how often each is built and takes its turns.
    """

    device: str
    model: str
    size: int = 224
    batch: int = 32
    stored: int = 256
    images: int = 4096
    turns: int = 3
    rounds: int = 2

    def recipe(self, precision: Precision = "fp32") -> Recipe:
        """The paper's recipe at this size, so slow to learn that no network diverges on random images.

        Of more epochs than are trained: the last one would be read on test.
        """
        return Recipe(
            epochs=self.turns + 2,
            warmup_epochs=1,
            batch_size=self.batch,
            resolution=self.size,
            lr=1e-5,
            min_lr=1e-6,
            precision=precision,
        )

    def data(self) -> TrainData:
        """Random images of one turn; a batch of them is the test split, which nothing reads."""
        return _data(self.images, self.batch, self.stored)


@cache
def _data(images: int, batch: int, stored: int) -> TrainData:
    pictures = stored_images(images, stored)
    labels = np.arange(images) % CLASSES
    train, test = (Split(pictures, labels, np.arange(n)) for n in (images, batch))
    return TrainData(train, None, test, *IMAGENET, CLASSES)


@dataclass(frozen=True)
class Running:
    """A contender that is alive: `turn` trains and returns on how many images; `facts` is said of it in its row."""

    turn: Callable[[], int]
    facts: Callable[[], dict[str, Any]] = dict


@dataclass
class Measured:
    """A contender's turns: images/s of each, seconds of building it and of its first turn, MiB, and why it failed."""

    rates: list[float] = field(default_factory=list)
    first_seconds: list[float] = field(default_factory=list)
    peak_mib: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    failure: str | None = None

    @property
    def median(self) -> float | None:
        """Median over the turns, None without one."""
        return statistics.median(self.rates) if self.rates else None

    def row(self) -> dict[str, Any]:
        """As a row has it: median, quartiles and n of images/s, first turn, peak memory, facts or the failure."""
        quartiles = statistics.quantiles(self.rates, n=4, method="inclusive") if len(self.rates) > 1 else []
        return {
            "images_per_second": self.median,
            "quartiles": quartiles[::2],
            "n": len(self.rates),
            "first_turn_seconds": max(self.first_seconds, default=None),
            "peak_mib": self.peak_mib,
            **self.facts,
            "not_possible_here": self.failure,
        }


def measure(contenders: Mapping[str, Contender], device: torch.device, work: Work) -> dict[str, Measured]:
    """Measures contenders in rounds, every second one in the reverse order: what drifts with time falls on all."""
    measured = {name: Measured() for name in contenders}
    for number in range(work.rounds):
        for name in list(contenders)[:: -1 if number % 2 else 1]:
            if measured[name].failure is None:
                _alive_alone(contenders[name], device, work.turns, measured[name])
    return measured


def _alive_alone(contender: Contender, device: torch.device, turns: int, into: Measured) -> None:
    free_unused(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    try:
        _take_turns(contender, device, turns, into)
    except Exception as error:  # noqa: BLE001 - a full card, a compiler's failure: a row that says so, not the end
        into.failure = first_line(error)
    if into.failure is not None:
        raise_if_lost(device, into.failure)
    if device.type == "cuda":
        into.peak_mib = torch.cuda.max_memory_reserved(device) / MIB


def _take_turns(contender: Contender, device: torch.device, turns: int, into: Measured) -> None:
    start = time.perf_counter()
    with contender() as running:
        timed(device, running.turn)  # captures, compiles, fills a loader's queue
        into.first_seconds.append(time.perf_counter() - start)
        into.rates += [images / seconds for images, seconds in (timed(device, running.turn) for _ in range(turns))]
        into.facts = running.facts()


def timed(device: torch.device, turn: Callable[[], int]) -> tuple[int, float]:
    """The images of a turn and its seconds, from an idle device to an idle device; by CUDA events where there are."""
    if device.type != "cuda":
        start = time.perf_counter()
        return turn(), time.perf_counter() - start
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    torch.cuda.synchronize(device)
    begin.record()
    images = turn()
    end.record()
    end.synchronize()
    return images, begin.elapsed_time(end) / 1e3


@contextmanager
def ours(work: Work, acceleration: Literal["auto", "on", "off"], precision: Precision = "fp32") -> Iterator[Running]:
    """`Trainer` as a cell runs it; a turn is an epoch, with its draws, augmentation and everything else it does."""
    torch.manual_seed(0)
    runtime = Runtime(device=work.device, acceleration=acceleration, eval_every=0)
    trainer = Trainer(create(work.model, CLASSES), work.data(), work.recipe(precision), 0, runtime)
    epochs = trainer.epochs()

    def turn() -> int:
        next(epochs)
        return work.images

    yield Running(turn, lambda: {"captured": trainer.captured, "decisions": trainer.decisions})


@contextmanager
def others_loop(work: Work, kind: Literal["paper", "timm"], precision: Precision = "fp32") -> Iterator[Running]:
    """Another loop on the very batches ours learns from, made on the device: what is left is how a step is carried out.

    paper: contiguous, eager fp32, torch's Adam, the loss read in each step, as the released code. timm: what its
    train.py sets on a GPU: channels-last, fused Adam, cuDNN's kernels tried out, TF32 in matrix products too.
    """
    torch.manual_seed(0)
    device, recipe, data = pick_device(work.device), work.recipe(precision), work.data()
    set_precision(device)
    layout = torch.contiguous_format if kind == "paper" else torch.channels_last
    model = create(work.model, CLASSES).to(device).to(memory_format=layout).train()
    reserve = reserve_bytes(model, recipe, Runtime(device=work.device), data.train.channels)
    store = Store(data.train, device, free_bytes(device, 1, reserve))
    batches = Batches(store, Augmenter(recipe, data, device), recipe, 0, device)
    optimizer = _optimizer(model, kind, recipe)
    epochs = iter(range(recipe.epochs))

    def turn() -> int:
        for batch in batches.epoch(next(epochs)):
            optimizer.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                logits = model(batch.images.contiguous(memory_format=layout))
            loss = _loss(logits, batch, recipe)
            torch.autograd.backward(loss)
            optimizer.step()
            if kind == "paper":
                loss.item()
        return work.images

    with timms_flags(device) if kind == "timm" else nullcontext():
        yield Running(turn)


def _optimizer(model: nn.Module, kind: str, recipe: Recipe) -> torch.optim.Optimizer:
    if kind == "paper":
        return torch.optim.Adam(model.parameters(), lr=recipe.lr)
    timm_optim: Any = import_module("timm.optim")  # only partly typed
    made: torch.optim.Optimizer = timm_optim.create_optimizer_v2(
        model, opt="adam", lr=recipe.lr, weight_decay=0.0, fused=True
    )
    return made


@contextmanager
def others_loader(work: Work, contender: str, steps: int) -> Iterator[Running]:
    """A contender of `benchmarks.contenders` with its own loader, a worker of timm's for each core; a turn is steps."""
    device = pick_device(work.device)
    torch.manual_seed(0)
    set_precision(device)
    precision: Precision = "bf16" if contender.endswith("bf16") else "fp32"
    with timms_flags(device) if contender.startswith("timm") else nullcontext():
        running = steps_of(contender, create(work.model, CLASSES), work.stored, work.recipe(precision), cores())

        def turn() -> int:
            for _ in range(steps):
                next(running)
            return steps * work.batch

        yield Running(turn)


@contextmanager
def timms_flags(device: torch.device) -> Iterator[None]:
    """What timm's train.py sets for a GPU; as before afterwards."""
    before = torch.backends.cudnn.benchmark, torch.backends.cuda.matmul.allow_tf32
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark, torch.backends.cuda.matmul.allow_tf32 = before


@contextmanager
def one_batch(
    work: Work, layout: torch.memory_format, precision: Precision, *, autotune: bool = False
) -> Iterator[Running]:
    """Steps like ours on one random batch, in a memory layout; replayed as a CUDA graph, so that kernels alone count.

    autotune: whether cuDNN tries its kernels first, which training does not ask for.
    """
    torch.manual_seed(0)
    device, recipe = pick_device(work.device), work.recipe(precision)
    set_precision(device)
    model = create(work.model, CLASSES).to(device).to(memory_format=layout).train()
    optimizer = make_optimizer(groups(model, recipe, frozenset()), recipe.plan[0], device, plain=False)
    batch = random_batch(work, device, layout)
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
    graphed = None if stream is None else GraphedStep(device, stream)

    def step(batch: Batch) -> Tensor:
        optimizer.zero_grad(set_to_none=True)
        with autocast(recipe, device):
            logits = model(batch.images)
        loss = _loss(logits, batch, recipe)
        torch.autograd.backward(loss)
        optimizer.step()
        return loss.detach()

    run: Callable[[Batch], Tensor] = step if graphed is None else partial(graphed, step)

    def turn() -> int:
        with on_stream(stream):
            for _ in range(work.images // work.batch):
                run(batch)
        return work.images

    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = autotune
    try:
        yield Running(turn, lambda: {"captured": [] if graphed is None else graphed.sizes})
    finally:
        torch.backends.cudnn.benchmark = before


def random_batch(work: Work, device: torch.device, layout: torch.memory_format) -> Batch:
    """Normal pixels and labels without CutMix, on the device."""
    made = torch.Generator().manual_seed(0)
    images = torch.randn((work.batch, 3, work.size, work.size), generator=made)
    labels = torch.randint(CLASSES, (work.batch,), generator=made).to(device)
    return Batch(images.to(device, memory_format=layout), labels, labels, torch.ones(work.batch, device=device))


def _loss(logits: Tensor, batch: Batch, recipe: Recipe) -> Tensor:
    return mixed_cross_entropy(logits, batch.first, batch.second, batch.kept, recipe.label_smoothing)
