"""The memory of a device: what a training needs of it beside images, and what is done where it is full."""

from __future__ import annotations

import gc
import logging
import math
import re
from typing import TYPE_CHECKING, TypeVar

import torch

from mobilebench.config.pixels import input_size, sides
from mobilebench.models.cost.counts import saved_bytes, training_bytes
from mobilebench.models.spec import ModelError
from mobilebench.training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from mobilebench.config.recipe import Recipe
    from mobilebench.config.runtime import Runtime

_log = logging.getLogger(__name__)
_Read = TypeVar("_Read")

RESERVE = 6 << 30
"""Bytes for a network about which nothing is known: the most of the eleven of the paper at 224 px and batch 32."""
_CONTEXT = 2 << 30  # CUDA's own context, kernels and the workspaces of cuDNN and cuBLAS
_MARGIN = 1.5  # workspaces, the graph's pool beside the cache, and blocks that fit nothing
_ALIVE = 3  # of the largest activations while evaluating: a layer's input, its output, a residual
_BLOCK_COPIES = 8 * 8  # batches that are augmented together, and their copies in the chain of operations

# What libraries say of a full device beside torch.OutOfMemoryError: the CUDA runtime and driver, Triton and MPS; cuBLAS
# and cuDNN, which take their workspaces themselves, or find no room for a handle or for any way to compute.
_FULL = re.compile(
    r"can't allocate memory|out of memory|_ALLOC(ATION)?_FAILED|CU(BLAS|DNN)_STATUS_NOT_INITIALIZED"
    r"|unable to find an engine",
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is a full device or host, or was raised because of one."""
    seen: BaseException | None = error
    while seen is not None:
        full = isinstance(seen, torch.OutOfMemoryError | MemoryError)
        if full or (isinstance(seen, RuntimeError) and _FULL.search(str(seen))):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def free_unused(device: torch.device) -> None:
    """Gives memory that nothing uses back to the device: tensors of dead cycles, blocks that PyTorch keeps."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def free_bytes(device: torch.device, sharers: int, reserve: int) -> int:
    """Bytes of a CUDA device that one of `sharers` processes may fill with images; 0 on other devices.

    reserve: bytes that are kept free beside them. On a CPU the memory map is already where it is used, and shared by
    all processes.
    """
    if device.type != "cuda":
        return 0
    free_unused(device)  # what the cell before left in this process counts as free
    free, total = torch.cuda.mem_get_info(device)
    return max(0, min(free, total // sharers) - reserve)


def reserve_bytes(model: nn.Module, recipe: Recipe, runtime: Runtime, channels: int) -> int:
    """Bytes of a CUDA device to be kept free of images, for training `model` and reading it.

    An estimate from what its backward pass keeps; RESERVE for a network that says nothing of a batch of two.
    """
    try:
        two = saved_bytes(model, input_size(recipe.resolution, channels), batch=2)
    except ModelError:
        return RESERVE
    saved = [size // 2 for size in two]
    image = 4 * channels * math.prod(sides(recipe.resolution))
    learning = _MARGIN * training_bytes(model, sum(saved), recipe.batch_size)
    reading = _ALIVE * runtime.eval_batch_size * max(saved, default=image)
    return _CONTEXT + int(learning) + reading + _BLOCK_COPIES * recipe.batch_size * image


class EvalBatch:
    """Images per evaluation batch: as many as asked for, half as many after each full device."""

    def __init__(self, size: int, device: torch.device) -> None:
        self.size = size
        self._asked, self._device = size, device

    @property
    def decisions(self) -> list[str]:
        """What was given up, in words."""
        if self.size == self._asked:
            return []
        return [f"evaluation batch: {self.size} images, {self._device} was full with {self._asked}"]

    def read(self, reading: Callable[[int], _Read]) -> _Read:
        """`reading(size)` with the first size for which there is memory, begun anew with each.

        Raises TrainingError where a single image is too much.
        """
        while True:
            try:
                return reading(self.size)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if self.size == 1:
                    cause = (str(error).splitlines() or [type(error).__name__])[0]
                    raise TrainingError(
                        f"out of memory on {self._device} evaluating a single image ({cause}). Use a smaller "
                        "resolution, or let fewer cells share the device (runtime.cells_per_device)"
                    ) from error
            # Outside the handler: the error, and with it the failed batch's tensors, has been let go.
            self.size //= 2
            free_unused(self._device)
            _log.warning(self.decisions[0])
