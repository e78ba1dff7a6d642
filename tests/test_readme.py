"""README says what is: its table is the one the program prints, its commands, files and suites exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mobilebench.cli import COMMANDS
from mobilebench.config.suite import presets

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


def test_the_model_table_is_the_one_printed() -> None:
    from mobilebench.cli.readme_table import readme_table

    block = README.split("<!-- models:begin -->")[1].split("<!-- models:end -->")[0]
    assert block.strip() == readme_table().strip()


def test_every_command_named_exists() -> None:
    named = set(re.findall(r"(?:`|\$ )mobilebench ([a-z][a-z-]+)", README))
    assert named >= {"train", "score", "data", "models"}
    assert named <= {name for name, entry in COMMANDS.items() if not entry.hidden}


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
