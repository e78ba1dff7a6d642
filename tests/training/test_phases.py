"""Phases of training: their rates and optimisers against torch's own, and one phase against the recipe's own keys."""

from __future__ import annotations

from dataclasses import replace

import pytest
import timm
import torch
from loops import CPU, make_data, make_net, train, weights
from timm.optim import param_groups_weight_decay
from torch import nn

from mobilebench.config.phases import MultiStep, Phase
from mobilebench.config.recipe import OnVal, Recipe
from mobilebench.evaluation.selection import BestVal
from mobilebench.training import Trainer
from mobilebench.training.finetune import groups
from mobilebench.training.schedule import learning_rate

FLAT = Recipe(epochs=3, warmup_epochs=1, batch_size=16, resolution=24, lr=0.01, weight_decay=0.1)
ON_VAL = OnVal(BestVal())
SCHEDULERS = torch.optim.lr_scheduler


@pytest.mark.parametrize(
    ("phase", "oracle"),
    [
        (Phase(30, 0.1, schedule="cosine_annealing"), lambda o: SCHEDULERS.CosineAnnealingLR(o, T_max=30)),
        (Phase(9, 0.1, schedule="cosine_annealing", min_lr=0.01), lambda o: SCHEDULERS.CosineAnnealingLR(o, 9, 0.01)),
        (Phase(30, 0.1, schedule=MultiStep((15, 20, 25))), lambda o: SCHEDULERS.MultiStepLR(o, [15, 20, 25])),
        (Phase(9, 0.1, schedule=MultiStep((1, 4), 0.3)), lambda o: SCHEDULERS.MultiStepLR(o, [1, 4], gamma=0.3)),
        (Phase(5, 0.1), lambda o: SCHEDULERS.ConstantLR(o, factor=1.0)),
    ],
)
def test_rates_are_torchs(phase: Phase, oracle: type) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=phase.lr)
    scheduler = oracle(optimizer)
    for epoch in range(phase.epochs):
        assert learning_rate(phase, epoch) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        scheduler.step()


def test_a_warm_up_rises_to_the_full_rate_and_the_steps_are_counted_from_the_phases_beginning() -> None:
    phase = Phase(6, 0.4, warmup_epochs=2, schedule=MultiStep((4,)))
    assert [learning_rate(phase, e) for e in range(6)] == pytest.approx([0.2, 0.4, 0.4, 0.4, 0.04, 0.04])


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_one_phase_is_the_recipe_of_its_settings_bit_for_bit(optimizer: str) -> None:
    flat = replace(FLAT, optimizer=optimizer)
    (phase,) = flat.plan
    split = replace(Recipe(), batch_size=16, resolution=24, phases=(phase,))
    (one, results), (other, others) = train(make_data(), flat), train(make_data(), split)
    assert [r.train_loss for r in results] == [r.train_loss for r in others]
    assert all(torch.equal(tensor, weights(other)[name]) for name, tensor in weights(one).items())
    assert [r.readings().get("phase") for r in results + others] == [None] * 3 + [1] * 3


def test_each_phase_has_an_optimiser_of_its_own_that_begins_anew() -> None:
    phases = (Phase(2, 0.01, weight_decay=0.1), Phase(2, 0.003, "sgd", momentum=0.5))
    trainer = Trainer(make_net(), make_data(), Recipe(batch_size=16, resolution=24, phases=phases), 0, CPU)
    epochs = trainer.epochs()
    first = [next(epochs), next(epochs)]
    assert isinstance(trainer.optimizer, torch.optim.AdamW)
    assert trainer.optimizer.defaults["weight_decay"] == 0.1
    start = weights(trainer)
    trainer.begin_phase(1, 2)
    assert isinstance(trainer.optimizer, torch.optim.SGD)
    assert (trainer.optimizer.defaults["momentum"], trainer.optimizer.defaults["weight_decay"]) == (0.5, 0.0)
    assert not trainer.optimizer.state
    assert all(torch.equal(tensor, weights(trainer)[name]) for name, tensor in start.items())
    assert [r.lr for r in first + list(epochs)] == [0.01, 0.01, 0.003, 0.003]


