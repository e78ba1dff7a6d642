"""The project folder a person works in: writing its params.yaml without losing theirs."""

from __future__ import annotations

import subprocess

from mobilebench.config import suite as suites
from mobilebench.errors import UserError


def write_params(suite: str, *, force: bool) -> None:
    """Write params.yaml from a packaged suite.

    Raises UserError for an unknown suite, and, unless forced, when the present params.yaml holds settings that neither
    git nor a packaged suite has: they would be lost.
    """
    replace_params(suites.packaged_text(suite), force=force, again=f"mobilebench init {suite} --force")


def replace_params(text: str, *, force: bool, again: str = "the same command and --force") -> None:
    """Write params.yaml; raises UserError as `write_params` does, naming the command that replaces it all the same."""
    if suites.PARAMS.exists() and not force and not _is_kept(suites.PARAMS.read_text()):
        raise UserError(
            f"{suites.PARAMS} has changes that git does not have; commit them, or replace them with `{again}`"
        )
    beside = suites.PARAMS.with_suffix(".yaml.part")
    beside.write_text(text)
    beside.replace(suites.PARAMS)
    _track_lock()


def _is_kept(text: str) -> bool:
    if text in {suites.packaged_text(name) for name in suites.packaged()}:
        return True
    committed = _git("show", f"HEAD:./{suites.PARAMS}")
    return committed is not None and committed == text


def _track_lock() -> None:
    """Let git see dvc.lock again: `make demo` hides its change, a real grid wants it committed with its results."""
    _git("update-index", "--no-skip-worktree", "dvc.lock")


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)  # noqa: S603, S607 - fixed words
    except (OSError, subprocess.CalledProcessError):  # no git, no repository or no such file: nothing is kept there
        return None
    return done.stdout
