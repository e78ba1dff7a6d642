"""Reading the plain-text lists that some official distributions use for their splits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilebench.datasets.spec import DataError

if TYPE_CHECKING:
    from pathlib import Path


def lines(path: Path) -> list[str]:
    """Return the non-empty lines of a list, stripped. Raises DataError when it is absent, binary or empty."""
    try:
        found = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a list ({error}).") from error
    kept = [line for line in found if line]
    if not kept:
        raise DataError(f"{path} is empty; fetch it again.")
    return kept


def numbered(path: Path) -> list[tuple[str, int]]:
    """Return (name, number) for every line `name number`. Raises DataError naming the first line that is not one."""
    found = []
    for number, line in enumerate(lines(path), start=1):
        name, _, label = line.rpartition(" ")
        if not name or not label.isdecimal():
            raise DataError(f"{path}, line {number}: found {line[:80]!r}, expected a name, a space and a number.")
        found.append((name.strip(), int(label)))
    return found
