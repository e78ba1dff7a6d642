"""The training loop: one network, one dataset, one recipe, one seed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mobilebench.training import VERSION
from mobilebench.training.augment import Augmenter
from mobilebench.training.batches import Batch, Batches, Store
from mobilebench.training.errors import DivergedError, TrainingError
from mobilebench.training.loss import mixed_cross_entropy
from mobilebench.training.rng import network_rng
from mobilebench.training.schedule import learning_rate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mobilebench.training.data import TrainData
    from mobilebench.training.recipe import Recipe
    from mobilebench.training.runtime import Runtime


@dataclass(frozen=True)
class EpochResult:
    """What one epoch gave.

    epoch counts from 1; train_loss: mean over the epoch's images, in nats, with label smoothing
    and CutMix; lr: the epoch's rate; epoch_seconds and images_per_second: training only, without the test reading;
    test_loss: mean cross-entropy without smoothing; test_top1: fraction; both None in epochs without a test reading.
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

    Same arguments, same machine, same thread count: the same weights, bit for bit on a CPU, also when stopped after any
    epoch and carried on from `state_dict()`.

    decisions: what was decided for this machine, in words.
    """

    def __init__(self, model: nn.Module, data: TrainData, recipe: Recipe, seed: int, runtime: Runtime) -> None:
        self.recipe = recipe
        self.seed = seed
        self.runtime = runtime
        self.epoch = 0  # finished epochs
        self.decisions: list[str] = []
        if runtime.threads is not None:
            torch.set_num_threads(runtime.threads)
        self.device = _device(runtime.device)
        self.model = model.to(self.device).to(memory_format=torch.channels_last)
        self.optimizer = _optimizer(self.model, recipe)
        self._augmenter = Augmenter(recipe, data, self.device)
        self._batches = Batches(Store(data.train, self.device), self._augmenter, recipe, seed)
        self._test = Store(data.test, self.device)

    def epochs(self) -> Iterator[EpochResult]:
        """Trains from the first unfinished epoch to the last, giving each epoch's result as it ends.

        Raises DivergedError when the loss is no longer finite.
        """
        while self.epoch < self.recipe.epochs:
            yield self._run_epoch()

    def _run_epoch(self) -> EpochResult:
        start = time.perf_counter()
        lr = learning_rate(self.recipe, self.epoch)
        with network_rng(self.seed, self.epoch, self.device):
            train_loss = self._train(lr)
        seconds = time.perf_counter() - start
        self.epoch += 1
        test_loss, test_top1 = self.evaluate() if self._is_read() else (None, None)
        rate = sum(self._batches.sizes) / seconds
        return EpochResult(self.epoch, train_loss, lr, seconds, rate, test_loss, test_top1)

    def _train(self, lr: float) -> float:
        """One pass over the train split; the mean loss over its images, read from the device once, at the end."""
        self.model.train()
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        losses = torch.zeros(len(self._batches.sizes), device=self.device)
        for step, batch in enumerate(self._batches.epoch(self.epoch)):
            losses[step] = self._step(batch)
        return self._mean(losses.cpu())

    def _step(self, batch: Batch) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        logits = self.model(batch.images)
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
        """Mean cross-entropy (nats, no smoothing) and top-1 (fraction) on the test split with the present weights."""
        self.model.eval()
        loss = torch.zeros((), device=self.device)
        hits = torch.zeros((), device=self.device)
        for places in torch.split(torch.arange(len(self._test)), self.runtime.eval_batch_size):
            stored, labels = self._test.take(places)
            logits = self.model(self._augmenter.view(stored)).float()
            loss += functional.cross_entropy(logits, labels, reduction="sum")
            hits += (logits.argmax(dim=1) == labels).sum()
        return float(loss) / len(self._test), float(hits) / len(self._test)

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


def _device(name: str) -> torch.device:
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    kinds: dict[str, Any] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    settings: dict[str, Any] = {"lr": recipe.lr, "weight_decay": recipe.weight_decay, "fused": True}
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), momentum=0.9, **settings)
    optimizer: torch.optim.Optimizer = kinds[recipe.optimizer](model.parameters(), **settings)
    return optimizer
