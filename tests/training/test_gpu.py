"""Training on a CUDA card, held to the same training without its techniques, and to the CPU's.

Everything here skips without a card. What of it a CPU can show is in test_memory.py, test_optim.py, test_device.py and
accel/test_cuda_graph.py, with stand-ins; here are the real stream, graph, allocator and generator.
"""

from __future__ import annotations

import gc
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from loops import CPU, RECIPE, make_data, make_net
from torch import Tensor, nn

from mobilebench.config.recipe import Augment
from mobilebench.config.runtime import Runtime
from mobilebench.models import create
from mobilebench.system.provenance import device_tags
from mobilebench.training import EpochResult, TrainData, Trainer, checkpoint
from mobilebench.training.device import has_bf16
from mobilebench.training.memory import free_unused, reserve_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mobilebench.config.recipe import Recipe
    from mobilebench.training.batches import Batch

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

CARD = Runtime(device="cuda")
EAGER = replace(CARD, acceleration="off")
RATES = {"adam": 0.01, "adamw": 0.01, "sgd": 0.05}
FULL, REST = 16, 10  # images of a full batch and of the last one; four eager steps come before a capture
ENDLESS = 1 << 42  # bytes that no card has
MIB = 1 << 20


@pytest.fixture(autouse=True)
def reproducible() -> Iterator[None]:
    """cuDNN's kernels without atomics, so that two runs differ by rounding alone; no memory of the test before."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    free_unused(torch.device("cuda"))
    yield
    torch.backends.cudnn.deterministic = before


@pytest.fixture(scope="module")
def data() -> TrainData:
    return make_data(FULL * 24 + REST)


def curve(results: list[EpochResult]) -> list[float]:
    return [value for result in results for value in (result.train_loss, result.test["loss"])]


def train(
    data: TrainData, runtime: Runtime = CARD, recipe: Recipe = RECIPE, net: nn.Module | None = None
) -> tuple[Trainer, list[float]]:
    trainer = Trainer(net or make_net(), data, recipe, 0, runtime)
    return trainer, curve(list(trainer.epochs()))


def test_a_gpu_has_the_cpus_curve(data: TrainData) -> None:
    _, cpu = train(data, CPU, net=make_net(dropout=0.0))
    trainer, card = train(data, net=make_net(dropout=0.0))
    assert card == pytest.approx(cpu, rel=0.01)
    assert trainer._stores["train"].resident
    assert trainer.captured == [REST, FULL]


@pytest.mark.parametrize("optimizer", RATES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_replayed_steps_are_eager_ones_with_dropout_and_a_rest(data: TrainData, optimizer: str, precision: str) -> None:
    if precision == "bf16" and not has_bf16(torch.device("cuda")):
        pytest.skip("this card has no bf16")
    recipe = replace(RECIPE, optimizer=optimizer, lr=RATES[optimizer], precision=precision)
    graphed, one = train(data, recipe=recipe)
    eager, two = train(data, EAGER, recipe)
    assert graphed.captured == [REST, FULL]
    assert eager.captured == []
    assert one == pytest.approx(two, rel=1e-3 if precision == "fp32" else 2e-2)


QUIET = Augment(crop_scale=None, hflip=0, color_jitter=(0, 0, 0, 0), cutmix_alpha=0)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_masks_differ_between_epochs_and_are_those_of_the_seed(data: TrainData, dropout: float) -> None:
    """Without learning and augmentation only dropout can make one epoch's loss another's."""
    still = replace(RECIPE, lr=1e-30, min_lr=0.0, augment=QUIET)
    nets = [
        nn.Sequential(*(module for module in make_net(dropout=dropout) if not isinstance(module, nn.BatchNorm2d)))
        for _ in range(2)
    ]
    (trainer, first), (_, again) = (train(data, recipe=still, net=net) for net in nets)
    assert trainer.captured == [REST, FULL]
    losses = first[::2]
    assert (max(losses) - min(losses) > 1e-4) == (dropout > 0)
    assert first == pytest.approx(again, rel=1e-6)


def test_a_compiled_network_is_captured_and_learns_the_same(data: TrainData) -> None:
    trainer, compiled = train(data, replace(CARD, acceleration="on"), replace(RECIPE, epochs=2))
    _, eager = train(data, EAGER, replace(RECIPE, epochs=2))
    assert trainer.captured == [REST, FULL]
    assert compiled == pytest.approx(eager, rel=1e-2)
    assert not any("failed" in decision for decision in trainer.decisions)


def halfway(data: TrainData, runtime: Runtime, recipe: Recipe, path: Path, net: nn.Module) -> dict[str, Any]:
    """A checkpoint after the first epoch, written and read as a run does it."""
    trainer = Trainer(net, data, recipe, 0, runtime)
    next(trainer.epochs())
    checkpoint.save(path, trainer.state_dict())
    found = checkpoint.load(path)
    assert found is not None
    return found


@pytest.mark.parametrize("optimizer", RATES)
@pytest.mark.parametrize(("began", "goes_on"), [("cuda", "cuda"), ("cpu", "cuda"), ("cuda", "cpu")])
def test_a_checkpoint_of_either_device_goes_on_captured(
    data: TrainData, optimizer: str, began: str, goes_on: str, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, optimizer=optimizer, lr=RATES[optimizer])
    places = {"cpu": CPU, "cuda": CARD}
    _, whole = train(data, places[goes_on], recipe, make_net(dropout=0.0))
    state = halfway(data, places[began], recipe, tmp_path / "cell.pt", make_net(dropout=0.0))
    trainer = Trainer(make_net(dropout=0.0), data, recipe, 0, places[goes_on])
    trainer.load_state_dict(state)
    assert curve(list(trainer.epochs())) == pytest.approx(whole[2:], rel=1e-3 if began == goes_on else 2e-2)
    group = trainer.optimizer.param_groups[0]
    if goes_on == "cuda":
        assert trainer.captured == [REST, FULL]
        assert isinstance(group["lr"], Tensor)
        assert group["lr"].is_cuda
        assert group.get("capturable", True)
    else:
        assert isinstance(group["lr"], float)
        assert not group.get("capturable", False)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_the_second_card_trains_as_the_first(data: TrainData) -> None:
    _, first = train(data, replace(CARD, device="cuda:0"))
    trainer, second = train(data, replace(CARD, device="cuda:1"))
    try:
        assert torch.cuda.current_device() == 1
        assert {parameter.device.index for parameter in trainer.model.parameters()} == {1}
        assert trainer.captured == [REST, FULL]
        assert second == pytest.approx(first, rel=1e-2)
    finally:
        torch.cuda.set_device(0)


class Asks(nn.Module):
    """Asks the card for a number in each step, which a capture does not allow."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = make_net()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.inner(images)
        return logits * (1.0 if float(logits.detach().abs().sum()) == float("inf") else 2.0)