def test_a_state_of_a_later_phase_is_carried_on_bit_for_bit() -> None:
    phases = (Phase(1, 0.01), Phase(3, 0.01, "sgd"))
    recipe = Recipe(batch_size=16, resolution=24, phases=phases)

    def begun() -> Trainer:
        trainer = Trainer(make_net(), make_data(), recipe, 0, CPU)
        next(trainer.epochs())
        trainer.begin_phase(1, 1)
        next(trainer.epochs())
        return trainer

    unbroken, state = begun(), begun().state_dict()
    resumed = Trainer(make_net(), make_data(), recipe, 0, CPU)
    resumed.load_state_dict(state)
    assert [r.train_loss for r in unbroken.epochs()] == [r.train_loss for r in resumed.epochs()]
    assert all(torch.equal(tensor, weights(resumed)[name]) for name, tensor in weights(unbroken).items())


@pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "tf_efficientnet_lite0", "convnext_atto"])
def test_what_decays_is_what_timm_says(name: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name)
    skipped = model.no_weight_decay() if hasattr(model, "no_weight_decay") else ()
    want = {
        bool(g["weight_decay"]): g["params"]
        for g in param_groups_weight_decay(model, 0.1, no_weight_decay_list=skipped)
    }
    found = groups(model, Recipe(decay_norms=False), frozenset())
    assert {g.decays: {id(p) for p in g.parameters} for g in found} == {k: {id(p) for p in v} for k, v in want.items()}
    assert len(groups(model, Recipe(), frozenset())) == 1


def test_what_does_not_decay_stays_as_it_is_without_gradients() -> None:
    """With no learning but the decay, decoupled from it: weights shrink, norms and biases do not."""
    recipe = Recipe(
        batch_size=16, resolution=24, decay_norms=False, phases=(Phase(1, 0.1, weight_decay=0.5),)
    )  # fmt: skip
    trainer = Trainer(make_net(), make_data(), recipe, 0, CPU)
    before = weights(trainer)
    for parameter in trainer.model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    trainer.optimizer.step()
    for name, parameter in trainer.model.named_parameters():
        assert torch.equal(parameter, before[name] * (0.95 if parameter.ndim > 1 else 1.0)), name


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"epochs": 30}, r"epochs is \[30\]; allowed: nothing beside phases, which say it themselves: leave out"),
        ({"lr": 0.1, "optimizer": "sgd"}, r"optimizer, lr is \['sgd', 0.1\]; allowed: nothing beside"),
        ({"phases": (Phase(0, 0.1),)}, r"phases\[0\].epochs is 0; allowed: 1 or more"),
        ({"phases": (Phase(3, 0.1), Phase(3, 0.0))}, r"phases\[1\].lr is 0.0; allowed: more than 0"),
        ({"phases": (Phase(3, 0.1, min_lr=1.0),)}, r"phases\[0\].min_lr is 1.0; allowed: 0 or more and at most lr"),
        ({"phases": (Phase(3, 0.1, momentum=1.0),)}, r"phases\[0\].momentum is 1.0"),
        ({"phases": (Phase(3, 0.1, weight_decay=-1.0),)}, r"phases\[0\].weight_decay is -1.0"),
        ({"phases": (Phase(3, 0.1, warmup_epochs=3),)}, r"phases\[0\].warmup_epochs is 3; allowed: 0 to 2"),
        (
            {"phases": (Phase(3, 0.1, patience=2),)},
            r"phases\[0\].patience is \[2\]; allowed: 0 and last with selection",
        ),
        (
            {"phases": (Phase(3, 0.1), Phase(3, 0.1, start="best"))},
            r"phases\[1\].start is \['best'\]; allowed: 0 and la",
        ),
        (
            {"phases": (Phase(3, 0.1, start="best"),), "selection": ON_VAL},
            r"phases\[0\].start is 'best'; allowed: last",
        ),
        (
            {"phases": (Phase(3, 0.1, schedule=MultiStep((3,))),)},
            r"phases\[0\].schedule.multistep is 3; allowed: epoch",
        ),
        ({"selection": OnVal(BestVal(patience=2))}, "selection.best_val.patience is 2; allowed: 0 beside phases"),
        ({"selection": OnVal(BestVal(min_epochs=9))}, "min_epochs is 9; allowed: at most epochs .3."),
    ],
)
def test_phases_that_cannot_be_trained_are_refused_by_name(settings: dict[str, object], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        Recipe(**{"phases": (Phase(3, 0.1),)} | settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("steps", "factor", "expected"),
    [((), 0.1, "multistep is .."), ((3, 2), 0.1, "ascending"), ((0,), 0.1, "from 1"), ((2,), 1.0, "factor is 1.0")],
)
def test_steps_that_are_none(steps: tuple[int, ...], factor: float, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        MultiStep(steps, factor)
