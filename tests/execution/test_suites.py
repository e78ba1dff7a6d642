from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mobilebench.analysis.reproduce import as_yaml
from mobilebench.config.suite import parse_suite, preset_text, presets
from mobilebench.errors import UserError
from mobilebench.execution.suites import check_names, network_ids, open_suite, suite_of_experiment

if TYPE_CHECKING:
    from pathlib import Path

DEMO = preset_text("demo")


@pytest.mark.parametrize("name", presets())
def test_a_packaged_suite_names_only_what_there_is(name: str) -> None:
    check_names(parse_suite(preset_text(name), name))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("datasets: [digits,", "datasets: [digit,", "did you mean digits"),
        ("- convnext", "- convnexx", "did you mean convnext"),
        ("models: [mobilevit]", "models: [mobilvit]", "did you mean mobilevit"),
        ("models: [mobilevit]", "datasets: [digit]", "did you mean digits"),
    ],
)
def test_a_wrong_name_is_refused_with_what_looks_like_it(project: Path, old: str, new: str, expected: str) -> None:
    assert old in DEMO
    (project / "params.yaml").write_text(DEMO.replace(old, new, 1))
    with pytest.raises(UserError, match=expected):
        open_suite()
    if "digits" in expected:
        with pytest.raises(UserError, match=expected):
            suite_of_experiment("demo")
    else:  # the network of a package that is not installed: its results are there, and can be read
        assert suite_of_experiment("demo") == open_suite(networks=False)


def test_own_data_is_a_name_that_is_known(project: Path) -> None:
    own = DEMO.replace("datasets: [digits,", "datasets: [mine,", 1) + "data_sources:\n  mine: { folder: images }\n"
    (project / "params.yaml").write_text(own)
    assert "mine" in open_suite().datasets


TENTH = "  digits_p10: { of: digits, train_fraction: 0.1 }\n"


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (
            TENTH.replace("of: digits", "of: digit"),
            "data_sources.digits_p10: no dataset is called 'digit'; did you mean",
        ),
        (
            f"{TENTH}  less: {{ of: digits_p10, per_class: 1 }}\n",
            "less: digits_p10 is derived itself, of digits",
        ),
        (
            TENTH,
            r"of digits_p10 val_fraction is 0.0, of digits 0.4. Name both in the override: `datasets: \[dig",
        ),
        ("  less: { of: digits }\n", "of digits has no amount; give exactly one of train_fraction, per_class and max"),
        (
            "  less: { of: digits, train_fraction: 0.1, per_class: 2 }\n",
            "has train_fraction and per_class; give",
        ),
        ("  less: { of: digits, train_fraction: 0.0 }\n", "train_fraction is 0.0; allowed: 0 < fraction <= 1"),
        ("  less: { of: digits, train_fraction: 10 }\n", "train_fraction is 10.0; allowed: 0 < fraction <= 1"),
        ("  less: { of: digits, per_class: 0 }\n", "per_class is 0; allowed: 1 or more"),
        ("  less: { of: digits, max_train: -1 }\n", "max_train is -1; allowed: 1 or more"),
        ("  less: { of: digits, per_class: 1, seed: -1 }\n", "seed is -1; allowed: 0 or more"),
        ("  less: { of: digits, per_clas: 1 }\n", "data_sources.less.per_clas: unknown key; did you mean per_class?"),
        (
            "  less: { of: digits, per_class: 1, folder: x }\n",
            "less.folder: unknown key. Allowed here: max_train, of",
        ),
        (
            "  less: { folders: x }\n",
            "less.folders: unknown key; did you mean folder. Allowed here: channels, classes, csv",
        ),
        ("  less: digits\n", "data_sources.less: Input should be an object, found 'digits'"),
    ],
)
def test_a_wrong_entry_of_data_sources_is_refused_by_name(project: Path, entries: str, expected: str) -> None:
    (project / "params.yaml").write_text(f"{DEMO}data_sources:\n{entries}")
    with pytest.raises(UserError, match=expected):
        open_suite()


