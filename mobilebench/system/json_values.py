"""Values as JSON has them."""

from __future__ import annotations

import math
from dataclasses import asdict, is_dataclass
from pathlib import PurePath
from typing import Any


def plain_value(value: Any) -> Any:
    """Return a value as JSON has it: rows of a frame as mappings, a number that is not finite or is absent as None.

    Raises TypeError for what has no form in JSON.
    """
    if hasattr(value, "to_dict") and hasattr(value, "columns"):  # a frame of pandas, which is not imported for this
        value = value.to_dict("records")
    elif is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    elif hasattr(value, "item"):  # a number of numpy's
        value = value.item()
    if isinstance(value, dict):
        return {str(key): plain_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(item) for item in value]
    if isinstance(value, PurePath):
        return str(value)
    is_absent = type(value).__name__ == "NAType" or (isinstance(value, float) and not math.isfinite(value))
    if is_absent or isinstance(value, str | int | float | None):
        return None if is_absent else value
    raise TypeError(f"a {type(value).__name__} has no form in JSON")
