"""A training step as a CUDA graph: one launch instead of about a thousand, which is what a small network waits for.

Gain: not measured, benchmarks/RESULTS.md was made without a GPU. It can go if a GPU shows no gain, or when
torch.compile captures forward, backward and optimiser in one graph as quickly as this does.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, NamedTuple

import torch

from mobilebench.training.batches import Batch
from mobilebench.training.memory import is_out_of_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

_WARM_UP = 4  # eager steps before the first capture, so that autotuning and lazy initialisation are over


class CaptureError(Exception):
    """The step cannot be captured; the message says why. Whether it was carried out is not known."""


class _Captured(NamedTuple):
    """A step of one batch size: the graph, the batch it reads and the loss it writes."""

    graph: torch.cuda.CUDAGraph
    batch: Batch
    loss: Tensor


class GraphedStep:
    """Runs a step eagerly for the first batches, then captures it and replays the capture, for each size of batch.

    All steps are real ones: capturing computes nothing, the first replay is the captured batch's step. Called with
    `stream` as the present one. The graphs share one pool of memory, so a loss has to be read before the next call.
    """

    def __init__(self, device: torch.device, stream: torch.cuda.Stream) -> None:
        self._device, self._stream = device, stream
        self._pool = torch.cuda.graph_pool_handle()
        self._captured: dict[int, _Captured] = {}
        self._seen: Counter[int] = Counter()

    @property
    def sizes(self) -> list[int]:
        """The batch sizes whose step has been captured."""
        return sorted(self._captured)

    def __call__(self, step: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
        """Carries out `step`, the same in every call, on one batch; its loss, to be read before the next call.

        Raises CaptureError where that is not possible, torch.OutOfMemoryError (or what libraries raise for it) where
        memory does not suffice. The random state is then a fresh one.
        """
        size = len(batch.first)
        found = self._captured.get(size)
        if found is None:
            self._seen[size] += 1
            if self._seen[size] <= (1 if self._captured else _WARM_UP):
                return step(batch)
            return self._capture(step, batch)
        for field in fields(Batch):
            getattr(found.batch, field.name).copy_(getattr(batch, field.name))
        found.graph.replay()
        return found.loss

    def _capture(self, step: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
        static = Batch(**{field.name: getattr(batch, field.name).clone() for field in fields(Batch)})
        graph = torch.cuda.CUDAGraph()
        try:
            # Only this thread's calls count: another one reads images into pinned memory meanwhile.
            mode = "thread_local"
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode=mode):
                loss = step(static)
        except Exception as error:
            _renew_generator(self._device)
            if is_out_of_memory(error):
                raise
            raise CaptureError((str(error).splitlines() or [type(error).__name__])[0]) from error
        loss.fill_(torch.nan)
        graph.replay()
        if bool(torch.isnan(loss)):  # a step whose own loss is not a number is run eagerly, and says so there
            raise CaptureError("its replay gives no loss")
        self._captured[len(batch.first)] = _Captured(graph, static, loss)
        return loss


@contextmanager
def on_stream(stream: torch.cuda.Stream | None) -> Iterator[None]:
    """Has all work within go to `stream`, after what was asked of the present one and before what is asked of it next.

    PyTorch keeps freed memory for the stream that used it, so that work on one stream needs it once. Nothing for None.
    """
    if stream is None:
        yield
        return
    outer = torch.cuda.current_stream(stream.device)
    if outer == stream:
        yield
        return
    stream.wait_stream(outer)
    try:
        with torch.cuda.stream(stream):
            yield
    finally:
        outer.wait_stream(stream)


def _renew_generator(device: torch.device) -> None:
    """Gives the device's generator a state that is not being captured: after a failed capture the old one still is."""
    fresh = torch.Generator(device).graphsafe_get_state()
    torch.cuda.default_generators[device.index or 0].graphsafe_set_state(fresh)
