"""The training loop: one network, one dataset, one recipe, one seed."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mobilebench.training.accel.plan import make_plan
from mobilebench.training.accel.step_runner import StepRunner
from mobilebench.training.augment import Augmenter
from mobilebench.training.batches import Batch, Batches
from mobilebench.training.device import autocast, check_precision, pick_device
from mobilebench.training.errors import DivergedError, TrainingError
from mobilebench.training.image_store import Store, free_bytes
from mobilebench.training.loss import mixed_cross_entropy
from mobilebench.training.optim import make_optimizer, set_rate
from mobilebench.training.plain import PlainAugmenter
from mobilebench.training.rng import network_rng
from mobilebench.training.schedule import learning_rate, remarks
from mobilebench.training.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mobilebench.config.recipe import Recipe
    from mobilebench.config.runtime import Runtime
    from mobilebench.training.data import TrainData

_log = logging.getLogger(__name__)

# Images per evaluation batch on a CPU at 224 px: larger ones only leave the caches and fill the memory.
_CPU_EVAL_PIXELS = 32 * 224 * 224


@dataclass(frozen=True)
class EpochResult:
    """What one epoch gave.

    epoch counts from 1; train_loss: mean over the epoch's images, in nats, with label smoothing and CutMix; lr: the
    epoch's rate; epoch_seconds and images_per_second: training only, without the test reading; test_loss: mean
    cross-entropy without smoothing; test_top1: fraction; both None in epochs without a test reading.
    """

    epoch: int
    train_loss: float
    lr: float
    epoch_seconds: float
    images_per_second: float
    test_loss: float | None
    test_top1: float | None


class Trainer:
    """Trains `model` in place.

    Same arguments, same machine with the same compiler, same thread count: the same weights, bit for bit on a CPU, also
    when stopped after any epoch and carried on from `state_dict()`.
    """

    def __init__(self, model: nn.Module, data: TrainData, recipe: Recipe, seed: int, runtime: Runtime) -> None:
        self.recipe, self.seed, self.runtime = recipe, seed, runtime
        self.epoch = 0  # finished epochs
        threads = runtime.cell_threads()
        if threads is not None:
            torch.set_num_threads(threads)
        self.device = pick_device(runtime.device)
        notes = check_precision(recipe, runtime, self.device)
        plain = runtime.path == "plain"
        layout = torch.contiguous_format if plain else torch.channels_last
        self.model = model.to(self.device).to(memory_format=layout)
        self.optimizer = make_optimizer(self.model, recipe, self.device, plain=plain)
        self._rate = self.optimizer.param_groups[0]["lr"]
        self._augmenter = (PlainAugmenter if plain else Augmenter)(recipe, data, self.device)
        self._train_store, self._test_store = self._place(data)
        self._batches = Batches(self._train_store, self._augmenter, recipe, seed, self.device)
        plan = make_plan(recipe, runtime, self.device, len(self._batches.sizes) * recipe.epochs)
        stores = (self._train_store, self._test_store)
        self._runner = StepRunner(self._step, self.model, self._batches, stores, plan)
        where = f"on {self.device}" if self._train_store.resident else "memory-mapped on the host"
        self._notes = [f"images: {self._train_store.size / 2**20:.0f} MB {where}", *notes, *remarks(recipe)]
        for note in self._notes:
            _log.info(note)

    @property
    def decisions(self) -> list[str]:
        """What was decided for this machine so far, in words."""
        return self._notes + self._runner.decisions

    def _place(self, data: TrainData) -> tuple[Store, Store]:
        """The splits, on the device when they fit beside those of the other processes that share it."""
        room = free_bytes(self.device, self.runtime.cells_per_device or 1)
        train = Store(data.train, self.device, room)
        return train, Store(data.test, self.device, room - train.size if train.resident else room)

    def epochs(self) -> Iterator[EpochResult]:
        """Trains from the first unfinished epoch to the last, giving each epoch's result as it ends.

        Raises DivergedError when the loss or what the network answers at evaluation is no longer finite: the arg max
        of NaN is class 0, and would be counted as a hit. TrainingError when memory does not suffice.
        """
        while self.epoch < self.recipe.epochs:
            yield self._run_epoch()

    def _run_epoch(self) -> EpochResult:
        start = time.perf_counter()
        lr = learning_rate(self.recipe, self.epoch)
        train_loss = self._runner.run_epoch(lambda: self._train(lr), self)
        seconds = time.perf_counter() - start
        self.epoch += 1
        test_loss, test_top1 = self.evaluate() if self._is_read() else (None, None)
        rate = sum(self._batches.sizes) / seconds
        return EpochResult(self.epoch, train_loss, lr, seconds, rate, test_loss, test_top1)

    def _train(self, lr: float) -> float:
        """One pass over the train split; the mean loss over its images, read from the device once, at the end."""
        set_rate(self.optimizer, self._rate, lr)
        losses = torch.zeros(len(self._batches.sizes), device=self.device)
        with network_rng(self.seed, self.epoch, self.device):
            for i, loss in enumerate(self.steps()):
                losses[i] = loss
        return self._mean(losses.cpu())

    def steps(self) -> Iterator[Tensor]:
        """The training steps of the present epoch: the loss of each, still on the device."""
        self.model.train()
        for batch in self._batches.epoch(self.epoch):
            yield self._runner.step(batch)

    def _step(self, batch: Batch, forward: Callable[[Tensor], Tensor]) -> Tensor:
        """Learns from one batch through `forward`, the network in the form that the runner has it."""
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.recipe, self.device):
            logits = forward(batch.images)
        loss = mixed_cross_entropy(logits, batch.first, batch.second, batch.kept, self.recipe.label_smoothing)
        torch.autograd.backward(loss)
        self.optimizer.step()
        return loss.detach()

    def _mean(self, losses: Tensor) -> float:
        bad = torch.nonzero(~torch.isfinite(losses))
        if len(bad):
            step = int(bad[0])
            raise DivergedError(self.epoch + 1, step + 1, float(losses[step]))
        sizes = torch.tensor(self._batches.sizes, dtype=torch.float64)
        return float(losses.double() @ sizes / sizes.sum())

    def _is_read(self) -> bool:
        every = self.runtime.eval_every
        return self.epoch == self.recipe.epochs or (every > 0 and self.epoch % every == 0)

    @torch.inference_mode()
    def evaluate(self) -> tuple[float, float]:
        """Mean cross-entropy (nats, no smoothing) and top-1 (fraction) on the test split with the present weights.

        Raises DivergedError where an output or the loss is not finite.
        """
        self.model.eval()
        loss = torch.zeros((), device=self.device)
        hits = torch.zeros((), device=self.device)
        undefined = torch.zeros((), device=self.device, dtype=torch.int64)
        places = torch.arange(len(self._test_store), device=self._test_store.home)
        for stored, labels in self._test_store.take(torch.split(places, self._eval_batch())):
            with autocast(self.recipe, self.device):
                logits = self.model(self._augmenter.view(stored)).float()
            loss += functional.cross_entropy(logits, labels, reduction="sum")
            hits += (logits.argmax(dim=1) == labels).sum()
            undefined += (~torch.isfinite(logits).all(dim=1)).sum()
        mean = float(loss) / len(self._test_store)
        if int(undefined) or not math.isfinite(mean):
            raise DivergedError(self.epoch, None, mean, int(undefined))
        return mean, float(hits) / len(self._test_store)

    def _eval_batch(self) -> int:
        if self.device.type != "cpu":
            return self.runtime.eval_batch_size
        return min(self.runtime.eval_batch_size, max(1, _CPU_EVAL_PIXELS // self.recipe.resolution**2))

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to carry on after the last finished epoch, fit for `checkpoint.save`."""
        return {
            "version": VERSION,
            "seed": self.seed,
            "epoch": self.epoch,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over a state made by `state_dict` under the same recipe and seed. Raises TrainingError otherwise."""
        for key, mine in (("version", VERSION), ("seed", self.seed)):
            if state.get(key) != mine:
                raise TrainingError(
                    f"the checkpoint's {key} is {state.get(key)}, this run's is {mine}; they cannot be mixed. "
                    "Remove the checkpoint to train the cell from its first epoch"
                )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch = int(state["epoch"])
        self._runner.reset()
