"""The loop: the same run bit for bit, resumed or not; the plain path's curve; what happens when things go wrong."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from shutil import which
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from loops import CPU, RECIPE, make_data, make_net, train, weights
from torch import Tensor, nn

from mobilebench.config.recipe import Augment, OnVal, Recipe
from mobilebench.config.runtime import Runtime
from mobilebench.evaluation.selection import BestVal
from mobilebench.training import VERSION, DivergedError, EpochResult, Split, TrainData, Trainer, TrainingError, batches
from mobilebench.training.accel import depthwise, step_runner
from mobilebench.training.accel import plan as compute
from mobilebench.training.image_store import Store
from mobilebench.training.schedule import learning_rate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mobilebench.training.batches import Batch

TWO_THREADS = replace(CPU, threads=2)  # where the order of sums could differ
STRONG = Augment(randaugment=(2, 10), random_erasing=0.5, crop_scale=(0.3, 1.0), crop_ratio=(0.75, 1.33))


@pytest.fixture
def data() -> TrainData:
    return make_data()


def assert_same_bits(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


def outcome(results: list[EpochResult]) -> list[tuple[float, ...]]:
    return [(r.epoch, r.train_loss, r.lr, *r.test.values()) for r in results]


@pytest.mark.parametrize("recipe", [RECIPE, replace(RECIPE, augment=STRONG), replace(RECIPE, optimizer="sgd")])
def test_same_seed_same_bits_whatever_ran_before(recipe: Recipe) -> None:
    data = make_data(50)
    first, one = train(data, recipe, TWO_THREADS)
    torch.manual_seed(99)
    torch.rand(1000)
    second, two = train(data, recipe, TWO_THREADS)
    assert outcome(one) == outcome(two)
    assert_same_bits(weights(first), weights(second))


def test_another_seed_another_curve(data: TrainData) -> None:
    assert outcome(train(data)[1]) != outcome(train(data, seed=1)[1])


@pytest.mark.parametrize("stop", [1, 2, 3])
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_resumed_after_any_epoch_gives_the_same_bits(stop: int, optimizer: str, tmp_path: Path) -> None:
    from mobilebench.training import checkpoint

    data = make_data(50)
    recipe = replace(RECIPE, optimizer=optimizer)
    whole, results = train(data, recipe, TWO_THREADS)
    stopped = Trainer(make_net(), data, recipe, 0, TWO_THREADS)
    for result in stopped.epochs():
        if result.epoch == stop:
            checkpoint.save(tmp_path / "cell.pt", stopped.state_dict())
            break
    torch.manual_seed(5)
    resumed = Trainer(make_net(), data, recipe, 0, TWO_THREADS)
    state = checkpoint.load(tmp_path / "cell.pt")
    assert state is not None
    resumed.load_state_dict(state)
    rest = list(resumed.epochs())
    assert outcome(rest) == outcome(results)[stop:]
    assert_same_bits(weights(whole), weights(resumed))


def test_epochs_that_are_drawn_ahead_are_the_same(data: TrainData, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, results = train(data)
    monkeypatch.setattr(batches, "_DRAWN_AHEAD", {"cpu"})
    ahead = Trainer(make_net(), data, RECIPE, 0, CPU)
    first = next(epochs := ahead.epochs())
    half = copy.deepcopy(ahead.state_dict())
    assert outcome([first, *epochs]) == outcome(results)
    ahead.load_state_dict(half)  # what was drawn ahead by now is of another epoch
    assert outcome(list(ahead.epochs())) == outcome(results)[1:]
    assert_same_bits(weights(ahead), weights(whole))


@pytest.mark.parametrize(
    "recipe",
    [
        RECIPE,
        replace(RECIPE, augment=STRONG),
        replace(RECIPE, augment=replace(STRONG, randaugment=None, trivialaugment=True, cutmix_box="batch")),
        replace(RECIPE, augment=Augment(crop_scale=None, color_jitter=(0, 0, 0, 0), cutmix_alpha=0), eval_resize=28),
    ],
)
def test_the_fast_path_has_the_plain_paths_curve(recipe: Recipe) -> None:
    data = make_data(50)
    _, fast = train(data, recipe)
    _, plain = train(data, recipe, replace(CPU, path="plain"))
    for a, b in zip(fast, plain, strict=True):
        assert math.isclose(a.train_loss, b.train_loss, rel_tol=2e-3)
        assert math.isclose(a.test["loss"], b.test["loss"], rel_tol=5e-3)
    assert fast[0].train_loss != fast[-1].train_loss


def test_global_random_state_is_left_alone(data: TrainData) -> None:
    model = make_net()
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    list(Trainer(model, data, RECIPE, 0, CPU).epochs())
    assert torch.equal(torch.rand(4), expected)


def test_it_learns() -> None:
    recipe = replace(RECIPE, epochs=12, lr=0.03, augment=Augment(color_jitter=(0, 0, 0, 0), cutmix_alpha=0))
    trainer = Trainer(make_net(dropout=0.0), make_data(96), recipe, 0, CPU)
    results = list(trainer.epochs())
    assert results[-1].train_loss < results[0].train_loss - 0.2
    assert results[-1].test["top1"] > 0.8


def test_results_carry_the_schedule_and_the_test_readings(data: TrainData) -> None:
    _, results = train(data, runtime=replace(CPU, eval_every=3))
    assert [r.epoch for r in results] == [1, 2, 3, 4]
    assert [r.lr for r in results] == [learning_rate(RECIPE.plan[0], e) for e in range(4)]
    assert [not r.test for r in results] == [True, True, False, False]
    _, last_only = train(data, runtime=replace(CPU, eval_every=0))
    assert [not r.test for r in last_only] == [True, True, True, False]
    assert outcome(last_only)[-1] == outcome(results)[-1]


class Counting(nn.Module):
    """Keeps what it was shown; weights that cannot learn anything."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))
        self.shown: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.shown.append(images.detach().clone())
        return torch.zeros(len(images), 3) + self.scale * 0


