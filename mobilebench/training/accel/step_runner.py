"""The one object between the loop and everything that exists for speed alone.

`StepRunner.step` runs a training step as the plan says. `StepRunner.run_epoch` gives up what does not work on this
machine (a compiled network, images on the device) and starts the epoch again, so that it costs time but never a cell.
"""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from mobilebench.training.accel import allocator
from mobilebench.training.accel.activation import disable_inplace
from mobilebench.training.accel.batchnorm import fold_batch_norms
from mobilebench.training.accel.cuda_graph import GraphedStep
from mobilebench.training.accel.depthwise import NoCompilerError, use_fast_gradients
from mobilebench.training.accel.plan import is_out_of_memory
from mobilebench.training.errors import DivergedError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mobilebench.training.accel.plan import AccelerationPlan
    from mobilebench.training.batches import Batch, Batches
    from mobilebench.training.image_store import Store

    Forward = Callable[[Tensor], Tensor]

_log = logging.getLogger(__name__)


class Resumable(Protocol):
    """What an epoch that starts again is reset by: a trainer."""

    def state_dict(self) -> dict[str, Any]:
        """Everything an epoch starts from."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes back to `state`."""


class StepRunner:
    """Runs training steps of `model` with the techniques of `plan`.

    step: the eager step, given a batch and what to run it forward through; stores: the images of the train split and
    of those it is read on. `decisions` says in words what was decided, and later what was given up.
    """

    def __init__(
        self,
        step: Callable[[Batch, Forward], Tensor],
        model: nn.Module,
        batches: Batches,
        stores: tuple[Store, ...],
        plan: AccelerationPlan,
    ) -> None:
        self._step, self._model, self._batches, self._stores, self._plan = step, model, batches, stores, plan
        self._graphed: GraphedStep | None = None
        self.decisions: list[str] = list(plan.reasons)
        if plan.disable_inplace:
            disable_inplace(model)
        if plan.own_depthwise:
            self._use_fast_depthwise()
        if plan.keep_freed_memory and allocator.keep_freed_memory():
            self.decisions.append("allocator: freed memory is kept between steps")
        for decision in self.decisions:
            _log.info(decision)
        self._use(compiled=True, graphed=plan.graph)

    def step(self, batch: Batch) -> Tensor:
        """Learns from one batch; its loss, still on the device, to be read before the next call."""
        return (self._graphed or self._eager)(batch)

    def run_epoch(self, train: Callable[[], float], trainer: Resumable) -> float:
        """`train()`; on a full device or a failed compilation it starts again from the state before, more modestly.

        Raises DivergedError as `train` does, TrainingError when memory does not suffice, and whatever else is no fault
        of a technique.
        """
        while True:
            can_fall_back = self._compiled or self._stores[0].resident
            before = copy.deepcopy(trainer.state_dict()) if can_fall_back else None
            try:
                loss = train()
            except DivergedError:
                raise
            except Exception as error:  # noqa: BLE001 - compilers fail in many ways; what is not theirs is raised again
                self._fall_back(error)
            else:
                break
            # Outside the handler: the error, and with it the failed step's tensors, has been let go.
            assert before is not None
            trainer.load_state_dict(before)
        if self._graphed is not None and self._graphed.failure:
            self._give_up(f"step eager: the CUDA graph could not be captured: {self._graphed.failure}")
            self._use(compiled=self._compiled, graphed=False)
        return loss

    def reset(self) -> None:
        """Forgets a captured graph: it reads the optimiser state that has been replaced."""
        if self._graphed is not None:
            self._graphed = GraphedStep(self._eager)

    def _eager(self, batch: Batch) -> Tensor:
        full = len(batch.first) == self._batches.batch_size  # a compiled network is compiled for full batches alone
        return self._step(batch, self._forward if full else self._model)

    def _use(self, *, compiled: bool, graphed: bool) -> None:
        """Chooses how the network and the step run from the next step on."""
        self._compiled = compiled and (self._plan.compile_network or self._plan.compile_colour)
        network, colour = self._compiled and self._plan.compile_network, self._compiled and self._plan.compile_colour
        if not network and self._plan.fold_batch_norms:
            fold_batch_norms(self._model)  # a compiled network has its own way
        self._forward: Forward = (
            torch.compile(self._model, options={"fallback_random": True}) if network else self._model  # eager's dropout
        )
        self._batches.compile_colour(colour)
        self._graphed = GraphedStep(self._eager) if graphed else None

    def _use_fast_depthwise(self) -> None:
        try:
            layers = use_fast_gradients(self._model)
        except NoCompilerError as error:
            self._give_up(f"depthwise gradients: PyTorch's, {error}")
        else:
            if layers:
                self.decisions.append(f"depthwise gradients: our own in {layers} layer{'s' if layers > 1 else ''}")

    def _fall_back(self, error: Exception) -> None:
        """Gives up what `error` shows not to work here; raises when nothing is left to give up."""
        cause = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        if is_out_of_memory(error):
            device = self._batches.device
            if not self._stores[0].resident:
                raise TrainingError(
                    f"out of memory on {device} with images on the host ({cause}). Use a smaller batch_size or "
                    "resolution, or let fewer cells share the device (runtime.cells_per_device)"
                ) from error
            for store in self._stores:
                store.evict()
            self._give_up(f"images: moved to the host, {device} was full")
        elif self._compiled:
            self._give_up(f"eager: compiling failed: {cause}")
            self._use(compiled=False, graphed=self._graphed is not None)
        else:
            raise error

    def _give_up(self, decision: str) -> None:
        self.decisions.append(decision)
        _log.warning(decision)
