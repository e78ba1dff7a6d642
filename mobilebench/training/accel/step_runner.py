"""The one object between the loop and everything that exists for speed alone.

`StepRunner.step` runs a training step as the plan says. `StepRunner.run_epoch` gives up what does not work on this
machine (a compiled network, images on the device) and starts the epoch again, so that it costs time but never a cell.
"""

from __future__ import annotations

import copy
import logging
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from mobilebench.training.accel import allocator
from mobilebench.training.accel.compiled import compile_network
from mobilebench.training.accel.cuda_graph import CaptureError, GraphedStep, on_stream
from mobilebench.training.accel.depthwise import use_fast_gradients
from mobilebench.training.accel.native import NoCompilerError
from mobilebench.training.accel.norm import fuse_norms
from mobilebench.training.errors import DivergedError, TrainingError
from mobilebench.training.memory import free_unused, is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from mobilebench.training.accel.plan import AccelerationPlan
    from mobilebench.training.batches import Batch, Batches
    from mobilebench.training.image_store import Store

    Forward = Callable[[Tensor], Tensor]
    Step = Callable[[Batch, Forward], Tensor]

_log = logging.getLogger(__name__)


class Resumable(Protocol):
    """What an epoch that starts again is reset by: a trainer."""

    def state_dict(self) -> dict[str, Any]:
        """Everything an epoch starts from."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes back to `state`."""


class StepRunner:
    """Runs training steps of `model` with the techniques of `plan`.

    stores: the images of the train split and of those it is read on. `decisions` says in words what was decided, and
    later what was given up. Steps are handed in with each call: a runner that held its trainer's method would be in a
    cycle with it, and a finished cell would stay on the card until a garbage collection.
    """

    def __init__(
        self,
        model: nn.Module,
        batches: Batches,
        stores: tuple[Store, ...],
        plan: AccelerationPlan,
    ) -> None:
        self._model, self._batches, self._stores, self._plan = model, batches, stores, plan
        self._stream = _stream(batches.device) if plan.graph else None
        self._graphed: GraphedStep | None = None
        self.decisions: list[str] = []
        for reason in plan.reasons:
            self._decide(reason)
        if plan.own_depthwise:
            self._use_native("depthwise gradients", lambda: use_fast_gradients(model, plan.dtype))
        if plan.keep_freed_memory and allocator.keep_freed_memory():
            self._decide("allocator: freed memory is kept between steps")
        if plan.compile_network or plan.compile_colour:
            # As in a new process. Else the code of a network's class keeps what was compiled for others: the ninth of
            # other shapes runs eagerly without a word, and one of another batch size is compiled for any size.
            torch.compiler.reset()
        self._use(compiled=True, graphed=plan.graph)

    @property
    def captured(self) -> list[int]:
        """The batch sizes whose step a CUDA graph replays; none yet before the fifth step."""
        return [] if self._graphed is None else self._graphed.sizes

    def step(self, step: Step, batch: Batch) -> Tensor:
        """Learns from one batch; its loss, still on the device, to be read before the next call.

        step: the eager step, the same in every call, given a batch and what to run it forward through.
        """

        def eager(batch: Batch) -> Tensor:
            full = len(batch.first) == self._batches.batch_size  # a compiled network is compiled for full batches alone
            return step(batch, self._forward if full else self._model)

        with self.stream():
            return self._graphed(eager, batch) if self._graphed is not None else eager(batch)

    def stream(self) -> AbstractContextManager[None]:
        """Has the device's work within go where the steps go."""
        return on_stream(self._stream)

    def run_epoch(self, train: Callable[[], float], trainer: Resumable) -> float:
        """`train()`; where a technique fails it starts again from the state before, more modestly.

        What can fail: memory that does not suffice, a network that cannot be compiled, a step that cannot be captured.
        Raises DivergedError as `train` does, TrainingError when memory does not suffice, and whatever else is no fault
        of a technique.
        """
        while True:
            can_fall_back = self._compiled or self._resident or self._graphed is not None
            before = copy.deepcopy(trainer.state_dict()) if can_fall_back else None
            try:
                with self.stream():
                    return train()
            except DivergedError:
                raise
            except Exception as error:  # noqa: BLE001 - compilers fail in many ways; what is not theirs is raised again
                self._fall_back(error)
            # Outside the handler: the error, and with it the failed step's tensors, has been let go.
            assert before is not None
            self._model.zero_grad(set_to_none=True)
            self.reset()
            free_unused(self._batches.device)
            trainer.load_state_dict(before)

    def reset(self) -> None:
        """Forgets captured graphs: they read the optimiser state that has been replaced."""
        self._graph(wanted=self._graphed is not None)

    def _graph(self, *, wanted: bool) -> None:
        if wanted and self._stream is not None:
            self._graphed = GraphedStep(self._batches.device, self._stream)
        else:
            self._graphed = None

    @property
    def _resident(self) -> bool:
        return any(store.resident for store in self._stores)

    def _use(self, *, compiled: bool, graphed: bool) -> None:
        """Chooses how the network and the step run from the next step on."""
        self._compiled = compiled and (self._plan.compile_network or self._plan.compile_colour)
        network, colour = self._compiled and self._plan.compile_network, self._compiled and self._plan.compile_colour
        if not network and self._plan.fuse_norms:  # a compiled network has its own way
            self._use_native("batch normalisation", lambda: fuse_norms(self._model))
        self._forward: Forward = compile_network(self._model) if network else self._model
        self._batches.compile_colour(colour)
        self._graph(wanted=graphed)

    def _use_native(self, what: str, use: Callable[[], int]) -> None:
        try:
            layers = use()
        except NoCompilerError as error:
            self._give_up(f"{what}: PyTorch's, {error}")
        else:
            if layers:
                self._decide(f"{what}: our own in {layers} layer{'s' if layers > 1 else ''}")

    def _fall_back(self, error: Exception) -> None:
        """Gives up what `error` shows not to work here; raises when nothing is left to give up."""
        cause = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        graphed, device = self._graphed is not None, self._batches.device
        if is_out_of_memory(error):
            self._make_room(error, cause)
        elif isinstance(error, CaptureError):
            self._give_up(f"step eager: the CUDA graph could not be captured: {error}")
            self._use(compiled=self._compiled, graphed=False)
        elif self._compiled:
            what = "compiling failed" if _is_of_compiler(error) else f"a step with compiled parts failed on {device}"
            self._give_up(f"eager: {what}: {cause}")
            self._use(compiled=False, graphed=graphed)
        else:
            raise error

    def _make_room(self, error: Exception, cause: str) -> None:
        device = self._batches.device
        if self._resident:
            for store in self._stores:
                store.evict()
            self._give_up(f"images: moved to the host, {device} was full")
        elif self._graphed is not None:  # its pool is memory that eager steps cannot use
            self._give_up(f"step eager: {device} was full")
            self._use(compiled=self._compiled, graphed=False)
        else:
            raise TrainingError(
                f"out of memory on {device} with images on the host ({cause}). Use a smaller batch_size or "
                "resolution, or let fewer cells share the device (runtime.cells_per_device)"
            ) from error

    def _decide(self, decision: str) -> None:
        self.decisions.append(decision)
        _log.info(decision)

    def _give_up(self, decision: str) -> None:
        self.decisions.append(decision)
        _log.warning(decision)


@cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """The stream of every training of this process: cuBLAS keeps a workspace for each stream it has seen."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def _is_of_compiler(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, is Dynamo's, Inductor's or Triton's own."""
    while error is not None:
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor", "triton")):
            return True
        error = error.__cause__ or error.__context__
    return False
