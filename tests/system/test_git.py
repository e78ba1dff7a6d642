from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from mobilebench.system.git import git

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q"], check=True)
    (tmp_path / "file").write_text("text\n")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    subprocess.run(["git", "add", "."], check=True)
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-qm", "first"], check=True)
    return tmp_path


def test_git_answers_with_what_it_prints(repository: Path) -> None:
    assert git("show", "HEAD:./file") == "text\n"
    assert git("diff", "--quiet", "HEAD") == ""


@pytest.mark.parametrize(
    "arguments", [("show", "HEAD:./none"), ("show", "HEAD:./bytes"), ("rev-parse", "--verify", "none"), ("nonsense",)]
)
def test_there_is_no_answer_to_what_git_cannot_say(repository: Path, arguments: tuple[str, ...]) -> None:
    assert git(*arguments) is None


def test_a_difference_is_no_answer(repository: Path) -> None:
    (repository / "file").write_text("changed\n")
    assert git("diff", "--quiet", "HEAD") is None


def test_there_is_no_answer_outside_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git("rev-parse", "HEAD") is None


def test_there_is_no_answer_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert git("--version") is None
