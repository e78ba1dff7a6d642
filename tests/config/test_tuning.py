"""What a space of settings may be, what it is made into, and what it changes of a cell's hash."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from mobilebench.config.parsing import ConfigError, parse
from mobilebench.config.protocol import Override, Protocol, epochs_of, recipe_hash
from mobilebench.config.recipe import OnVal, Recipe
from mobilebench.config.tuning import Range, Tuning
from mobilebench.evaluation.selection import BestVal
from mobilebench.search.space import SpaceError, trials_of

GRID = Tuning({"weight_decay": (1e-3, 0), "lr": (1e-2, 1e-3, 1e-4)})


def recipe_with(space: dict[str, Any], trials: int | None = None, **settings: Any) -> Recipe:
    return parse(Recipe, {"tuning": {"space": space, "trials": trials}, **settings})


def test_lists_alone_are_a_grid_whatever_their_order_in_the_file() -> None:
    other = Tuning({"lr": (1e-2, 1e-3, 1e-4), "weight_decay": (1e-3, 0)})
    assert GRID.count == 6
    assert GRID.grid() == other.grid()
    assert GRID.grid()[:2] == [{"lr": 1e-2, "weight_decay": 1e-3}, {"lr": 1e-2, "weight_decay": 0}]
    assert recipe_hash(Recipe(tuning=GRID)) == recipe_hash(Recipe(tuning=other)) != recipe_hash(Recipe())


def test_the_epochs_of_a_cell_are_those_of_its_trials() -> None:
    assert epochs_of(Recipe(epochs=10)) == 10
    assert epochs_of(Recipe(epochs=10, tuning=GRID)) == 60
    assert epochs_of(Recipe(tuning=Tuning({"epochs": (10, 30)}))) == 40
    assert epochs_of(Recipe(tuning=Tuning({"epochs": Range(10, 30)}, trials=5))) == 100


@pytest.mark.parametrize(
    ("space", "trials", "expected"),
    [
        ({}, None, "space is empty"),
        ({"lr": []}, None, r"tuning.space.lr is \[\]; allowed: one value or more"),
        ({"lr": [1e-3, 1e-3]}, None, "each once"),
        ({"lr": [1e-3]}, None, "makes 1 trials; allowed: 2 to"),
        ({"lr": [1e-3, 1e-4]}, 2, "lists alone, which are a grid of 2 trials"),
        ({"lr": {"low": 1e-4, "high": 1e-3}}, None, "tuning.trials is None; allowed where the space has a range: 2"),
        ({"lr": {"low": 1e-3, "high": 1e-4}}, 4, "from 0.001 to 0.0001; allowed: low < high"),
        ({"lr": {"low": 0, "high": 1e-4, "log": True}}, 4, "allowed with log: low of more than 0"),
        ({"lr": {"lo": 1e-4, "high": 1e-3}}, 4, "tuning.space.lr.lo: unknown key; did you mean low?"),
        ({"lr": 1e-3}, None, "tuning.space.lr: Input should be a list or a mapping, found 0.001"),
        ({"data.short_side": [64, 128]}, None, "data.short_side, which cannot be tuned: other values need other pack"),
        ({"normalize": ["half", "imagenet"]}, None, "normalize, which cannot be tuned: all trials see the same images"),
        ({"init": ["scratch", {"pretrained": {}}]}, None, "init, which cannot be tuned"),
        ({"model_options": [{}, {"width": 2}]}, None, "model_options, which cannot be tuned"),
        ({"selection": ["last_epoch", "x"]}, None, "selection, which cannot be tuned"),
    ],
)
def test_what_is_no_space_is_refused_by_name(space: dict[str, Any], trials: int | None, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        recipe_with(space, trials)


@pytest.mark.parametrize(
    ("space", "trials", "expected"),
    [
        ({"lrr": [1, 2]}, None, "lrr=1 is not allowed: lrr: unknown key; did you mean lr?"),
        ({"lr": [0, 1]}, None, "lr=0 is not allowed: lr is 0.0; allowed: more than 0"),
        ({"warmup": [0, 1]}, None, "did you mean warmup_epochs"),
        ({"optimizer": ["adam", "lion"]}, None, "optimizer=lion is not allowed"),
        ({"optimizer": {"low": 0, "high": 1}}, 3, "the setting is no number; give a list"),
        ({"batch_size": {"low": 2.5, "high": 4}}, 3, "a whole number; give whole ends"),
        ({"epochs": {"low": 10, "high": 12}}, 9, "9 trials of a space with 3 different settings"),
        ({"init.pretrained.head_lr": [1e-2, 1e-3]}, None, "the recipe has no init.pretrained to set it in"),
        ({"warmup_epochs": [2, 10], "epochs": [5, 20]}, None, "epochs=5, warmup_epochs=10 is not allowed"),
    ],
)
def test_what_the_protocol_does_not_allow_is_refused_by_name(
    space: dict[str, Any], trials: int | None, expected: str
) -> None:
    with pytest.raises(SpaceError, match=expected):
        trials_of(recipe_with(space, trials, warmup_epochs=2), 0)


def test_a_trial_has_the_recipe_of_the_cell_but_for_what_is_tried() -> None:
    recipe = Recipe(tuning=GRID, lr=1e-3, min_lr=1e-5)
    trials = trials_of(recipe, 0)
    assert [trial.number for trial in trials] == [1, 2, 3, 4, 5, 6]
    first = asdict(trials[0].recipe)
    assert first["min_lr"] == pytest.approx(1e-4)  # a hundredth of lr, as in the protocol
    changed = {key for key, value in asdict(recipe).items() if first[key] != value}
    assert changed == {"lr", "min_lr", "weight_decay", "tuning"}
    fixed = trials_of(Recipe(tuning=Tuning({"lr": (1e-2, 1e-3), "min_lr": (0.0,)})), 0)
    assert [trial.recipe.min_lr for trial in fixed] == [0, 0]
    nested = trials_of(Recipe(tuning=Tuning({"augment.crop_scale": (None, [0.5, 1.0])})), 0)
    assert [trial.recipe.augment.crop_scale for trial in nested] == [None, (0.5, 1.0)]
    assert trials_of(Recipe(), 0) == []


def test_phases_are_tried_whole() -> None:
    one = {"epochs": 3, "lr": 0.1, "optimizer": "sgd"}
    phases = [[{**one, "lr": lr}, {**one, "lr": lr / 10}] for lr in (0.1, 0.01)]
    trials = trials_of(recipe_with({"phases": phases}), 0)
    assert [[phase.lr for phase in trial.recipe.plan] for trial in trials] == [[0.1, 0.01], [0.01, 0.001]]
    assert [trial.recipe.total_epochs for trial in trials] == [6, 6]
    with pytest.raises(SpaceError, match=r"lr=0.1 is not allowed: lr, min_lr is .* nothing beside phases"):
        trials_of(recipe_with({"lr": [0.1, 0.2]}, phases=phases[0]), 0)
    with pytest.raises(SpaceError, match=r"phases.0.lr, and the recipe has no phases.0 to set it in"):
        trials_of(recipe_with({"phases.0.lr": [0.1, 0.2]}, phases=phases[0]), 0)


def test_samples_are_those_of_the_seed_and_lie_in_their_ranges() -> None:
    space = {
        "lr": {"low": 1e-5, "high": 1e-1, "log": True},
        "batch_size": {"low": 8, "high": 11},
        "optimizer": ["sgd", "adamw"],
    }
    recipe = recipe_with(space, 16)
    drawn = [trial.values for trial in trials_of(recipe, 3)]
    assert drawn == [trial.values for trial in trials_of(recipe, 3)]
    assert drawn != [trial.values for trial in trials_of(recipe, 4)]
    assert all(1e-5 <= values["lr"] <= 1e-1 for values in drawn)
    assert sum(values["lr"] < 1e-3 for values in drawn) == 8  # even over the logarithm
    assert {values["batch_size"] for values in drawn} == {8, 9, 10, 11}
    assert {values["optimizer"] for values in drawn} == {"sgd", "adamw"}
    assert len({tuple(values.items()) for values in drawn}) == 16


def test_an_override_gives_a_space_anew_or_takes_it_away() -> None:
    other = {"tuning": {"space": {"lr": [0.1, 0.2]}}}
    protocol = Protocol(
        tuning=GRID,
        selection=OnVal(BestVal()),
        overrides=(Override(other, models=("a",)), Override({"tuning": None}, models=("b",))),
    )
    assert protocol.recipe_for("a", "x").tuning == Tuning({"lr": (0.1, 0.2)})
    assert protocol.recipe_for("b", "x").tuning is None
    assert protocol.recipe_for("c", "x").tuning == GRID
