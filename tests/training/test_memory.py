"""A device that is full, and what a training leaves in memory."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from loops import CPU, RECIPE, make_data, make_net, train
from torch import Tensor, nn

from mobilebench.training import Trainer, TrainingError, memory
from mobilebench.training.image_store import Store
from mobilebench.training.memory import EvalBatch, free_bytes, is_out_of_memory, reserve_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mobilebench.training.batches import Batch


@pytest.fixture
def counted_alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Memory that is freed by reference counting alone: nothing collects cycles."""
    collect = gc.collect
    collect()
    gc.disable()
    monkeypatch.setattr(gc, "collect", lambda: 0)
    yield
    gc.enable()
    collect()


def during(cause: BaseException, error: BaseException) -> BaseException:
    """An error that was raised while `cause` was handled."""
    error.__context__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"),
        torch.AcceleratorError("CUDA error: out of memory"),
        RuntimeError("CUDA driver error: out of memory"),
        RuntimeError("Triton Error [CUDA]: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
        during(torch.OutOfMemoryError("full"), RuntimeError("CUDA error: operation failed during capture")),
    ],
)
def test_a_full_device_is_known_by_whatever_library_says_so(error: BaseException) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"),
        ValueError("out of memory"),
        during(RuntimeError("no compiler"), RuntimeError("CUDA error: operation not permitted")),
    ],
)
def test_other_errors_are_not_a_full_device(error: BaseException) -> None:
    assert not is_out_of_memory(error)


def test_an_epoch_that_starts_again_holds_nothing_of_the_failed_step(
    monkeypatch: pytest.MonkeyPatch, counted_alone: None
) -> None:
    data = make_data()
    _, expected = train(data)
    trainer = Trainer(make_net(), data, RECIPE, 0, CPU)
    trainer._stores["train"] = trainer._batches._store = Store(data.train, trainer.device, room=1 << 30)
    trainer._runner._stores = tuple(trainer._stores.values())
    step = trainer._step
    calls: list[int] = []
    failed: list[weakref.ref[Tensor]] = []
    alive: list[int] = []

    def full_once(batch: Batch, forward: Callable[[Tensor], Tensor]) -> Tensor:
        calls.append(1)
        if len(calls) == 2:
            logits = forward(batch.images)  # with the whole graph of the step below it
            logits.sum().backward()  # type: ignore[no-untyped-call]
            failed.extend(map(weakref.ref, (logits, batch.images, batch.first)))
            raise torch.OutOfMemoryError("device full")
        if len(calls) == 3:
            alive.append(sum(tensor() is not None for tensor in failed))
            alive.append(sum(parameter.grad is not None for parameter in trainer.model.parameters()))
        return step(batch, forward)

    monkeypatch.setattr(trainer, "_step", full_once)
    results = list(trainer.epochs())
    assert (len(failed), alive) == (3, [0, 0])
    assert [r.train_loss for r in results] == [r.train_loss for r in expected]


@pytest.mark.parametrize("acceleration", ["auto", "off"])
def test_a_finished_training_is_freed_at_once(acceleration: Any, counted_alone: None) -> None:
    trainer, _ = train(make_data(), replace(RECIPE, epochs=2), replace(CPU, acceleration=acceleration))
    parts = [trainer, trainer.model, trainer.optimizer, trainer._runner, trainer._augmenter, *trainer._stores.values()]
    alive = [weakref.ref(part) for part in parts]
    del trainer, parts
    assert [type(part()) for part in alive if part() is not None] == []


class Full:
    """A device with room for a few images at a time."""

    def __init__(self, view: Callable[[Tensor], Tensor], most: int) -> None:
        self.view, self.most = view, most
        self.tried: list[int] = []

    def __call__(self, stored: Tensor) -> Tensor:
        self.tried.append(len(stored))
        if len(stored) > self.most:
            raise torch.AcceleratorError("CUDA error: out of memory")
        return self.view(stored)


def test_evaluation_on_a_full_device_takes_smaller_batches(caplog: pytest.LogCaptureFixture) -> None:
    data = make_data(n_test=20)
    trainer, results = train(data)
    expected, _ = trainer.predict("test")
    other = Trainer(make_net(), data, RECIPE, 0, replace(CPU, eval_batch_size=16))
    other.load_state_dict(trainer.state_dict())
    other._augmenter.view = full = Full(other._augmenter.view, 5)  # type: ignore[method-assign]
    assert other.predict("test")[0] == pytest.approx(expected, rel=1e-6)
    assert full.tried == [16, 8, 4, 4, 4, 4, 4]
    assert "evaluation batch: 4 images, cpu was full with 16" in other.decisions
    assert "evaluation batch: 8 images" in caplog.text
    assert expected == pytest.approx(results[-1].test["loss"])


def test_a_device_without_room_for_one_image_is_told() -> None:
    trainer = Trainer(make_net(), make_data(), RECIPE, 0, replace(CPU, eval_batch_size=4))
    trainer._augmenter.view = Full(trainer._augmenter.view, 0)  # type: ignore[method-assign]
    with pytest.raises(TrainingError, match=r"a single image \(CUDA error: out of memory\)\. Use a smaller resolution"):
        trainer.predict("test")


def test_what_is_no_full_device_is_raised_from_evaluation() -> None:
    def broken(size: int) -> int:
        raise ValueError(size)

    with pytest.raises(ValueError, match="8"):
        EvalBatch(8, torch.device("cpu")).read(broken)


class Flat(nn.Sequential):
    """A linear layer saves its input, a ReLU its output, which is the next layer's input."""

    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(3 * 8 * 8, 10), nn.ReLU(), nn.Linear(10, 2))


def test_what_is_kept_free_of_images_follows_from_the_network() -> None:
    recipe = replace(RECIPE, resolution=8, batch_size=16)
    found = reserve_bytes(Flat(), recipe, replace(CPU, eval_batch_size=8), 3)
    weights, image = 192 * 10 + 10 + 20 + 2, 4 * 192
    step = 1.5 * (16 * weights + 16 * 4 * (192 + 10))
    assert found == (2 << 30) + int(step) + 3 * 8 * image + 64 * 16 * image


def test_of_a_network_that_tells_nothing_the_usual_is_kept_free() -> None:
    assert reserve_bytes(nn.Sequential(nn.Conv2d(3, 4, 1)), RECIPE, CPU, 3) == memory.RESERVE


def test_images_get_what_one_of_several_processes_may_fill(monkeypatch: pytest.MonkeyPatch) -> None:
    emptied: list[int] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(1))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (70 if emptied else 20, 80))
    card = torch.device("cuda:0")
    assert [free_bytes(card, sharers, 10) for sharers in (1, 2, 8)] == [60, 30, 0]
    assert free_bytes(torch.device("cpu"), 1, 10) == 0
