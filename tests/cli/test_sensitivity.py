"""`mobilebench sensitivity` as a person types it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grids
import pytest
from click.testing import CliRunner

from mobilebench.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

    from mobilebench.config.recipe import Recipe
    from mobilebench.config.suite import Cell
    from mobilebench.execution.network import Built


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["sensitivity", *arguments])


@pytest.fixture
def tiny(store: Path, project: Path) -> Path:
    grids.write(project)
    return project


def small(cell: Cell, num_classes: int, recipe: Recipe, channels: int, root: Path) -> Built:
    """In the place of a real network: this is about the command, not about training."""
    from torch import nn

    from mobilebench.execution.network import Built

    return Built(nn.Sequential(nn.Conv2d(channels, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                               nn.Flatten(), nn.Linear(4, num_classes)), "small")  # fmt: skip


def test_the_simplest_form_runs_and_the_report_shows_it(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mobilebench.sensitivity.trial.build", small)
    monkeypatch.setattr("mobilebench.sensitivity.results.REFITS", 3)  # the forests are most of the time
    space = ("--space", "lr=0.0001:0.01,cutmix=0.5", "--samples", "6")
    for model in ("shufflenet", "starnet"):
        done = call("--model", model, "--dataset", "blobs", *space)
        assert done.exit_code == 0, done.output
        assert "10 trials to run" in done.output
    done = call("report")
    assert done.exit_code == 0, done.output
    folder = tiny / "results/sensitivity"
    page = (folder / "report.md").read_text()
    for words in ("shufflenet", "starnet", "10 settings", "single run", "no test image is read"):
        assert words in page
    assert "orders of two models on one dataset turn round" in page
    for name in ("slices", "importances", "parallel_shufflenet_blobs", "parallel_starnet_blobs"):
        assert (folder / f"figures/{name}.png").stat().st_size > 5000
        assert f"figures/{name}.png" in page
    assert list(tiny.glob("mlartifacts/tiny-sensitivity/**/slices.png"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--space", "lrr"), "did you mean lr"),
        (("--space", "lr=-1"), "lr=-1.0 is outside what the protocol allows"),
        (("--model", "mobilevit"), "has no model mobilevit; it has shufflenet, starnet"),
        (("--dataset", "dogs"), "has no dataset dogs"),
        (("--storage", "nowhere"), "cannot use the Optuna storage nowhere"),
        (("report",), "no study is of the present protocol"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(tiny: Path, arguments: tuple[str, ...], expected: str) -> None:
    done = call(*arguments)
    assert done.exit_code == 2
    assert expected in done.output
    assert "Traceback" not in done.output


def test_help_names_both_commands() -> None:
    done = call("--help")
    assert done.exit_code == 0
    assert "run" in done.output
    assert "report" in done.output
