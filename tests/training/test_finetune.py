"""Fine-tuning: what is frozen stays bit for bit, each layer has its rate, and a resumed run is the unbroken one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mobilebench.config.pretrained import FirstEpochs, FromPretrained, Pretrained
from mobilebench.config.recipe import Recipe
from mobilebench.config.runtime import Runtime
from mobilebench.training import Split, TrainData, Trainer, TrainingError, checkpoint
from mobilebench.training.finetune import groups

if TYPE_CHECKING:
    from pathlib import Path

CPU = Runtime(device="cpu", threads=1)
RECIPE = Recipe(epochs=3, warmup_epochs=1, batch_size=16, resolution=24, lr=0.01, optimizer="adamw", weight_decay=0.1)
HEAD = frozenset({"head.1.weight", "head.1.bias"})


class Net(nn.Module):
    """A body with batch norm and stochastic depth's like, a dropout, and a head: as backbones have them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.1))
            for _ in range(2)
        )
        self.head = nn.Sequential(nn.Dropout(0.1), nn.Linear(8, 3))

    def forward(self, images: Tensor) -> Tensor:
        maps = self.stem(images)
        for block in self.blocks:
            maps = block(maps)
        logits: Tensor = self.head(maps.mean((2, 3)))
        return logits


def fine(freeze: object = "none", **settings: object) -> Recipe:
    return replace(RECIPE, init=FromPretrained(Pretrained(freeze=freeze, **settings)))


@pytest.fixture(scope="module")
def data() -> TrainData:
    rng = np.random.default_rng(7)
    labels = np.arange(60) % 3
    noise = rng.integers(-30, 31, size=(60, 16, 16, 3))
    images = np.clip(rng.integers(40, 216, size=(3, 1, 1, 3))[labels] + noise, 0, 255).astype(np.uint8)
    train, test = Split(images, labels, np.arange(48)), Split(images, labels, np.arange(48, 60))
    return TrainData(train, None, test, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), 3)


def state(trainer: Trainer) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("path", ["fast", "plain"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_linear_probe_moves_the_head_and_not_one_bit_of_the_rest(data: TrainData, path: str, optimizer: str) -> None:
    """Neither weights nor statistics of batch norm, in spite of weight decay and momentum."""
    recipe = replace(fine("all_but_head"), optimizer=optimizer)
    trainer = Trainer(Net(), data, recipe, 0, replace(CPU, path=path), head=HEAD)
    before = state(trainer)
    list(trainer.epochs())
    assert moved(before, state(trainer)) == HEAD


def test_a_frozen_body_computes_as_in_evaluation_and_the_heads_dropout_as_in_training(data: TrainData) -> None:
    trainer = Trainer(Net(), data, fine("all_but_head"), 0, CPU, head=HEAD)
    modes = {}
    trainer.model.register_forward_pre_hook(
        lambda model, _: modes.update({name: module.training for name, module in model.named_modules()})
    )
    next(trainer.steps())
    frozen = {name for name in modes if name.startswith(("stem", "blocks"))}
    assert {name for name, training in modes.items() if training} == set(modes) - frozen
    assert "head.0" not in frozen


def test_after_the_first_epochs_everything_learns(data: TrainData) -> None:
    trainer = Trainer(Net(), data, fine(FirstEpochs(2)), 0, CPU, head=HEAD)
    start = state(trainer)
    seen = [moved(start, state(trainer)) for _ in trainer.epochs()]
    assert seen[0] == seen[1] == HEAD
    assert seen[2] == set(start)


@pytest.mark.parametrize(
    "recipe",
    [fine("all_but_head"), fine(FirstEpochs(1)), fine(FirstEpochs(2)), fine(head_lr=0.1, layer_decay=0.5)],
    ids=["probe", "one epoch", "two epochs", "rates"],
)
@pytest.mark.parametrize("stop", [1, 2])
def test_a_resumed_fine_tuning_gives_the_same_bits(data: TrainData, recipe: Recipe, stop: int, tmp_path: Path) -> None:
    whole, stopped, resumed = (Trainer(Net(), data, recipe, 0, CPU, head=HEAD) for _ in range(3))
    curve = [result.train_loss for result in whole.epochs()]
    for result in stopped.epochs():
        if result.epoch == stop:
            checkpoint.save(tmp_path / "cell.pt", stopped.state_dict())
            break
    saved = checkpoint.load(tmp_path / "cell.pt")
    assert saved is not None
    resumed.load_state_dict(saved)
    assert [result.train_loss for result in resumed.epochs()] == curve[stop:]
    assert moved(state(whole), state(resumed)) == set()


def test_nothing_frozen_and_one_rate_is_training_as_ever(data: TrainData) -> None:
    tuned = Trainer(Net(), data, fine(), 0, CPU, head=HEAD)
    plain = Trainer(Net(), data, RECIPE, 0, CPU)
    assert [r.train_loss for r in tuned.epochs()] == [r.train_loss for r in plain.epochs()]
    assert moved(state(tuned), state(plain)) == set()
    assert len(tuned.optimizer.param_groups) == 1


def rates(model: nn.Module, recipe: Recipe, head: frozenset[str]) -> dict[str, float]:
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)]: group.scale for group in groups(model, recipe, head) for p in group.parameters}