@pytest.mark.parametrize(("n", "drop_last", "expected"), [(48, False, [16] * 3), (50, False, [16, 16, 16, 2]),
                                                          (49, False, [16] * 3), (50, True, [16] * 3)])  # fmt: skip
def test_batches_cover_the_split_and_never_hold_one_image(n: int, drop_last: bool, expected: list[int]) -> None:
    model = Counting()
    recipe = replace(RECIPE, epochs=2, drop_last=drop_last)
    (result, _) = Trainer(model, make_data(n), recipe, 0, CPU).epochs()
    assert [len(images) for images in model.shown] == expected * 2
    assert math.isclose(result.train_loss, math.log(3), rel_tol=1e-6)


def distances(a: Tensor, b: Tensor) -> Tensor:
    return torch.cdist(a.flatten(1), b.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")


def test_every_image_is_shown_once_an_epoch_in_another_order() -> None:
    data = make_data(48)
    model = Counting()
    augment = Augment(crop_scale=None, hflip=0, color_jitter=(0, 0, 0, 0), cutmix_alpha=0)
    recipe = replace(RECIPE, epochs=2, augment=augment, resolution=16, normalize="half")
    list(Trainer(model, data, recipe, 0, CPU).epochs())
    stored = torch.from_numpy(data.train.images[:48]).permute(0, 3, 1, 2).float() / 127.5 - 1
    orders = []
    for epoch in (model.shown[:3], model.shown[3:]):
        shown = torch.cat(epoch)
        nearest = distances(shown, stored).min(dim=1)
        assert nearest.values.max() < 1e-3
        orders.append(nearest.indices.tolist())
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(48))
    assert orders[0] != orders[1]


def test_no_flips_where_a_mirror_image_is_another_class() -> None:
    augment = Augment(crop_scale=None, hflip=1.0, color_jitter=(0, 0, 0, 0), cutmix_alpha=0)
    recipe = replace(RECIPE, epochs=1, warmup_epochs=0, augment=augment, resolution=16, normalize="half")
    for hflip in (True, False):
        data = make_data(48, hflip=hflip)
        model = Counting()
        list(Trainer(model, data, recipe, 0, CPU).epochs())
        stored = torch.from_numpy(data.train.images[:48]).permute(0, 3, 1, 2).float() / 127.5 - 1
        if hflip:
            stored = stored.flip(3)
        assert distances(torch.cat(model.shown), stored).min(dim=1).values.max() < 1e-3


