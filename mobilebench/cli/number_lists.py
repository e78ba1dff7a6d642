"""Options that take several numbers, separated by commas."""

from __future__ import annotations

import math
from contextlib import suppress

import click


class Counts(click.ParamType["tuple[int, ...]"]):
    """Whole numbers of 1 or more."""

    name = "numbers"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return the numbers, each once. Fails for another text."""
        if isinstance(value, tuple):
            return value
        words = [word.strip() for word in str(value).split(",")]
        if not all(word.isdecimal() and int(word) for word in words):
            self.fail(f"{value} are no numbers; expected whole ones of 1 or more, as 1 or 1,2,4", param, ctx)
        return tuple(dict.fromkeys(map(int, words)))


class Milliseconds(click.ParamType["tuple[float, ...]"]):
    """Times above 0."""

    name = "milliseconds"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Return the times, each once. Fails for another text."""
        if isinstance(value, tuple):
            return value
        found: list[float] = []
        with suppress(ValueError):
            found = [float(word) for word in str(value).split(",")]
        if not found or not all(0 < number < math.inf for number in found):
            self.fail(f"{value} are no times; expected milliseconds above 0, as 10 or 5,10,20", param, ctx)
        return tuple(dict.fromkeys(found))
