from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mobilebench.config.suite import parse_suite, preset_text, presets
from mobilebench.errors import UserError
from mobilebench.execution.suites import check_names, open_suite, suite_of_experiment

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


def test_no_params_yaml_says_how_to_get_one(project: Path) -> None:
    with pytest.raises(UserError, match="mobilebench init"):
        open_suite()


def test_an_experiment_is_found_here_and_among_the_packaged_suites(project: Path) -> None:
    assert suite_of_experiment("none of that name") is None
    (project / "params.yaml").write_text(DEMO.replace("experiment: demo", "experiment: mine"))
    found = [suite_of_experiment(name) for name in ("mine", "paper-v1")]
    assert [suite.suite for suite in found if suite] == ["demo", "paper_v1"]
