"""Which points a probe tries, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilebench.config.parsing import ConfigError, parse
from mobilebench.config.recipe import Augment, Recipe
from mobilebench.config.sensitivity import SensitivitySettings
from mobilebench.search.space import SETTINGS, Point, SpaceError, apply, parse_space, plan, protocol_values

RECIPE = Recipe()


def differing(values: dict, recipe: Recipe = RECIPE) -> set[str]:
    own = protocol_values(recipe)
    return {name for name in values if values[name] != own[name]}


def plan_of(text: str) -> list[Point]:
    space, values = parse_space(text)
    return plan(RECIPE, SensitivitySettings(space=space, values=values))


def test_the_default_is_the_learning_rate_from_a_tenth_to_ten_times() -> None:
    points = plan(RECIPE, SensitivitySettings())
    assert points[0].values == protocol_values(RECIPE)
    assert sorted(p.values["lr"] for p in points) == pytest.approx([1e-4, 1e-3 / 3, 1e-3, 3e-3, 1e-2], rel=1e-5)
    assert all(differing(p.values) <= {"lr"} for p in points)


def test_a_grid_changes_one_setting_at_a_time_and_samples_change_all() -> None:
    points = plan(RECIPE, SensitivitySettings(space=tuple(SETTINGS)))
    grid = [p for p in points if p.source == "grid"]
    assert [len(differing(p.values)) for p in grid] == [0] + [1] * (len(grid) - 1)
    assert {name for p in grid for name in differing(p.values)} == set(SETTINGS)
    assert sum(p.source == "sample" for p in points) == 16
    assert len({p.key for p in points}) == len(points)
    for point in points:
        apply(RECIPE, point.values)


def test_sobol_samples_are_even_in_every_setting() -> None:
    """Of 2^m points of a Sobol sequence exactly one falls into each of 2^m equal intervals of every axis."""
    points = plan(RECIPE, SensitivitySettings(space=("lr", "label_smoothing"), samples=16))
    drawn = [p.values for p in points if p.source == "sample"]
    lr = (np.log10([values["lr"] for values in drawn]) + 4) / 2
    smoothing = np.array([values["label_smoothing"] for values in drawn]) / 0.2
    for place in (lr, smoothing):
        assert sorted((place * 16).astype(int)) == list(range(16))


def test_fewer_samples_are_the_beginning_of_more() -> None:
    few, many = (plan(RECIPE, SensitivitySettings(space=("lr", "batch"), samples=n)) for n in (5, 8))
    assert [p.key for p in few] == [p.key for p in many][: len(few)]


@given(st.sampled_from(list(SETTINGS)), st.floats(0, 1, exclude_max=True), st.sampled_from([5, 40, 100]))
def test_every_sampled_value_lies_in_the_range_and_is_allowed(name: str, u: float, epochs: int) -> None:
    recipe = replace(RECIPE, epochs=epochs, warmup_epochs=min(4, epochs - 1))
    setting = SETTINGS[name]
    values = list(dict.fromkeys([*setting.around(recipe), setting.of(recipe)]))
    found = setting.at(u, values)
    apply(recipe, {name: found})
    if setting.scale != "choice":
        positive = [float(v) for v in values if float(v) > 0]
        low = min(positive) if setting.scale == "log" else min(map(float, values))
        assert low * (1 - 1e-5) <= float(found) <= max(positive) * (1 + 1e-5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lrr", "did you mean lr"),
        ("lr=fast", "lr=fast is not a number"),
        ("lr=-1", "lr=-1.0 is outside what the protocol allows: lr is -1.0"),
        ("warmup=100", "fewer than epochs"),
        ("warmup=1.5", "not a whole number"),
        ("batch=1", "batch norm"),
        ("label_smoothing=1", "label_smoothing is 1.0"),
        ("cutmix=1.5", "a probability"),
        ("precision=fp16", "none of fp32, bf16"),
        ("lr=0.001", "only the protocol's value"),
    ],
)
def test_what_cannot_be_tried_is_refused_by_name(text: str, expected: str) -> None:
    with pytest.raises(SpaceError) as error:
        plan_of(text)
    assert expected.lower() in str(error.value).lower()


def test_a_probed_lr_takes_min_lr_along() -> None:
    """As the height of one schedule: where min_lr is half of lr, a tenth of lr would lie below it."""
    recipe = Recipe(epochs=2, warmup_epochs=1, lr=1e-3, min_lr=5e-4)
    found = {p.values["lr"]: apply(recipe, p.values) for p in plan(recipe, SensitivitySettings())}
    assert len(found) == 5
    for lr, probed in found.items():
        assert probed.lr == lr
        assert probed.min_lr == pytest.approx(lr / 2)
    assert found[1e-3] == recipe


@given(st.floats(1e-8, 1.0), st.floats(1e-8, 1e3))
def test_min_lr_never_ends_above_the_probed_lr(own: float, lr: float) -> None:
    assert apply(Recipe(lr=own, min_lr=own), {"lr": lr}).min_lr <= lr


def test_cutmix_that_the_protocol_switches_off_cannot_be_probed() -> None:
    recipe = replace(RECIPE, augment=Augment(cutmix_alpha=0))
    with pytest.raises(SpaceError, match="cutmix_alpha"):
        plan(recipe, SensitivitySettings(space=("cutmix",)))


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"space": ["lrr"]}, "'lrr'"),
        ({"space": []}, "empty"),
        ({"space": ["lr", "lr"]}, "twice"),
        ({"spaces": ["lr"]}, "did you mean space"),
        ({"val_fraction": 0.0}, "val_fraction is 0.0"),
        ({"samples": -1}, "samples is -1"),
        ({"values": {"batch": [8]}}, "does not probe"),
    ],
)
def test_a_wrong_section_of_params_yaml_is_refused(section: dict, expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(SensitivitySettings, section)
    assert expected in str(error.value)


def test_a_section_of_params_yaml_is_read() -> None:
    found = parse(
        SensitivitySettings, {"space": ["lr", "batch"], "values": {"batch": [8, 16]}, "models": ["mobilevit"]}
    )
    assert found.values == {"batch": (8, 16)}
    assert found.sample_count == 16
