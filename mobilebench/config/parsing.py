"""Reading settings strictly: what YAML or JSON says as a frozen dataclass, with errors that name the key."""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from mobilebench.errors import UserError
from mobilebench.system.names import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from dataclasses import Field

T = TypeVar("T")
_FORM = re.compile(
    r"literal\[.*\]|tuple\[.*\]|[A-Z][A-Za-z]+"
)  # how pydantic names the forms of a setting that has several
_DEEPEST = 1000  # characters of a key, beyond any that is read: an alias may lead back to its own parent


class ConfigError(UserError):
    """A setting is unknown, of the wrong type or impossible; the message names its key and what is allowed."""


def digest(value: Any) -> str:
    """Return 12 hex digits of the SHA-256 of a JSON-able value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:12]


def canonical(value: Any) -> Any:
    """Return settings (frozen dataclasses, containers, scalars) as plain JSON values, as hashes are taken of them.

    A field says with which schema version it came: `field(default=..., metadata={"since": 2})`; without it, 1. At its
    default a later field is left out, so that a new setting changes no hash of what was made before there was one. The
    default of such a field means "as before" and must therefore never change.
    """
    if is_dataclass(value) and not isinstance(value, type):
        kept = [f for f in fields(value) if f.metadata.get("since", 1) == 1 or getattr(value, f.name) != _default(f)]
        return {f.name: canonical(getattr(value, f.name)) for f in kept}
    if isinstance(value, dict):
        return {key: canonical(item) for key, item in value.items()}
    return [canonical(item) for item in value] if isinstance(value, list | tuple) else value


def _default(setting: Field[Any]) -> Any:
    return setting.default if setting.default_factory is MISSING else setting.default_factory()


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one level of dotted keys: {"augment": {"hflip": 0.5}} -> {"augment.hflip": 0.5}."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, dict) and item:
            flat |= flatten(item, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = item
    return flat


def raise_if_not_finite(data: Any, where: str = "") -> None:
    """Raise ConfigError, naming its key, for a number in decoded YAML or JSON that is NaN or infinite."""
    if isinstance(data, float) and not math.isfinite(data):
        raise ConfigError(f"{where} is {data}; expected a finite number")
    if isinstance(data, dict | list) and len(where) < _DEEPEST:
        for key, item in data.items() if isinstance(data, dict) else enumerate(data):
            raise_if_not_finite(item, f"{where}.{key}" if where else str(key))


def parse(kind: type[T], data: Any, where: str = "") -> T:
    """Return `data` (as decoded from YAML or JSON) as a `kind`, strictly.

    Raises ConfigError, one line per problem, with the key's full name below `where`.
    """
    try:
        # By way of JSON, where a list is the only way to write a tuple; strict types otherwise.
        found: T = _adapter(cast("Any", kind)).validate_json(json.dumps(data))
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(kind, problem, where) for problem in _meant(error.errors()))) from None
    except (TypeError, ValueError, RecursionError) as error:  # no JSON: a date, a list in itself
        raise ConfigError(f"{where.rstrip('. ') or kind.__name__}: {error}") from None
    return found


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Return what reads a kind; making it takes longer than reading with it."""
    return TypeAdapter(kind)


def _meant(problems: Sequence[Any]) -> list[Any]:
    """Return the problems of the form that was meant where a setting has two; pydantic has those of both.

    The forms are a word or a mapping or a number, or a list or a mapping.

    What it calls the form it tried is no part of the key and is taken out of `loc`; `forms` has it still.
    """
    others = {
        problem["loc"][:-1] for problem in problems if problem["type"] == "dataclass_type"
    }  # no mapping was given
    words = {problem["loc"][:-1] for problem in problems if problem["type"] == "literal_error"}
    numbers = {problem["loc"][:-1] for problem in problems if problem["loc"][-1:] == ("int",)} & words
    lists = {problem["loc"][:-1] for problem in problems if problem["type"] == "tuple_type"}
    kept = []
    for problem in problems:
        *above, last = problem["loc"] or ("",)
        is_word, message = problem["type"] == "literal_error", problem["msg"]
        if tuple(above) in numbers:
            if is_word != isinstance(problem["input"], str):
                continue
            message += " or a whole number" if is_word else ""
            kept.append({**problem, "loc": tuple(above), "msg": message, "forms": problem["loc"]})
            continue
        if _FORM.fullmatch(str(last)) and tuple(above) in words:
            if is_word != (tuple(above) in others):
                continue
            message += " or a mapping" if is_word else ""
        if _FORM.fullmatch(str(last)) and tuple(above) in lists:
            if isinstance(problem["input"], dict) == (problem["type"] == "tuple_type"):
                continue
            message = "Input should be a list or a mapping" if problem["type"] == "tuple_type" else message
        where = tuple(part for part in problem["loc"] if not _FORM.fullmatch(str(part)))
        kept.append({**problem, "loc": where, "msg": message, "forms": problem["loc"]})
    return kept


def _explain(kind: type, problem: Any, where: str) -> str:
    key = where + ".".join(str(part) for part in problem["loc"])
    if problem["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
        allowed = _keys_beside(kind, problem["forms"])
        hint = did_you_mean(str(problem["loc"][-1]), allowed, 1)
        return f"{key}: unknown key{f'; {hint}' if hint else '.'} Allowed here: {', '.join(allowed)}"
    if problem["type"] == "missing":
        return f"{key}: is missing"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":  # raised by our own checks, which name the key themselves
        return f"{where}{message}"
    return f"{key}: {message}, found {problem['input']!r}"


def _keys_beside(kind: type, loc: tuple[Any, ...]) -> list[str]:
    """Return the keys allowed where `loc` points, walking the JSON schema, which knows nested and optional types."""
    schema = TypeAdapter(kind).json_schema()
    node = _resolve(schema, schema)
    for part in loc[:-1]:
        if _FORM.fullmatch(str(part)):  # one of the forms that an entry may have, or of a word and a mapping
            node = next((form for form in node.get("oneOf", []) if form["$ref"].endswith(f"/{part}")), node)
        elif isinstance(part, int):
            node = node.get("items", {})
        else:
            node = node.get("properties", {}).get(part) or node.get("additionalProperties") or {}
        node = _resolve(schema, node)
    return sorted(node.get("properties", {}))


def _resolve(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    for option in [node, *node.get("anyOf", [])]:
        if "$ref" in option:
            found: dict[str, Any] = schema["$defs"][option["$ref"].rsplit("/", 1)[-1]]
            return found
    return node
