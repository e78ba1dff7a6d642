from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from mobilebench.config.parsing import ConfigError, flatten
from mobilebench.config.phases import FLAT
from mobilebench.config.recipe import Recipe
from mobilebench.config.suite import parse_suite, preset_text, presets, select_cells
from mobilebench.errors import UserError

REPOSITORY = Path(__file__).parents[2]
DEMO = preset_text("demo")


def test_every_packaged_suite_loads_under_its_own_name() -> None:
    for name in presets():
        suite = parse_suite(preset_text(name), name)
        assert suite.suite == name


def test_experiment_names_are_unique() -> None:
    names = [parse_suite(preset_text(name), name).experiment for name in presets()]
    assert len(set(names)) == len(names)


ABSENT = {"network", "phases", "decay_norms"}  # without them a recipe is what its other settings say


@pytest.mark.parametrize("name", presets())
def test_a_packaged_suite_writes_every_setting_of_its_protocol(name: str) -> None:
    """Nothing that gives an accuracy its meaning may hide in a default; what is absent unless given hides nothing."""
    written = YAML(typ="safe", pure=True).load(preset_text(name))["protocol"]
    said_by_phases = set(FLAT) - {"phases"} if "phases" in written else set()
    expected = {f.name for f in fields(Recipe)} - said_by_phases - ABSENT
    assert set(written) - {"overrides", "decay_norms", "phases"} == expected
    assert len(flatten(written["augment"])) == 11


def test_the_papers_suite_is_the_papers_grid_and_protocol() -> None:
    suite = parse_suite(preset_text("paper_v1"), "paper_v1")
    assert suite.experiment == "paper-v1"
    assert len(list(suite.cells())) == 77
    assert suite.protocol.recipe_for("mobilevit", "dogs").lr == 1e-4
    assert {suite.protocol.recipe_for(m, "dogs").lr for m in suite.models if m != "mobilevit"} == {1e-3}


def test_the_repository_starts_with_the_demo() -> None:
    assert (REPOSITORY / "params.yaml").read_text() == DEMO


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("warmup_epochs: 0", "warmup_epochs: 4", "warmup_epochs is 4"),
        ("suite: demo", "suites: demo", "did you mean suite"),
        ("seeds: [0]", "seeds: []", "seeds is empty"),
        ("seeds: [0]", "seeds: [0, 0]", "seeds names 0 twice"),
        ("seeds: [0]", "seeds: [-1]", "0 or more"),
        ("datasets: [digits,", "datasets: [digits, Digits-2,", "'Digits-2' is no id"),
        ("experiment: demo", "experiment: ''", "printable characters"),
        ("epochs: 4", "epochs: 4: 4", "not readable as YAML"),
        ("lam: 0.5", "lam: 2.0", "0 to 1"),
    ],
)
def test_a_wrong_params_yaml_is_refused_by_name(old: str, new: str, expected: str) -> None:
    assert old in DEMO
    with pytest.raises(UserError, match="(?s).*" + expected.replace("(", r"\(")):
        parse_suite(DEMO.replace(old, new, 1), "params.yaml")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("lam: 0.5", "lam: .inf", "score.lam is inf"),
        ("model_options: {}", "model_options: {drop: .nan}", "protocol.model_options.drop is nan"),
        ("lr: 0.005", "lr: .inf", "protocol.lr is inf"),
        ("seeds: [0]", "seeds: [99999999999999999999]", "seeds has 99999999999999999999; allowed: 0 or more, at most"),
        ("threads: 1 ", "threads: 1000000 ", "runtime.threads is 1000000"),
        ("eval_batch_size: 256", "eval_batch_size: 1000000000", "runtime.eval_batch_size is 1000000000"),
        ("seeds: [0]", "seeds: &a [*a]", "ircular"),
        ("seeds: [0]", "seeds: [2001-99-99]", "params.yaml"),
    ],
)
def test_numbers_that_cannot_be_meant_are_refused_by_name(old: str, new: str, expected: str) -> None:
    text = preset_text("demo")
    assert old in text
    with pytest.raises(ConfigError) as caught:
        parse_suite(text.replace(old, new), "params.yaml")
    assert expected in str(caught.value)


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(ConfigError, match="not the keys of a suite"):
        parse_suite("", "params.yaml")


def test_an_unknown_suite_names_the_known() -> None:
    with pytest.raises(UserError, match="did you mean paper_v1"):
        preset_text("paper-v1")


def test_select_refuses_what_the_suite_lacks() -> None:
    suite = parse_suite(DEMO, "demo")
    assert [c.name for c in select_cells(suite, "digits", ("tinynet",), (0,))] == ["tinynet.digits.0"]
    for dataset, models, seeds in (("cifar10", (), ()), ("digits", ("resnet",), ()), ("digits", (), (7,))):
        with pytest.raises(UserError, match="the suite has no"):
            select_cells(suite, dataset, models, seeds)
