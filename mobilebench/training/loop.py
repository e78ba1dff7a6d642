"""The training loop: one network, one dataset, one recipe, one seed."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from mobilebench.config.pixels import sides
from mobilebench.evaluation.metrics import get_metric, metric_of, metrics_for, readings
from mobilebench.evaluation.predictions import Predictions
from mobilebench.evaluation.target import ONE_CLASS
from mobilebench.models.neighbours import NeighbourClassifier
from mobilebench.training.accel.plan import make_plan
from mobilebench.training.accel.step_runner import StepRunner
from mobilebench.training.augment import Augmenter
from mobilebench.training.batches import Batch, Batches
from mobilebench.training.device import autocast, check_precision, pick_device, set_precision
from mobilebench.training.errors import DivergedError, TrainingError
from mobilebench.training.finetune import Freeze, groups
from mobilebench.training.image_store import Store
from mobilebench.training.loss import mixed_loss, summed_loss
from mobilebench.training.memory import EvalBatch, free_bytes, reserve_bytes
from mobilebench.training.optim import Rates, load_state, make_optimizer
from mobilebench.training.plain import PlainAugmenter
from mobilebench.training.rng import network_rng
from mobilebench.training.schedule import learning_rate, remarks
from mobilebench.training.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mobilebench.config.recipe import Recipe
    from mobilebench.config.runtime import Runtime
    from mobilebench.evaluation.metrics import Metric
    from mobilebench.evaluation.selection import BestVal
    from mobilebench.training.data import TrainData

_log = logging.getLogger(__name__)

# Images per evaluation batch on a CPU at 224 px: larger ones only leave the caches and fill the memory.
_CPU_EVAL_PIXELS = 32 * 224 * 224
_LEFT_OUT = 1024  # images of which a classifier by neighbours has a training loss


@dataclass(frozen=True)
class EpochResult:
    """What one epoch gave.

    epoch counts from 1; train_loss: mean over the epoch's images, in nats, with label smoothing and CutMix; lr: the
    epoch's rate; epoch_seconds and images_per_second: training only, without readings; val, test: what was read of
    these splits, empty in epochs without a reading: `loss`, the mean loss in nats without smoothing, and metrics by id;
    phase: counted from 1, of a recipe of phases.
    """

    epoch: int
    train_loss: float
    lr: float
    epoch_seconds: float
    images_per_second: float
    val: Mapping[str, float]
    test: Mapping[str, float]
    phase: int | None = None

    def readings(self) -> dict[str, float]:
        """All of it but the epoch by name, a reading of a split under `val_` or `test_` and its own name."""
        own = {name: getattr(self, name) for name in ("train_loss", "lr", "epoch_seconds", "images_per_second")}
        own |= {} if self.phase is None else {"phase": self.phase}
        read = self.curves()
        return own | {f"{split}_{name}": value for split in read for name, value in read[split].items()}

    def curves(self) -> dict[str, Mapping[str, float]]:
        """The splits that were read after this epoch, with their readings."""
        return {split: read for split, read in (("val", self.val), ("test", self.test)) if read}


class Trainer:
    """Trains `model` in place.

    Same arguments, same machine with the same compiler, same thread count: the same weights, bit for bit on a CPU, also
    when stopped after any epoch and carried on from `state_dict()`.
    """

    def __init__(
        self,
        model: nn.Module,
        data: TrainData,
        recipe: Recipe,
        seed: int,
        runtime: Runtime,
        head: frozenset[str] = frozenset(),
    ) -> None:
        """head: the names of the new head's tensors in a model whose other weights are pretrained."""
        self.recipe, self.seed, self.runtime = recipe, seed, runtime
        self.epoch = 0  # finished epochs
        self._said: dict[str, tuple[float, Predictions]] = {}  # by the present weights, of a split
        threads = runtime.cell_threads()
        if threads is not None:
            torch.set_num_threads(threads)
        self.device = pick_device(runtime.device)
        set_precision(self.device)
        notes = check_precision(recipe, runtime, self.device)
        plain = runtime.path == "plain"
        layout = torch.contiguous_format if plain else torch.channels_last
        self.model = model.to(self.device).to(memory_format=layout)
        self.phase, self._before = 0, 0  # the present phase of training, and the epochs before it
        self._parts = groups(self.model, recipe, head)
        self._renew_optimizer()
        self._freeze = Freeze(self.model, recipe.pretrained, head)
        self._augmenter = (PlainAugmenter if plain else Augmenter)(recipe, data, self.device)
        self._target = data.target
        self._loss = mixed_loss(data.target)
        self._metrics = curve_metrics(data, best_val(recipe, data))
        self._stores = self._place(data)
        self._eval_batch = EvalBatch(_eval_batch_size(recipe, runtime, self.device), self.device)
        train = self._stores["train"]
        self._batches = Batches(train, self._augmenter, recipe, seed, self.device)
        plan = make_plan(recipe, runtime, self.device, len(self._batches.sizes) * recipe.total_epochs)
        self._runner = StepRunner(self.model, self._batches, tuple(self._stores.values()), plan)
        where = f"on {self.device}" if train.resident else "memory-mapped on the host"
        self._notes = [f"images: {train.size / 2**20:.0f} MB {where}", *notes, *remarks(recipe)]
        for note in self._notes:
            _log.info(note)

    @property
    def decisions(self) -> list[str]:
        """What was decided for this machine so far, in words."""
        sizes = ", ".join(map(str, self.captured))
        replayed = [f"step replayed by a CUDA graph, batches of {sizes}"] if sizes else []
        return self._notes + self._runner.decisions + replayed + self._eval_batch.decisions

    @property
    def captured(self) -> list[int]:
        """The batch sizes whose step a CUDA graph replays by now; none on another device."""
        return self._runner.captured

    def _place(self, data: TrainData) -> dict[str, Store]:
        """The splits, on the device as far as they fit beside those of the other processes that share it."""
        room, stores = 0, {}
        if self.device.type == "cuda":
            reserve = reserve_bytes(self.model, self.recipe, self.runtime, data.train.channels)
            room = free_bytes(self.device, self.runtime.cells_per_device or 1, reserve)
        for name, split in data.splits.items():
            stores[name] = Store(split, self.device, room)
            room -= stores[name].size if stores[name].resident else 0
        return stores

    def _renew_optimizer(self) -> None:
        phase, plain = self.recipe.plan[self.phase], self.runtime.path == "plain"
        self.optimizer = make_optimizer(self._parts, phase, self.device, plain=plain)
        self._rates = Rates(self.optimizer, self._parts)

    def begin_phase(self, phase: int, before: int, weights: dict[str, Any] | None = None) -> None:
        """Goes over to another phase of the recipe, with a new optimiser, after `before` epochs in all.

        weights: those it starts from; None for the present ones.
        """
        if weights is not None:
            self.load_weights(weights)
        self.phase, self._before = phase, before
        self._renew_optimizer()
        self._runner.reset()

    def epochs(self) -> Iterator[EpochResult]:
        """Trains from the first unfinished epoch to the last, giving each epoch's result as it ends.

        Phases that end before all their epochs are for the caller to end, by `begin_phase` or by asking no more.

        Raises DivergedError when the loss or what the network answers at evaluation is no longer finite: the arg max
        of NaN is class 0, and would be counted as a hit. TrainingError when memory does not suffice.
        """
        while self.epoch < self.recipe.total_epochs:
            yield self._run_epoch()

    def _run_epoch(self) -> EpochResult:
        self._said.clear()
        start = time.perf_counter()
        lr = learning_rate(self.recipe.plan[self.phase], self.epoch - self._before)
        if isinstance(known := self.model, NeighbourClassifier):
            train_loss = self._eval_batch.read(lambda size: self._remember(known, size))
        else:
            train_loss = self._runner.run_epoch(lambda: self._train(lr), self)
        seconds = time.perf_counter() - start
        self.epoch += 1
        read = {split: self.read(split)[1] if self._is_read(split) else {} for split in ("val", "test")}
        rate = sum(self._batches.sizes) / seconds
        phase = self.phase + 1 if self.recipe.phases else None
        return EpochResult(self.epoch, train_loss, lr, seconds, rate, read["val"], read["test"], phase)

    def _train(self, lr: float) -> float:
        """One pass over the train split; the mean loss over its images, read from the device once, at the end."""
        self._rates.set(lr)
        losses = torch.zeros(len(self._batches.sizes), device=self.device)
        with network_rng(self.seed, self.epoch, self.device):
            for i, loss in enumerate(self.steps()):
                losses[i] = loss
        return self._mean(losses.cpu())

    @torch.no_grad()
    def _remember(self, model: NeighbourClassifier, size: int) -> float:
        """Has the network know the train images; the mean loss of some, each without itself as a neighbour."""
        store, found = self._stores["train"], []
        model.eval()
        for stored, labels in store.take(torch.split(torch.arange(len(store), device=store.home), size)):
            images = self._augmenter.view(stored)
            with autocast(self.recipe, self.device):
                found.append((model.describe(images), labels))
        features, truths = (torch.cat(parts) for parts in zip(*found, strict=True))
        model.know(features, truths)
        some = torch.arange(0, len(store), math.ceil(len(store) / _LEFT_OUT), device=self.device)
        answers = model.answer(features[some], leave_out=some)
        return float(summed_loss(answers, truths[some], self._target)) / len(some)

    def steps(self) -> Iterator[Tensor]:
        """The training steps of the present epoch: the loss of each, still on the device."""
        self.model.train()
        if self._freeze.begin(self.epoch):
            self._runner.reset()  # a captured step has the gradients of the epochs before
        for batch in self._batches.epoch(self.epoch):
            yield self._runner.step(self._step, batch)

    def _step(self, batch: Batch, forward: Callable[[Tensor], Tensor]) -> Tensor:
        """Learns from one batch through `forward`, the network in the form that the runner has it."""
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.recipe, self.device):
            logits = forward(batch.images)
        loss = self._loss(logits, batch.first, batch.second, batch.kept, self.recipe.label_smoothing)
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

    def _is_read(self, split: str) -> bool:
        """Whether the present epoch has a reading of a split: val whenever an epoch is chosen by it."""
        if split not in self._stores or (split == "test" and not self.runtime.reads_test_curve(self.recipe)):
            return False
        every = self.runtime.eval_every
        asked = self.epoch == self.recipe.total_epochs or (every > 0 and self.epoch % every == 0)
        return asked or (split == "val" and self.recipe.best_val is not None)

    def read(self, split: str) -> tuple[Predictions, dict[str, float]]:
        """What the present weights say of a split, `val` or `test`, and the readings of it that an epoch has.

        Raises DivergedError where an output or the loss is not finite.
        """
        loss, predictions = self.predict(split)
        return predictions, {"loss": loss} | readings(predictions, self._metrics)

    def predict(self, split: str) -> tuple[float, Predictions]:
        """The mean loss (nats, no smoothing) and the predictions of the present weights on `val` or `test`.

        Images are named by their rows in the packed arrays. Raises DivergedError where an output or the loss is not
        finite.
        """
        if split not in self._said:
            with self._runner.stream():
                self._said[split] = self._eval_batch.read(lambda size: self._predict(split, size))
        return self._said[split]

    @torch.inference_mode()
    def _predict(self, split: str, size: int) -> tuple[float, Predictions]:
        store = self._stores[split]
        self.model.eval()
        loss = torch.zeros((), device=self.device)
        undefined = torch.zeros((), device=self.device, dtype=torch.int64)
        answers, truths = [], []
        for stored, labels in store.take(torch.split(torch.arange(len(store), device=store.home), size)):
            images = self._augmenter.view(stored)
            with autocast(self.recipe, self.device):
                logits = self.model(images).float()
            loss += summed_loss(logits, labels, self._target)
            undefined += (~torch.isfinite(logits).all(dim=1)).sum()
            answers.append(logits)
            truths.append(labels)
        mean = float(loss) / len(store)
        if int(undefined) or not math.isfinite(mean):
            raise DivergedError(self.epoch, None, mean, int(undefined))
        said, truth = torch.cat(answers).cpu().numpy(), torch.cat(truths).cpu().numpy()
        return mean, Predictions.of_logits(self._target, truth, said, store.rows.astype(np.str_))

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to carry on after the last finished epoch, fit for `checkpoint.save`."""
        return {
            "version": VERSION,
            "seed": self.seed,
            "epoch": self.epoch,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "phase": [self.phase, self._before],
        }

    def load_weights(self, weights: dict[str, Any]) -> None:
        """Gives the network other weights, to be read; the optimiser stays as it is."""
        self._said.clear()
        self.model.load_state_dict(weights)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over a state made by `state_dict` under the same recipe and seed. Raises TrainingError otherwise."""
        for key, mine in (("version", VERSION), ("seed", self.seed)):
            if state.get(key) != mine:
                raise TrainingError(
                    f"the checkpoint's {key} is {state.get(key)}, this run's is {mine}; they cannot be mixed. "
                    "Remove the checkpoint to train the cell from its first epoch"
                )
        phase, before = state.get("phase", (0, 0))
        self.begin_phase(phase, before, state["model"])
        load_state(self.optimizer, state["optimizer"])
        self.epoch = int(state["epoch"])


