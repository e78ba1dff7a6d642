from __future__ import annotations

import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilebench.config.parsing import ConfigError, canonical, digest, flatten, parse
from mobilebench.config.protocol import Override, Protocol
from mobilebench.config.recipe import Recipe

# Settings that any of the networks can be trained with, drawn independently of one another.
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "epochs": st.integers(10, 300),
        "batch_size": st.integers(2, 512),
        "lr": st.floats(1e-4, 1.0),
        "label_smoothing": st.floats(0, 0.5),
        "optimizer": st.sampled_from(["adam", "adamw", "sgd"]),
        "augment": st.fixed_dictionaries({}, optional={"hflip": st.floats(0, 1), "cutmix_alpha": st.floats(0, 2)}),
    },
)


def test_an_empty_protocol_is_the_papers() -> None:
    recipe = parse(Protocol, {})
    assert (recipe.optimizer, recipe.lr, recipe.min_lr) == ("adam", 1e-3, 1e-5)
    assert (recipe.epochs, recipe.warmup_epochs, recipe.batch_size, recipe.resolution) == (100, 5, 32, 224)


@pytest.mark.parametrize(
    ("settings", "named", "expected"),
    [
        ({"epochs": 3, "warmup_epochs": 5}, "warmup_epochs", "fewer than epochs"),
        ({"batch_size": 0}, "batch_size", "2 or more"),
        ({"lr": 0}, "lr", "more than 0"),
        ({"min_lr": 1.0}, "min_lr", "at most lr"),
        ({"label_smoothing": 1.0}, "label_smoothing", "< 1"),
        ({"augment": {"hflip": 1.5}}, "hflip", "[0, 1]"),
        ({"augment": {"crop_scale": [0.9, 0.1]}}, "crop_scale", "low <= high"),
        ({"augment": {"color_jitter": [0, 0, 0, 0.6]}}, "color_jitter", "at most 0.5"),
        ({"augment": {"randaugment": [2, 9], "trivialaugment": True}}, "trivialaugment", "one policy"),
        ({"data": {"val_fraction": 1.0}}, "val_fraction", "< 1"),
        ({"data": {"fit": "squash"}}, "data.fit", "'centre', 'warp' or 'pad'"),
        ({"eval_resize": 100}, "eval_resize", "at least resolution"),
        ({"eval_resize": "weights"}, "eval_resize", "null or a number of pixels with init scratch"),
        ({"eval_resize": "weight"}, "eval_resize: ", "should be 'weights' or a whole number, found 'weight'"),
        ({"eval_resize": 256.5}, "eval_resize: ", "a valid integer, found 256.5"),
        ({"precision": "fp16"}, "precision", "'fp32' or 'bf16'"),
        ({"epochs": "100"}, "epochs", "integer"),
        ({"epochs": 99.5}, "epochs", "integer"),
        ({"drop_last": 1}, "drop_last", "boolean"),
        ({"warmup_epoch": 5}, "warmup_epoch", "did you mean warmup_epochs"),
        ({"augment": {"flip": 0.5}}, "augment.flip", "hflip"),
        ({"overrides": [{"models": ["a"], "set": {"learning_rate": 1}}]}, "overrides[0].set", "lr"),
        ({"overrides": [{"set": {"lr": -1.0}}]}, "lr", "more than 0"),
        ({"lr": float("inf")}, "lr is inf", "finite"),
        ({"weight_decay": float("inf")}, "weight_decay is inf", "finite"),
        ({"augment": {"cutmix_alpha": float("inf")}}, "augment.cutmix_alpha is inf", "finite"),
        ({"augment": {"crop_scale": [0.5, float("inf")]}}, "augment.crop_scale is (0.5, inf)", "finite"),
        ({"lr": 1e39}, "lr is 1e+39", "at most 3.4"),
        ({"epochs": 10**12}, "epochs is 1000000000000", "at most 1e+06"),
        ({"resolution": 10**6}, "resolution is 1000000", "at most 8192"),
        ({"data": {"short_side": 10**6}}, "data.short_side is 1000000", "at most 8192"),
        ({"overrides": [{"models": ["a"], "set": {"lr": float("inf")}}]}, "overrides[0].set.lr is inf", "finite"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(settings: dict[str, object], named: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(Protocol, settings, "protocol.")
    assert named in str(caught.value)
    assert expected in str(caught.value)


def test_an_override_reaches_its_cells_only_and_keeps_what_it_does_not_name() -> None:
    protocol = parse(
        Protocol,
        {
            "overrides": [
                {"models": ["mobilevit"], "set": {"lr": 1e-4}},
                {"datasets": ["cifar100"], "set": {"augment": {"random_erasing": 0.25}}},
                {"models": ["mobilevit"], "datasets": ["ham10k"], "set": {"lr": 1e-3}},
            ]
        },
    )
    assert protocol.recipe_for("tinynet", "cifar10") == Recipe()
    assert protocol.recipe_for("mobilevit", "cifar10").lr == 1e-4
    assert protocol.recipe_for("mobilevit", "ham10k").lr == 1e-3
    both = protocol.recipe_for("mobilevit", "cifar100")
    assert (both.lr, both.augment.random_erasing, both.augment.cutmix_alpha) == (1e-4, 0.25, 1.0)


@given(SETTINGS)
def test_the_hash_survives_a_round_trip_through_json(settings: dict[str, object]) -> None:
    protocol = parse(Protocol, settings)
    again = parse(Protocol, json.loads(json.dumps(settings, sort_keys=True)))
    assert again == protocol
    assert again.hash == protocol.hash


@given(SETTINGS, SETTINGS)
def test_hashes_differ_exactly_when_settings_do(one: dict[str, object], other: dict[str, object]) -> None:
    first, second = parse(Protocol, one), parse(Protocol, other)
    assert (first.hash == second.hash) == (first == second)


def test_an_integer_written_for_a_number_means_the_same_protocol() -> None:
    assert parse(Protocol, {"lr": 1}).hash == parse(Protocol, {"lr": 1.0}).hash


def test_an_override_is_part_of_the_hash() -> None:
    assert Protocol().hash != Protocol(overrides=(Override({"lr": 1e-4}, models=("mobilevit",)),)).hash


def test_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [2, 3]}) == digest({"b": [2, 3], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_flatten_names_nested_settings_by_their_path() -> None:
    assert flatten({"lr": 1, "augment": {"hflip": 0.5}, "model_options": {}}) == {
        "lr": 1,
        "augment.hflip": 0.5,
        "model_options": {},
    }


def test_a_setting_that_came_later_changes_no_hash_at_its_default() -> None:
    plain = Protocol()
    assert "fit" not in canonical(plain)["data"]
    assert parse(Protocol, {"data": {"fit": "centre"}}).hash == plain.hash
    assert parse(Protocol, {"data": {"fit": "warp"}}).hash != plain.hash
    assert set(asdict(plain.data)) - set(canonical(plain)["data"]) == {"aspect", "fit"}