def test_the_rate_falls_with_each_layer_below_the_head() -> None:
    found = rates(Net(), fine(head_lr=0.05, layer_decay=0.5), HEAD)
    assert found == {name: found[name] for name, _ in Net().named_parameters()}
    assert found["head.1.weight"] == found["head.1.bias"] == pytest.approx(5)
    assert {found[f"blocks.1.{rest}"] for rest in ("0.weight", "0.bias", "1.weight", "1.bias")} == {0.5}
    assert found["blocks.0.0.weight"] == 0.25
    assert found["stem.0.weight"] < 0.25


def test_timms_networks_have_timms_layers() -> None:
    import timm

    model = timm.create_model("vit_tiny_patch16_224", num_classes=3)
    found = rates(model, fine(layer_decay=0.5), frozenset({"head.weight", "head.bias"}))
    assert found["head.weight"] == 1
    ratios = [found[f"blocks.{i}.attn.qkv.weight"] / found[f"blocks.{i + 1}.attn.qkv.weight"] for i in range(11)]
    assert ratios == [0.5] * 11
    assert found["patch_embed.proj.weight"] == found["cls_token"] == found["blocks.0.attn.qkv.weight"] / 2


def test_each_group_follows_the_schedule_at_its_share(data: TrainData) -> None:
    trainer = Trainer(Net(), data, fine(head_lr=0.1), 0, CPU, head=HEAD)
    for result in trainer.epochs():
        found = {group["lr"] / result.lr for group in trainer.optimizer.param_groups}
        assert sorted(found) == pytest.approx([1, 10])


def test_the_head_has_to_be_known(data: TrainData) -> None:
    with pytest.raises(TrainingError, match="which part of the network is its head"):
        Trainer(Net(), data, fine(), 0, CPU)


def test_the_weights_normalisation_has_to_be_known(data: TrainData) -> None:
    recipe = replace(fine(), normalize="weights")
    with pytest.raises(TrainingError, match="normalize is weights"):
        Trainer(Net(), data, recipe, 0, CPU, head=HEAD)
    own = replace(data, pretrained=((0.1, 0.2, 0.3), (1.0, 2.0, 4.0)))
    trainer = Trainer(Net(), own, recipe, 0, CPU, head=HEAD)
    white = torch.full((1, 16, 16, 3), 255, dtype=torch.uint8)
    assert trainer._augmenter.view(white)[0, :, 5, 5].tolist() == pytest.approx([0.9, 0.4, 0.175])


def test_the_weights_crop_has_to_be_known_and_is_made(data: TrainData) -> None:
    recipe = replace(fine(), eval_resize="weights")
    with pytest.raises(TrainingError, match="eval_resize is weights"):
        Trainer(Net(), data, recipe, 0, CPU, head=HEAD)
    size = recipe.resolution
    given = Trainer(Net(), replace(data, eval_resize=2 * size), recipe, 0, CPU, head=HEAD)
    said = Trainer(Net(), data, replace(recipe, eval_resize=2 * size), 0, CPU, head=HEAD)
    whole = Trainer(Net(), data, replace(recipe, eval_resize=None), 0, CPU, head=HEAD)
    images = torch.randint(0, 255, (2, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    views = [trainer._augmenter.view(images) for trainer in (given, said, whole)]
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])