def _eval_batch_size(recipe: Recipe, runtime: Runtime, device: torch.device) -> int:
    if device.type != "cpu":
        return runtime.eval_batch_size
    return min(runtime.eval_batch_size, max(1, _CPU_EVAL_PIXELS // math.prod(sides(recipe.resolution))))


def best_val(recipe: Recipe, data: TrainData) -> BestVal | None:
    """The rule by which the recipe chooses an epoch on these data, None where it keeps the last.

    Raises TrainingError where there are no validation images, or its metric is not for what is predicted.
    """
    rule = recipe.best_val
    if rule is None:
        return None
    if data.val is None:
        raise TrainingError(
            "selection is best_val, and the data has no val split to choose an epoch on; set data.val_fraction (0.1, "
            "say) and pack the data again, or set selection to last_epoch"
        )
    if data.target not in get_metric(rule.metric).targets:
        allowed = ", ".join(metric.id for metric in metrics_for(data.target))
        raise TrainingError(
            f"selection.best_val.metric is {rule.metric}, which is not for a {data.target} target; allowed: {allowed}"
        )
    return rule


def curve_metrics(data: TrainData, rule: BestVal | None) -> list[Metric]:
    """The metrics that an epoch's readings have: the data's own, top-1 where there is one, what chooses."""
    wanted = [metric_of(data.metric, data.target), *([get_metric("top1")] if data.target in ONE_CLASS else [])]
    return list(dict.fromkeys([*wanted, *([get_metric(rule.metric)] if rule else [])]))
