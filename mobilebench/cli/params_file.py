"""The project folder a person works in: writing its params.yaml without losing theirs."""

from __future__ import annotations

from mobilebench.config.suite import PARAMS, preset_text, presets
from mobilebench.errors import UserError
from mobilebench.system.files import read_text, write_text
from mobilebench.system.git import git


def write_params(suite: str, *, force: bool) -> None:
    """Write params.yaml from a packaged suite.

    Raises UserError for an unknown suite, and, unless forced, when the present params.yaml holds settings that neither
    git nor a packaged suite has: they would be lost.
    """
    replace_params(preset_text(suite), force=force, again=f"mobilebench init {suite} --force")


def replace_params(text: str, *, force: bool, again: str = "the same command and --force") -> None:
    """Write params.yaml; raises UserError as `write_params` does, naming the command that replaces it all the same."""
    if PARAMS.exists() and not force and not _is_kept(read_text(PARAMS, "the YAML of a suite")):
        raise UserError(f"{PARAMS} has changes that git does not have; commit them, or replace them with `{again}`")
    write_text(PARAMS, text)


def _is_kept(text: str) -> bool:
    if text in {preset_text(name) for name in presets()}:
        return True
    return git("show", f"HEAD:./{PARAMS}") == text