class ExplodesAt(nn.Module):
    def __init__(self, call: int) -> None:
        super().__init__()
        self.inner = make_net()
        self.left = call

    def forward(self, images: Tensor) -> Tensor:
        self.left -= 1
        out = self.inner(images)
        return out * float("nan") if self.left == 0 else out


def test_a_loss_that_is_no_number_stops_with_epoch_and_step(data: TrainData) -> None:
    trainer = Trainer(ExplodesAt(5), data, RECIPE, 0, replace(CPU, eval_every=0))
    results = []
    with pytest.raises(DivergedError, match="epoch 2, step 2") as caught:
        results.extend(trainer.epochs())
    assert (caught.value.epoch, caught.value.step) == (2, 2)
    assert trainer.epoch == 1


class AnswersWhenEvaluated(nn.Module):
    """Sound in training; in evaluation one image's logit of one class is what a test asks for."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.inner = make_net()
        self.value = value

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.inner(images)
        if not self.training:
            out = out.clone()
            out[0, 1] = self.value
        return out


@pytest.mark.parametrize("path", ["fast", "plain"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_outputs_that_are_no_numbers_are_never_an_accuracy(data: TrainData, value: float, path: str) -> None:
    """Neither the training loss nor, for -inf beside the label's own class, the test loss would show it."""
    trainer = Trainer(AnswersWhenEvaluated(value), data, RECIPE, 0, replace(CPU, path=path))
    with pytest.raises(
        DivergedError, match="after epoch 1 the network's outputs are not finite for 1 of the"
    ) as caught:
        next(iter(trainer.epochs()))
    assert (caught.value.epoch, caught.value.step, caught.value.undefined) == (1, None, 1)


def test_a_loss_beyond_all_numbers_is_no_reading(data: TrainData) -> None:
    trainer = Trainer(AnswersWhenEvaluated(3e38), data, RECIPE, 0, CPU)
    trainer._augmenter.view = lambda images: images.float()[:, :3]  # type: ignore[method-assign,assignment]
    trainer.model.inner = _Constant()  # type: ignore[assignment]
    with pytest.raises(DivergedError, match="the loss at evaluation is inf"):
        trainer.predict("test")


class _Constant(nn.Module):
    """Very sure of class 2, which most images are not of: each loss is finite, their sum is not."""

    def forward(self, images: Tensor) -> Tensor:
        return torch.tensor([-1e38, -1e38, 1.5e38]).repeat(len(images), 1)


def test_a_checkpoint_of_another_seed_is_refused(data: TrainData) -> None:
    trainer, _ = train(data)
    other = Trainer(make_net(), data, RECIPE, 1, CPU)
    with pytest.raises(TrainingError, match="seed is 0, this run's is 1"):
        other.load_state_dict(trainer.state_dict())


def test_settings_without_effect_are_said(data: TrainData) -> None:
    def said(**changes: float) -> str:
        recipe = replace(RECIPE, **changes)  # type: ignore[arg-type]
        return "\n".join(Trainer(make_net(), data, recipe, 0, CPU).decisions)

    assert "epochs 1: the only epoch is the last one and is trained at min_lr 1e-05; lr 0.01" in said(
        epochs=1, warmup_epochs=0
    )
    assert "so nothing is learnt" in said(epochs=1, warmup_epochs=0, min_lr=0.0)
    assert "warmup_epochs 1" in said(warmup_epochs=1)
    assert "epoch" not in said(warmup_epochs=0)
    assert learning_rate(replace(RECIPE, epochs=1, warmup_epochs=0).plan[0], 0) == RECIPE.min_lr
    assert learning_rate(replace(RECIPE, epochs=3, warmup_epochs=1).plan[0], 0) == RECIPE.lr


def test_too_few_images_is_told() -> None:
    with pytest.raises(TrainingError, match="has 1 images"):
        Trainer(make_net(), make_data(1, classes=1), RECIPE, 0, CPU)
    with pytest.raises(TrainingError, match="drop_last"):
        Trainer(make_net(), make_data(9), replace(RECIPE, drop_last=True), 0, CPU)


