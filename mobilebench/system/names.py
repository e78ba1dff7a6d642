"""A name that is unknown, and the known ones that look like it."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def near(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Return up to `count` of the known names that look like `name`, best first."""
    return difflib.get_close_matches(name, list(known), n=count, cutoff=0.6)


def did_you_mean(name: str, known: Iterable[str], count: int = 3) -> str:
    """Return `did you mean a or b?` with the known names that look like `name`; empty when none does."""
    found = near(name, known, count)
    return f"did you mean {' or '.join(found)}?" if found else ""
