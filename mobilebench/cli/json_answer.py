"""`--json`: what a command found as one JSON document."""

from __future__ import annotations

import json
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from mobilebench.system.json_values import plain_value

if TYPE_CHECKING:
    from collections.abc import Callable


_open: list[dict[str, Any]] = []  # the document of the command that runs, if it answers in JSON


def json_option(command: Callable[..., None]) -> Callable[..., None]:
    """Add `--json` to a command: one document on stdout, of what the command gave to `answer`, and nothing else.

    docs/cli-json.md has its shape. A command that is refused prints none; one that leaves something undone does.
    """

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead (docs/cli-json.md).")
    @wraps(command)
    def run(*args: Any, as_json: bool = False, **options: Any) -> None:
        if not as_json or _open:
            command(*args, **options)
            return
        document: dict[str, Any] = {"command": _name(click.get_current_context()), "notes": []}
        _open.append(document)
        try:
            command(*args, **options)
        except click.ClickException as error:
            if error.exit_code == 1:
                _print(document)
            raise
        finally:
            _open.clear()
        _print(document)

    return run


def _print(document: dict[str, Any]) -> None:
    click.echo(json.dumps(plain_value(document), indent=1, allow_nan=False))


def answer(**parts: Any) -> bool:
    """Put parts into the document of a command that was called with `--json`, and return whether it was.

    A part is a plain value, a dataclass, a list of these, or a pandas frame, which becomes a list of its rows.
    """
    if not _open:
        return False
    _open[0] |= parts
    return True


def note(line: str) -> None:
    """Put a line into the document that there is."""
    _open[0]["notes"].append(line)


def _name(context: click.Context | None) -> str:
    """Return a command's name with those of the groups that it is in, as `data list`."""
    names = []
    while context is not None and context.parent is not None:
        names.append(context.info_name or "")
        context = context.parent
    return " ".join(reversed(names))
