"""A training step as a CUDA graph: one launch instead of about a thousand, which is what a small network waits for.

Gain: not measured, benchmarks/RESULTS.md was made without a GPU. It can go if a GPU shows no gain, or when
torch.compile captures forward, backward and optimiser in one graph as quickly as this does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from mobilebench.training.batches import Batch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

_WARM_UP = 4  # eager steps before the capture, so that autotuning and lazy initialisation are over


class GraphedStep:
    """Runs `step` eagerly for the first batches, then captures it and replays the capture.

    All steps are real ones: capturing computes nothing, the first replay is the captured batch's step. A batch of
    another size runs eagerly. When the capture fails, `failure` says why and everything runs eagerly.
    """

    def __init__(self, step: Callable[[Batch], Tensor]) -> None:
        self._step = step
        self._seen = 0
        self._size = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._static: Batch | None = None
        self._loss: Tensor | None = None
        self.failure: str | None = None

    def __call__(self, batch: Batch) -> Tensor:
        """Carries out the step of one batch and returns its loss, to be read before the next call."""
        if self._graph is None and self.failure is None and self._ready(batch):
            self._capture(batch)
        if self._graph is None or self._static is None or self._loss is None or len(batch.first) != self._size:
            return self._warm_up(batch)
        for name in ("images", "first", "second", "kept"):
            getattr(self._static, name).copy_(getattr(batch, name))
        self._graph.replay()
        return self._loss

    def _ready(self, batch: Batch) -> bool:
        self._seen = self._seen + 1 if len(batch.first) == self._size else 0
        self._size = len(batch.first)
        return self._seen >= _WARM_UP

    def _warm_up(self, batch: Batch) -> Tensor:
        """An eager step on a side stream, as a capture needs its warm-up to be."""
        stream: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            loss = self._step(batch)
        torch.cuda.current_stream().wait_stream(stream)
        return loss

    def _capture(self, batch: Batch) -> None:
        self._static = Batch(
            batch.images.clone(memory_format=torch.preserve_format),
            batch.first.clone(),
            batch.second.clone(),
            batch.kept.clone(),
        )
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self._loss = self._step(self._static)
        except RuntimeError as error:
            self.failure = str(error).splitlines()[0]
            self._static = self._loss = None
        else:
            self._graph = graph
