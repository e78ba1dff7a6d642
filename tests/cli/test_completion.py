"""What a shell offers after Tab, as click asks for it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from click.shell_completion import ShellComplete

from mobilebench.cli import main
from mobilebench.config.suite import preset_text

if TYPE_CHECKING:
    from pathlib import Path


def offered(line: str) -> list[str]:
    """Return what is offered for the last word of a line."""
    *before, begun = line.split(" ")[1:]
    shell = ShellComplete(main, {}, "mobilebench", "_MOBILEBENCH_COMPLETE")
    return [item.value for item in shell.get_completions(before, begun)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("mobilebench le", ["leaderboard"]),
        ("mobilebench pre", ["predict"]),  # hidden
        ("mobilebench init pa", ["paper_v1", "paper_v1_bf16"]),
        ("mobilebench init demo --model mobilev", ["mobilevit", "mobilevit_canonical"]),
        ("mobilebench train d", ["digits"]),
        ("mobilebench train digits --model s", ["shufflenet", "starnet"]),
        ("mobilebench run digits toy_t", ["toy_textures"]),
        ("mobilebench data prepare ham10k_", ["ham10k_grouped", "ham10k_released"]),
        ("mobilebench models check convn", ["convnext", "convnext_canonical"]),
        ("mobilebench inspect star", ["starnet"]),
        ("mobilebench inspect starnet toy_t", ["toy_textures"]),
        ("mobilebench compare star", ["starnet"]),
        ("mobilebench score --metric ma", ["macro_f1", "map"]),
        ("mobilebench --vers", ["--version"]),
    ],
)
def test_names_are_offered(project: Path, line: str, expected: list[str]) -> None:
    (project / "params.yaml").write_text(preset_text("demo"))
    assert offered(line) == expected


def test_without_a_suite_all_names_are_offered_and_a_broken_one_ends_nothing(project: Path) -> None:
    assert offered("mobilebench train cifar") == ["cifar10", "cifar100"]
    (project / "params.yaml").write_text("models: [")
    assert offered("mobilebench train cifar") == ["cifar10", "cifar100"]


def test_offering_imports_nothing_heavy() -> None:
    code = (
        "import sys; from click.shell_completion import ShellComplete; from mobilebench.cli import main\n"
        "ShellComplete(main, {}, 'm', '_M').get_completions([], 's')\n"
        "ShellComplete(main, {}, 'm', '_M').get_completions(['train'], 'd')\n"
        "print(sorted({'torch', 'mlflow', 'pandas', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"