def test_a_derived_dataset_is_a_name_that_is_known(project: Path) -> None:
    both = DEMO.replace("- datasets: [digits]", "- datasets: [digits, digits_p10]")
    (project / "params.yaml").write_text(
        f"{both.replace('datasets: [digits,', 'datasets: [digits_p10,', 1)}data_sources:\n{TENTH}"
    )
    suite = open_suite()
    assert parse_suite(as_yaml(suite), "its JSON") == suite


OWN = """
  network: timm:resnet18
  overrides:
    - { models: [other], set: { network: "timm:resnet34" } }
"""


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ("mine, other", ""),
        ("mine, mobilenet", "mobilenet is a network of that name, and its `network` is timm:resnet18. Give it another"),
        ("mine, 'timm:vgg11'", "timm:vgg11 cannot be a name of your own for the network timm:resnet18"),
    ],
)
def test_a_network_may_have_a_name_of_ones_own_that_is_no_others(project: Path, models: str, expected: str) -> None:
    text = "suite: s\nexperiment: s\nmodels: [{}]\ndatasets: [digits]\nseeds: [0]\nprotocol:{}"
    (project / "params.yaml").write_text(text.format(models, OWN))
    if expected:
        for networks in (True, False):  # also where results are only read
            with pytest.raises(UserError, match=expected):
                open_suite(networks=networks)
    else:
        assert network_ids(open_suite()) == [("mine", "timm:resnet18"), ("other", "timm:resnet34")]


def test_a_name_of_ones_own_without_a_network_is_told_what_to_write(project: Path) -> None:
    (project / "params.yaml").write_text(DEMO.replace("- convnext", "- my_probe"))
    with pytest.raises(UserError, match=r"models: \[my_probe\]` and `set: \{network: ID\}`"):
        open_suite()


def test_settings_of_a_named_network_that_the_suite_leaves_out_are_no_mistake(project: Path) -> None:
    named = (
        "    - { models: [resting], set: { network: 'timm:resnet18' } }\n    - { models: [resting], set: { lr: 0.1 } }"
    )
    (project / "params.yaml").write_text(DEMO.replace("  overrides:", f"  overrides:\n{named}"))
    assert "resting" not in open_suite().models


PHASES = "phases: [{epochs: 3, lr: 0.001, schedule: {multistep: [2]}}, {optimizer: sgd, epochs: 2, lr: 0.01}]"


def test_phases_of_an_override_stand_for_the_protocols_one(project: Path) -> None:
    text = DEMO.replace("set: { lr: 0.0005, min_lr: 0.00001 }", f"set: {{ {PHASES} }}")
    (project / "params.yaml").write_text(text.replace("set: { epochs: 2, data", "set: { data"))
    suite = open_suite()
    recipes = [suite.protocol.recipe_for(model, "toy_shapes") for model in ("mobilevit", "fbnet")]
    assert [recipe.total_epochs for recipe in recipes] == [5, 4]
    assert [phase.optimizer for phase in recipes[0].plan] == ["adamw", "sgd"]
    assert parse_suite(as_yaml(suite), "its JSON") == suite


def test_flat_keys_beside_phases_are_refused(project: Path) -> None:
    both = f"{PHASES}, lr: 0.1"
    (project / "params.yaml").write_text(DEMO.replace("set: { lr: 0.0005, min_lr: 0.00001 }", f"set: {{ {both} }}"))
    with pytest.raises(UserError, match=r"overrides\[0\].set.lr is \[0.1\]; allowed: nothing beside phases"):
        open_suite()


def test_no_params_yaml_says_how_to_get_one(project: Path) -> None:
    with pytest.raises(UserError, match="mobilebench init"):
        open_suite()


def test_an_experiment_is_found_here_and_among_the_packaged_suites(project: Path) -> None:
    assert suite_of_experiment("none of that name") is None
    (project / "params.yaml").write_text(DEMO.replace("experiment: demo", "experiment: mine"))
    found = [suite_of_experiment(name) for name in ("mine", "paper-v1")]
    assert [suite.suite for suite in found if suite] == ["demo", "paper_v1"]