def test_data_that_does_not_fit_is_told() -> None:
    images, labels = np.zeros((4, 8, 8, 3), np.uint8), np.array([0, 1, 2, 3])
    split = Split(images, labels, np.arange(4))
    with pytest.raises(TrainingError, match="labels from 0 to 3; expected 0 to 2"):
        TrainData(split, None, split, (0, 0, 0), (1, 1, 1), 3)
    with pytest.raises(TrainingError, match="expected uint8, uint16, float32"):
        Split(images.astype(np.float64), labels, np.arange(4))
    with pytest.raises(TrainingError, match="below 4"):
        Split(images, labels, np.array([4]))
    with pytest.raises(TrainingError, match="test split is empty"):
        TrainData(split, None, Split(images, labels, np.arange(0)), (0, 0, 0), (1, 1, 1), 4)


def test_an_absent_device_is_told(data: TrainData) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has the device")
    with pytest.raises(TrainingError, match=r"'cuda', which is not there.*this machine has cpu.*or to auto"):
        Trainer(make_net(), data, RECIPE, 0, Runtime(device="cuda"))


def test_bf16_runs_and_stays_near_fp32(data: TrainData) -> None:
    _, exact = train(data)
    trainer, rough = train(data, replace(RECIPE, precision="bf16"))
    assert math.isclose(exact[-1].train_loss, rough[-1].train_loss, rel_tol=0.03)
    assert outcome(exact) != outcome(rough)
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}
    with pytest.raises(TrainingError, match="plain is fp32"):
        train(data, replace(RECIPE, precision="bf16"), replace(CPU, path="plain"))


