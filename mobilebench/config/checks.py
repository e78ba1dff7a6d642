"""Checks that settings of a recipe share. Standard library only."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

# Read by pydantic on standard dataclasses; a plain dict, so nothing needs pydantic to import this module.
STRICT: dict[str, Any] = {"extra": "forbid", "strict": True}


def require(ok: bool, key: str, found: object, allowed: str) -> None:  # noqa: FBT001 - the condition checked
    """Raise ValueError, naming the key, what was found and what is allowed, where a condition does not hold."""
    if not ok:
        raise ValueError(f"{key} is {found!r}; allowed: {allowed}")


FLOAT32_MAX = 3.4028234663852886e38
# Beyond these, a number is a slip: a cell would train for ever, or end for want of memory hours later.
_LARGEST = {
    "epochs": 1_000_000, "batch_size": 1_000_000, "resolution": 8192, "eval_resize": 8192, "short_side": 8192,
}  # fmt: skip


def require_numbers(settings: Any, prefix: str = "") -> None:
    """Raise ValueError, naming the key, for a number that cannot be meant.

    That is one beyond _LARGEST, one that is not finite, or one that a 32-bit float, which networks are trained in,
    cannot hold.
    """
    for item in fields(settings):
        value = getattr(settings, item.name)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                require(ok=False, key=prefix + item.name, found=value, allowed="finite numbers")
            if isinstance(number, int | float):
                most = _LARGEST.get(item.name, FLOAT32_MAX)
                require(abs(number) <= most, prefix + item.name, value, f"at most {most:g}")
