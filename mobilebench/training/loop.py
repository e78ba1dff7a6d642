"""The training loop: one network, one dataset, one recipe, one seed."""

from __future__ import annotations

import copy
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mobilebench.training import VERSION
from mobilebench.training.accel import allocator as memory
from mobilebench.training.accel.activation import disable_inplace
from mobilebench.training.accel.batchnorm import fold_batch_norms
from mobilebench.training.accel.cuda_graph import GraphedStep
from mobilebench.training.accel.depthwise import NoCompilerError, use_fast_gradients
from mobilebench.training.accel.plan import autocast, is_out_of_memory, make_optimizer, make_plan, pick_device
from mobilebench.training.augment import Augmenter
from mobilebench.training.batches import Batch, Batches
from mobilebench.training.errors import DivergedError, TrainingError
from mobilebench.training.image_store import Store, free_bytes
from mobilebench.training.loss import mixed_cross_entropy
from mobilebench.training.plain import PlainAugmenter
from mobilebench.training.rng import network_rng
from mobilebench.training.schedule import learning_rate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mobilebench.config.recipe import Recipe
    from mobilebench.config.runtime import Runtime
    from mobilebench.training.data import TrainData

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
    when stopped after any epoch and carried on from `state_dict()`. `decisions` says in words what was decided for this
    machine.
    """

    def __init__(self, model: nn.Module, data: TrainData, recipe: Recipe, seed: int, runtime: Runtime) -> None:
        self.recipe, self.seed, self.runtime = recipe, seed, runtime
        self.epoch = 0  # finished epochs
        self.decisions: list[str] = []
        threads = runtime.cell_threads()
        if threads is not None:
            torch.set_num_threads(threads)
        self.device = pick_device(runtime.device)
        plain = runtime.path == "plain"
        layout = torch.contiguous_format if plain else torch.channels_last
        self.model = model.to(self.device).to(memory_format=layout)
        if not plain:
            disable_inplace(self.model)
        self.optimizer = make_optimizer(self.model, recipe, self.device, plain=plain)
        self._rate = self.optimizer.param_groups[0]["lr"]
        self._augmenter = (PlainAugmenter if plain else Augmenter)(recipe, data, self.device)
        self._place(data)
        self._batches = Batches(self._train_store, self._augmenter, recipe, seed, self.device)
        self._plan = make_plan(recipe, runtime, self.device, len(self._batches.sizes) * recipe.epochs)
        self.decisions += self._plan.reasons
        if self._plan.own_depthwise:
            self._use_fast_depthwise()
        if not plain and self.device.type == "cpu" and memory.keep_freed_memory():
            self.decisions.append("allocator: freed memory is kept between steps")
        self._use(compiled=True, graphed=self._plan.graph)

    def _place(self, data: TrainData) -> None:
        """Puts the splits on the device when they fit beside those of the other processes that share it."""
        room = free_bytes(self.device, self.runtime.cells_per_device or 1)
        self._train_store = Store(data.train, self.device, room)
        room -= self._train_store.size if self._train_store.resident else 0
        self._test_store = Store(data.test, self.device, room)
        where = f"on {self.device}" if self._train_store.resident else "memory-mapped on the host"
        self.decisions.append(f"images: {self._train_store.size / 2**20:.0f} MB {where}")

    def _use_fast_depthwise(self) -> None:
        try:
            layers = use_fast_gradients(self.model)
        except NoCompilerError as error:
            self._tell(f"depthwise gradients: PyTorch's, {error}")
        else:
            if layers:
                self.decisions.append(f"depthwise gradients: our own in {layers} layer{'s' if layers > 1 else ''}")

    def _use(self, *, compiled: bool, graphed: bool) -> None:
        """Chooses how the network and the step run from the next step on."""
        self._compiled = compiled and (self._plan.compile_network or self._plan.compile_colour)
        network, colour = self._compiled and self._plan.compile_network, self._compiled and self._plan.compile_colour
        if not network and self.runtime.path == "fast" and self.device.type == "cpu":
            fold_batch_norms(self.model)  # a compiled network has its own way
        self._forward: Callable[[Tensor], Tensor] = (
            torch.compile(self.model, options={"fallback_random": True}) if network else self.model  # eager's dropout
        )
        self._augmenter.compile_colour(self._batches.block_images if colour else None)
        self._graphed = GraphedStep(self._step) if graphed else None

    def epochs(self) -> Iterator[EpochResult]:
        """Trains from the first unfinished epoch to the last, giving each epoch's result as it ends.

        Raises DivergedError when the loss is no longer finite, TrainingError when memory does not suffice.
        """
        while self.epoch < self.recipe.epochs:
            yield self._run_epoch()

    def _run_epoch(self) -> EpochResult:
        start = time.perf_counter()
        lr = learning_rate(self.recipe, self.epoch)
        train_loss = self._train_with_fallback(lr)
        seconds = time.perf_counter() - start
        self.epoch += 1
        test_loss, test_top1 = self.evaluate() if self._is_read() else (None, None)
        rate = sum(self._batches.sizes) / seconds
        return EpochResult(self.epoch, train_loss, lr, seconds, rate, test_loss, test_top1)

    def _train(self, lr: float) -> float:
        """One pass over the train split; the mean loss over its images, read from the device once, at the end."""
        self._set_rate(lr)
        losses = torch.zeros(len(self._batches.sizes), device=self.device)
        with network_rng(self.seed, self.epoch, self.device):
            for i, loss in enumerate(self.steps()):
                losses[i] = loss
        return self._mean(losses.cpu())

    def steps(self) -> Iterator[Tensor]:
        """The training steps of the present epoch: the loss of each, still on the device."""
        self.model.train()
        step = self._graphed or self._step
        for batch in self._batches.epoch(self.epoch):
            yield step(batch)

    def _step(self, batch: Batch) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        forward = self._forward if len(batch.first) == self.recipe.batch_size else self.model
        with autocast(self._plan, self.device):
            logits = forward(batch.images)
        loss = mixed_cross_entropy(logits, batch.first, batch.second, batch.kept, self.recipe.label_smoothing)
        torch.autograd.backward(loss)
        self.optimizer.step()
        return loss.detach()

    def _set_rate(self, lr: float) -> None:
        if isinstance(self._rate, Tensor):
            self._rate.fill_(lr)
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate if isinstance(self._rate, Tensor) else lr

    def _mean(self, losses: Tensor) -> float:
        bad = torch.nonzero(~torch.isfinite(losses))
        if len(bad):
            step = int(bad[0])
            raise DivergedError(self.epoch + 1, step + 1, float(losses[step]))
        sizes = torch.tensor(self._batches.sizes, dtype=torch.float64)
        return float(losses.double() @ sizes / sizes.sum())

    def _train_with_fallback(self, lr: float) -> float:
        """`_train`; on a full device or a failed compilation the epoch starts again, more modestly."""
        can_retreat = self._compiled or self._train_store.resident
        before = copy.deepcopy(self.state_dict()) if can_retreat else None
        try:
            loss = self._train(lr)
        except DivergedError:
            raise
        except Exception as error:  # noqa: BLE001 - compilers fail in many ways; what is not theirs is raised again
            self._fall_back(error)
            assert before is not None
            self.load_state_dict(before)
            return self._train_with_fallback(lr)
        if self._graphed is not None and self._graphed.failure:
            self._tell(f"step eager: the CUDA graph could not be captured: {self._graphed.failure}")
            self._use(compiled=self._compiled, graphed=False)
        return loss

    def _fall_back(self, error: Exception) -> None:
        """Gives up what `error` shows not to work here; raises when nothing is left to give up."""
        cause = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        if is_out_of_memory(error):
            if not self._train_store.resident:
                raise TrainingError(
                    f"out of memory on {self.device} with images on the host ({cause}). Use a smaller batch_size or "
                    "resolution, or let fewer cells share the device (runtime.cells_per_device)"
                ) from error
            self._train_store.evict()
            self._test_store.evict()
            self._tell(f"images: moved to the host, {self.device} was full")
        elif self._compiled:
            self._tell(f"eager: compiling failed: {cause}")
            self._use(compiled=False, graphed=self._graphed is not None)
        else:
            raise error

    def _tell(self, decision: str) -> None:
        self.decisions.append(decision)
        warnings.warn(decision, stacklevel=2)

    def _is_read(self) -> bool:
        every = self.runtime.eval_every
        return self.epoch == self.recipe.epochs or (every > 0 and self.epoch % every == 0)

    @torch.inference_mode()
    def evaluate(self) -> tuple[float, float]:
        """Mean cross-entropy (nats, no smoothing) and top-1 (fraction) on the test split with the present weights."""
        self.model.eval()
        loss = torch.zeros((), device=self.device)
        hits = torch.zeros((), device=self.device)
        places = torch.arange(len(self._test_store), device=self._test_store.home)
        for stored, labels in self._test_store.take(torch.split(places, self._eval_batch())):
            with autocast(self._plan, self.device):
                logits = self.model(self._augmenter.view(stored)).float()
            loss += functional.cross_entropy(logits, labels, reduction="sum")
            hits += (logits.argmax(dim=1) == labels).sum()
        return float(loss) / len(self._test_store), float(hits) / len(self._test_store)

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
        if self._graphed is not None:  # a captured graph reads the optimiser state that was replaced
            self._graphed = GraphedStep(self._step)