@pytest.mark.skipif(which("g++") is None, reason="no g++ here")
def test_a_compiled_network_learns_the_same_and_resumes_bit_for_bit(
    data: TrainData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def net() -> nn.Module:
        plain = make_net()  # with dropout: the masks are eager's
        torch.manual_seed(1)
        wide = nn.Conv2d(8, 8, 5, padding=2, groups=8)
        return nn.Sequential(plain[:3], wide, plain[3:])

    def compiled() -> Trainer:
        return Trainer(net(), data, recipe, 0, replace(TWO_THREADS, acceleration="on"))

    monkeypatch.setattr(depthwise, "_LEAST", 0)
    recipe = replace(RECIPE, epochs=2)
    eager = list(Trainer(net(), data, recipe, 0, CPU).epochs())
    whole, resumed = compiled(), compiled()
    assert {"network compiled: as asked", "depthwise gradients: our own in 1 layer"} <= set(whole.decisions)
    for mine, theirs in zip(whole.epochs(), eager, strict=True):
        assert (mine.train_loss, mine.test["loss"]) == pytest.approx((theirs.train_loss, theirs.test["loss"]), rel=1e-4)
        if mine.epoch == 1:
            half = copy.deepcopy(whole.state_dict())
    resumed.load_state_dict(half)
    next(resumed.epochs())
    assert_same_bits(weights(resumed), weights(whole))
    assert not any("failed" in line for line in whole.decisions)


def test_what_is_compiled_does_not_depend_on_what_ran_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine networks of one class, each of another shape and with other batches: each compiled, and for its own size."""
    compiled: list[tuple[str, list[object]]] = []
    compile_ = torch.compile

    def by_the_tracer(function: object, **options: object) -> object:
        def backend(graph: torch.fx.GraphModule, given: list[object]) -> object:
            sizes = [size for tensor in given if isinstance(tensor, Tensor) for size in tensor.shape]
            compiled.append((what, [size for size in sizes if not isinstance(size, int)]))
            return graph.forward

        what = "network" if isinstance(function, nn.Module) else "colour"
        return compile_(function, backend=backend, dynamic=options.get("dynamic"))  # type: ignore[call-overload]

    monkeypatch.setattr(torch, "compile", by_the_tracer)
    recipe = replace(RECIPE, epochs=2)
    for size in range(4, 13):
        trainer = Trainer(
            Widened(size), make_data(2 * size), replace(recipe, batch_size=size), 0, replace(CPU, acceleration="on")
        )
        next(trainer.epochs())
    assert compiled.count(("network", [])) == 9
    assert compiled.count(("colour", [])) == 9
    assert len(compiled) == 18


class Widened(nn.Module):
    """A class whose instances differ in shape, as timm's do."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.widen, self.head = nn.Conv2d(3, width, 3), nn.Linear(width, 3)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.widen(images).mean((2, 3)))
        return logits


@pytest.mark.parametrize("runtime", [replace(CPU, acceleration="off"), replace(CPU, path="plain", acceleration="on")])
def test_acceleration_off_and_the_plain_path_use_no_technique(
    data: TrainData, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def used(*_args: object, **_options: object) -> None:
        pytest.fail("a technique of training/accel was used")

    for technique in ("use_fast_gradients", "fuse_norms", "GraphedStep"):
        monkeypatch.setattr(step_runner, technique, used)
    monkeypatch.setattr(step_runner.allocator, "keep_freed_memory", used)
    monkeypatch.setattr(step_runner.torch, "compile", used)
    next(Trainer(make_net(), data, RECIPE, 0, runtime).epochs())


def test_a_short_run_has_the_same_bits_with_and_without_acceleration(data: TrainData) -> None:
    assert outcome(train(data)[1]) == outcome(train(data, runtime=replace(CPU, acceleration="off"))[1])


def test_without_a_compiler_depthwise_gradients_are_pytorchs(
    data: TrainData, hidden_compiler: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(compute, "_DEPTHWISE_PIXELS", 0)
    net = nn.Sequential(nn.Conv2d(3, 3, 5, padding=2, groups=3), *make_net())
    trainer = Trainer(net, data, RECIPE, 0, CPU)
    assert "depthwise gradients: PyTorch's, there is no g" in caplog.text
    assert "network eager: 1.1e+05 pixels, compiling pays from 8.0e+09" in trainer.decisions
    next(trainer.epochs())


def test_a_long_run_is_compiled_where_that_can_be(
    data: TrainData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in ("_NETWORK_PIXELS", "_COLOUR_PIXELS"):
        monkeypatch.setattr(compute, size, 0)
    asked = CPU
    if which("g++"):
        plan = compute.make_plan(RECIPE, asked, torch.device("cpu"), 100)
        assert (plan.compile_network, plan.compile_colour) == (True, True)
    monkeypatch.setenv("PATH", str(tmp_path))
    plan = compute.make_plan(RECIPE, asked, torch.device("cpu"), 100)
    assert (plan.compile_network, plan.compile_colour) == (False, False)
    assert "network eager: no compiler for cpu" in plan.reasons


def test_a_failed_compilation_is_told_and_the_run_goes_on_eagerly(
    data: TrainData, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_function: object, **_options: object) -> Callable[..., Tensor]:
        def run(*_args: object) -> Tensor:
            raise RuntimeError("no C++ compiler\nlong trace")

        return run

    _, eager = train(data)
    monkeypatch.setattr(step_runner.torch, "compile", broken)
    trainer, results = train(data, runtime=replace(CPU, acceleration="on"))
    assert "no C++ compiler" in caplog.text
    assert any("no C++ compiler" in line for line in trainer.decisions)
    assert outcome(results) == outcome(eager)


def test_a_full_device_moves_the_images_to_the_host(
    data: TrainData, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _, expected = train(data)
    trainer = Trainer(make_net(), data, RECIPE, 0, CPU)
    trainer._stores["train"] = Store(data.train, trainer.device, room=1 << 30)
    trainer._batches._store = trainer._stores["train"]
    trainer._runner._stores = tuple(trainer._stores.values())
    assert trainer._stores["train"].resident
    step, calls = trainer._step, []

    def full_once(batch: Batch, forward: Callable[[Tensor], Tensor]) -> Tensor:
        calls.append(step(batch, forward))
        if len(calls) == 2:
            raise torch.OutOfMemoryError("device full")
        return calls[-1]

    monkeypatch.setattr(trainer, "_step", full_once)
    results = list(trainer.epochs())
    assert "moved to the host" in caplog.text
    assert not trainer._stores["train"].resident
    assert outcome(results) == outcome(expected)


def test_a_full_host_is_told(data: TrainData, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(make_net(), data, RECIPE, 0, CPU)

    def full(batch: Batch, forward: Callable[[Tensor], Tensor]) -> Tensor:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    monkeypatch.setattr(trainer, "_step", full)
    with pytest.raises(TrainingError, match="smaller batch_size"):
        list(trainer.epochs())


def test_images_read_ahead_from_the_host_are_the_same(data: TrainData) -> None:
    store = Store(data.train, torch.device("cpu"))
    blocks = torch.randperm(48).split(7)
    direct, ahead = list(store.take(blocks)), list(store._take_ahead(blocks))
    assert len(direct) == len(ahead) == 7
    for (a, b), (c, d) in zip(direct, ahead, strict=True):
        assert torch.equal(a, c)
        assert torch.equal(b, d)


def test_blocks_of_several_batches_give_the_same_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    from mobilebench.training import batches

    data = make_data(90)
    _, one = train(data)
    monkeypatch.setitem(batches._BLOCK, "cpu", 4)
    _, four = train(data)
    for a, b in zip(one, four, strict=True):
        assert math.isclose(a.train_loss, b.train_loss, rel_tol=1e-5)


# Read off this loop once. Rounding differs between processors by less than the tolerance; a change of the recipe's
# meaning does not.
GOLDEN = [(1.09280, 1.01621), (1.07181, 0.94408), (1.03788, 0.91371), (1.05673, 0.91748)]


def test_the_numbers_are_those_of_this_version() -> None:
    """Fails when a change moves the loss curve.

    If that was meant, raise mobilebench.training.VERSION and put the printed curve into GOLDEN: results of another
    version are then never mixed with new ones.
    """
    _, results = train(make_data(50), replace(RECIPE, augment=STRONG))
    curve = [(r.train_loss, r.test["loss"]) for r in results]
    for mine, golden in zip(curve, GOLDEN, strict=True):
        assert mine == pytest.approx(golden, rel=1e-3), f"raise VERSION (now {VERSION})? The curve is {curve}"


def several_labels(n: int = 240, n_test: int = 60, classes: int = 3) -> TrainData:
    """Grey pictures with a bright patch in the corner of each class that is there; a fifth of them have none."""
    rng = np.random.default_rng(3)
    labels = (rng.random((n + n_test, classes)) < 0.45).astype(np.uint8)
    images = rng.integers(90, 130, (n + n_test, 16, 16, 3), dtype=np.uint8)
    for number, corner in enumerate([(slice(0, 6), slice(0, 6)), (slice(0, 6), slice(10, 16)), (slice(10, 16),) * 2]):
        images[labels[:, number] == 1, corner[0], corner[1], number] = 250
    train, test = (Split(images, labels, rows) for rows in (np.arange(n), np.arange(n, n + n_test)))
    return TrainData(train, None, test, (0.5,) * 3, (0.25,) * 3, classes, hflip=False, target="multi_label")


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_several_labels_are_learnt_with_and_without_cutmix(alpha: float) -> None:
    recipe = replace(RECIPE, epochs=30, augment=Augment(cutmix_alpha=alpha, color_jitter=(0, 0, 0, 0)))
    trainer, results = train(several_labels(), recipe)
    assert list(results[-1].test) == ["loss", "map"]
    assert results[-1].test["map"] > 0.9
    loss, predictions = trainer.predict("test")
    assert loss == pytest.approx(float(predictions.log_loss.mean()), rel=1e-5)
    assert predictions.predicted.shape == predictions.targets.shape == (60, 3)


@pytest.mark.parametrize(
    ("target", "labels", "message"),
    [
        ("multi_label", np.zeros(4, np.int64), r"shape \[4\], which is not that of a multi_label target with 2"),
        ("single_label", np.zeros((4, 2), np.uint8), "which is not that of a single_label target"),
        ("multi_label", np.full((4, 2), 2, np.uint8), "labels from 2 to 2; expected 0 to 1"),
    ],
)
def test_labels_that_are_not_of_the_target_are_refused(target: Any, labels: Any, message: str) -> None:
    split = Split(np.zeros((4, 8, 8, 3), np.uint8), labels, np.arange(4))
    with pytest.raises(TrainingError, match=message):
        TrainData(split, None, split, (0.5,) * 3, (0.25,) * 3, 2, target=target)


def test_a_trial_has_no_test_images_to_read() -> None:
    whole = make_data()
    trainer, results = train(replace(whole, val=whole.test, test=None))
    assert all(not result.test and result.val for result in results)
    with pytest.raises(KeyError):
        trainer.predict("test")


def test_a_metric_that_is_not_for_the_target_is_refused_before_training() -> None:
    data = several_labels()
    recipe = replace(RECIPE, selection=OnVal(BestVal(metric="top1")))
    with pytest.raises(TrainingError, match=r"top1, which is not for a multi_label target; allowed: macro_f1"):
        train(replace(data, val=data.test), recipe)