def test_after_a_failed_capture_dropout_goes_on_with_the_seeds_masks(data: TrainData) -> None:
    failed, one = train(data, net=Asks())
    assert any("the CUDA graph could not be captured" in decision for decision in failed.decisions)
    _, two = train(data, EAGER, net=Asks())
    assert one == pytest.approx(two, rel=1e-3)
    after, three = train(data)  # in the same process
    assert after.captured == [REST, FULL]
    assert three == pytest.approx(train(data, EAGER)[1], rel=1e-3)


@pytest.fixture
def a_gigabyte_left() -> Iterator[None]:
    """A card on which this process may take one GiB more than it has."""
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 1024 * MIB) / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


def test_on_a_full_card_the_epoch_starts_again_with_all_its_memory(
    data: TrainData, a_gigabyte_left: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the failed step held is most of the memory there is, and the first step of the next try takes as much."""
    trainer = Trainer(make_net(), data, RECIPE, 0, CARD)
    step, calls = trainer._step, []

    def large(batch: Batch, forward: Callable[[Tensor], Tensor]) -> Tensor:
        calls.append(len(batch.first))
        held = [torch.empty(700 * MIB, dtype=torch.uint8, device="cuda")] if len(calls) in {3, 4} else []
        loss = step(batch, forward)
        if len(calls) == 3:
            held.append(torch.empty(700 * MIB, dtype=torch.uint8, device="cuda"))
        return loss

    monkeypatch.setattr(trainer, "_step", large)
    found = curve(list(trainer.epochs()))
    assert [d for d in trainer.decisions if "full" in d] == ["images: moved to the host, cuda:0 was full"]
    assert trainer.captured == [REST, FULL]
    assert found == pytest.approx(train(data, EAGER)[1], rel=1e-3)


def test_a_card_that_is_full_in_the_capture_gives_up_images_then_the_graph(
    data: TrainData, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer(make_net(), data, RECIPE, 0, CARD)
    step = trainer._step

    def large(batch: Batch, forward: Callable[[Tensor], Tensor]) -> Tensor:
        if torch.cuda.is_current_stream_capturing():
            torch.empty(ENDLESS, dtype=torch.uint8, device="cuda")
        return step(batch, forward)

    monkeypatch.setattr(trainer, "_step", large)
    found = curve(list(trainer.epochs()))
    assert trainer.decisions[-2:] == ["images: moved to the host, cuda:0 was full", "step eager: cuda:0 was full"]
    assert found == pytest.approx(train(data, EAGER)[1], rel=1e-3)


def test_evaluation_on_a_full_card_takes_smaller_batches(data: TrainData) -> None:
    trainer, expected = train(data)
    view = trainer._augmenter.view

    def large(stored: Tensor) -> Tensor:
        if len(stored) > 4:
            torch.empty(ENDLESS, dtype=torch.uint8, device="cuda")
        return view(stored)

    trainer._augmenter.view = large  # type: ignore[method-assign]
    trainer._said.clear()
    assert trainer.predict("test")[0] == pytest.approx(expected[-1], rel=1e-4)
    assert "evaluation batch: 4 images, cuda:0 was full with 256" in trainer.decisions


def test_images_read_from_the_host_beside_a_capture_train_the_same(data: TrainData) -> None:
    trainer = Trainer(make_net(), data, RECIPE, 0, CARD)
    for store in trainer._stores.values():
        store.evict()
    found = curve(list(trainer.epochs()))
    assert trainer.captured == [REST, FULL]
    assert found == pytest.approx(train(data)[1], rel=1e-3)


def test_a_finished_training_leaves_nothing_on_the_card() -> None:
    data = make_data(FULL * 24 + REST, side=64)

    def held_after_one() -> int:
        trainer, _ = train(data)
        assert trainer._stores["train"].resident
        del trainer
        return torch.cuda.memory_allocated()

    first = held_after_one()  # with what libraries keep for the process
    gc.disable()
    try:
        assert held_after_one() <= first + MIB
    finally:
        gc.enable()
    free_unused(torch.device("cuda"))
    assert torch.cuda.memory_reserved() <= first + 64 * MIB


@pytest.mark.parametrize("model_id", ["mobilenet", "mobilevit"])
def test_what_is_kept_free_of_images_is_enough_to_train(model_id: str) -> None:
    data = make_data(32 * 10, side=64, n_test=256)
    recipe = replace(RECIPE, resolution=224, batch_size=32, epochs=2)
    model = create(model_id, 3)
    trainer = Trainer(model, data, recipe, 0, CARD)
    reserve = reserve_bytes(trainer.model, recipe, CARD, 3)
    free_unused(trainer.device)
    before = torch.cuda.memory_reserved()
    torch.cuda.reset_peak_memory_stats()
    list(trainer.epochs())
    assert torch.cuda.max_memory_reserved() - before <= reserve


def test_precision_is_the_protocols_whatever_was_set_before(data: TrainData) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.benchmark = True
    tags = device_tags(Trainer(make_net(), data, RECIPE, 0, CARD).device)
    assert tags["device"].startswith("cuda:")
    flags = {name: tags[name] for name in ("tf32_convolutions", "tf32_matmuls", "cudnn_benchmark")}
    assert flags == {"tf32_convolutions": "true", "tf32_matmuls": "false", "cudnn_benchmark": "false"}


def test_no_warning_of_steps_before_a_capture_or_of_an_empty_graph(data: TrainData) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        trainer, _ = train(data)
    assert trainer.captured == [REST, FULL]
    assert not [str(warning.message) for warning in said if "graph" in str(warning.message).lower()]
