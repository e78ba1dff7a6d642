"""The protocol: a recipe with its visible overrides, read strictly, and the hash that names it.

A protocol is everything held fixed across cells. Where one network or dataset must differ (MobileViT's lower learning
rate), the difference is an override *inside* the protocol, so that it is seen, hashed and reported.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pydantic import TypeAdapter, ValidationError

from mobilebench.config.recipe import Recipe
from mobilebench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")


class ConfigError(UserError):
    """A setting is unknown, of the wrong type or impossible; the message names its key and what is allowed."""


@dataclass(frozen=True)
class Override:
    """Settings that differ for some cells: those of `models` (null: all) on `datasets` (null: all)."""

    set: dict[str, Any]
    models: tuple[str, ...] | None = None
    datasets: tuple[str, ...] | None = None
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}

    def applies(self, model: str, dataset: str) -> bool:
        """Tell whether the override is for this network on this dataset."""
        return (self.models is None or model in self.models) and (self.datasets is None or dataset in self.datasets)


@dataclass(frozen=True)
class Protocol(Recipe):
    """The recipe of a whole suite and its overrides, applied in order, later ones winning."""

    overrides: tuple[Override, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        for number, override in enumerate(self.overrides):
            self._with(override.set, f"overrides[{number}].set.")

    def recipe_for(self, model: str, dataset: str) -> Recipe:
        """Return the recipe of one cell: the common settings with every applying override."""
        merged: dict[str, Any] = {}
        for override in self.overrides:
            if override.applies(model, dataset):
                merged = _deep_merge(merged, override.set)
        return self._with(merged, f"{model} on {dataset}: ")

    def _with(self, changes: Mapping[str, Any], where: str) -> Recipe:
        common = {f.name: getattr(self, f.name) for f in fields(Recipe)}
        return parse(Recipe, _deep_merge(_plain(common), changes), where)

    @property
    def hash(self) -> str:
        """Twelve hex digits of the SHA-256 of the canonical JSON: equal exactly when every setting is equal."""
        return digest(asdict(self))


def digest(value: Any) -> str:
    """Return 12 hex digits of the SHA-256 of a JSON-able value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:12]


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one level of dotted keys: {"augment": {"hflip": 0.5}} -> {"augment.hflip": 0.5}."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, dict) and item:
            flat |= flatten(item, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = item
    return flat


def parse(kind: type[T], data: Any, where: str = "") -> T:
    """Return `data` (as decoded from YAML or JSON) as a `kind`, strictly.

    Raises ConfigError, one line per problem, with the key's full name below `where`.
    """
    try:
        # By way of JSON, where a list is the only way to write a tuple; strict types otherwise.
        return TypeAdapter(kind).validate_json(json.dumps(data))
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(kind, problem, where) for problem in error.errors())) from None
    except TypeError as error:  # a YAML date, say, is no JSON value
        raise ConfigError(f"{where.rstrip('. ') or kind.__name__}: {error}") from None


def _explain(kind: type, problem: Any, where: str) -> str:
    key = where + ".".join(str(part) for part in problem["loc"])
    if problem["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
        allowed = _keys_beside(kind, problem["loc"])
        near = difflib.get_close_matches(str(problem["loc"][-1]), allowed, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"{key}: unknown key{hint} Allowed here: {', '.join(allowed)}"
    if problem["type"] == "missing":
        return f"{key}: is missing"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":  # raised by our own checks, which name the key themselves
        return f"{where}{message}"
    return f"{key}: {message}, found {problem['input']!r}"


def _keys_beside(kind: type, loc: tuple[Any, ...]) -> list[str]:
    """Return the keys allowed where `loc` points, walking the JSON schema, which knows nested and optional types."""
    schema = TypeAdapter(kind).json_schema()
    node = schema
    for part in loc[:-1]:
        node = _resolve(schema, node)
        node = node.get("items", {}) if isinstance(part, int) else node.get("properties", {}).get(part, {})
    return sorted(_resolve(schema, node).get("properties", {}))


def _resolve(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    for option in [node, *node.get("anyOf", [])]:
        if "$ref" in option:
            found: dict[str, Any] = schema["$defs"][option["$ref"].rsplit("/", 1)[-1]]
            return found
    return node


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=asdict))


def _deep_merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict) and key != "model_options"
        merged[key] = _deep_merge(old, value) if both else value  # type: ignore[arg-type]
    return merged
