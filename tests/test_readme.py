"""README says what is: its commands, files and suites exist; its table of models is checked in cli/test_models.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from mobilebench.cli import COMMANDS, main
from mobilebench.config.suite import load_suite, presets
from mobilebench.search.space import plan

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


def test_every_command_named_exists() -> None:
    named = set(re.findall(r"(?:`|\$ )mobilebench ([a-z][a-z-]+)", README))
    assert named >= {"train", "score", "data", "models"}
    assert named <= {name for name, entry in COMMANDS.items() if not entry.hidden}


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("leaderboard", "no file results/accuracy.csv; `mobilebench score` writes"),
        ("report", "no file results/accuracy.csv; `mobilebench score` writes"),
        ("subsets --matrix results", "no file results/accuracy.csv; `mobilebench score` writes"),
        ("predict --matrix results", "no file results/accuracy.csv; `mobilebench score` writes"),
        ("study claims beyond_imagenet --matrix results", "no file results/accuracy.csv; `mobilebench score` writes"),
        ("score", "has no experiment 'demo'; it has: none. Train first"),
        ("compare demo paper-v1", "train first"),
        ("register digits", "has no experiment 'demo'; it has: none. Train first"),
        ("reproduce 0123456789abcdef0123456789abcdef", "Run ids are in MLflow's UI"),
        ("train digits", "run `mobilebench data prepare digits`"),
        ("sensitivity --model mobilevit --dataset digits", "run `mobilebench data prepare digits`"),
        ("sensitivity report", "run `mobilebench data prepare digits`"),
        ("data audit digits", "run `mobilebench data prepare digits`"),
    ],
)
def test_before_any_run_a_command_says_what_comes_first(
    project: Path, store: Path, command: str, expected: str
) -> None:
    """On the suite that is in git, in a folder where nothing was done yet."""
    (project / "params.yaml").write_text((ROOT / "params.yaml").read_text("utf-8"), "utf-8")
    result = CliRunner().invoke(main, command.split())
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 2
    assert expected in result.output


def test_the_documented_probe_is_allowed_on_the_suite_in_git() -> None:
    (model, dataset) = re.findall(r"`mobilebench sensitivity --model (\w+) --dataset (\w+)`", README)[0]
    suite = load_suite(ROOT / "params.yaml")
    assert model in suite.models
    assert dataset in suite.datasets
    assert len(plan(suite.protocol.recipe_for(model, dataset), suite.sensitivity)) == 5


def test_every_make_target_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z]+)", README)) - {"and"} <= targets


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", README))))
def test_every_file_linked_exists(link: str) -> None:
    assert (ROOT / link).exists()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:mobilebench|tests)/[a-z0-9_./]*)`", CONTRIBUTING))))
def test_every_file_a_contributor_is_sent_to_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_every_make_target_a_contributor_calls_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|\$ )make ([a-z]+)", CONTRIBUTING)) <= targets


def test_every_suite_is_listed() -> None:
    assert set(re.findall(r"^\| `([a-z0-9_]+)` \| .*\| `[a-z0-9-]+` \|$", README, re.MULTILINE)) == set(presets())
