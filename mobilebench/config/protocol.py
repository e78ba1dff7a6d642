"""The protocol: a recipe with its visible overrides, read strictly, and the hash that names it.

A protocol is everything held fixed across cells. Where one network or dataset must differ (MobileViT's lower learning
rate), the difference is an override *inside* the protocol, so that it is seen, hashed and reported.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

from mobilebench.config.parsing import canonical, digest, parse
from mobilebench.config.phases import FLAT
from mobilebench.config.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Mapping


_WHOLE = {"model_options", "space"}  # an override gives these anew: the keys in them are not settings of their own


@dataclass(frozen=True)
class Override:
    """Settings that differ for some cells."""

    set: dict[str, Any]
    """The settings and their values there, nested as in the protocol."""

    models: tuple[str, ...] | None = None
    """The networks it is for, null for all."""

    datasets: tuple[str, ...] | None = None
    """The datasets it is for, null for all."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}

    def applies(self, model: str, dataset: str) -> bool:
        """Return whether the override is for this network on this dataset."""
        return (self.models is None or model in self.models) and (self.datasets is None or dataset in self.datasets)


@dataclass(frozen=True)
class Protocol(Recipe):
    """The recipe of a whole suite, with its overrides."""

    overrides: tuple[Override, ...] = ()
    """Settings that differ for some cells, applied in order: later ones win."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for number, override in enumerate(self.overrides):
            if override.models is not None and "data" in override.set:
                raise ValueError(
                    f"overrides[{number}].set.data is for the models {', '.join(override.models)}; a dataset is packed "
                    "once for all models, so leave `models` out and name `datasets`"
                )
            self._with(override.set, f"overrides[{number}].set.")

    def recipe_for(self, model: str, dataset: str) -> Recipe:
        """Return the recipe of one cell: the common settings with every applying override."""
        merged: dict[str, Any] = {}
        for override in self.overrides:
            if override.applies(model, dataset):
                merged = _deep_merge(merged, override.set)
        return self._with(merged, f"{model} on {dataset}: ")

    def recipe_hash_for(self, model: str, dataset: str) -> str:
        """Return the hash of one cell's recipe, by which its runs are known."""
        return recipe_hash(self.recipe_for(model, dataset))

    def _with(self, changes: Mapping[str, Any], where: str) -> Recipe:
        return with_settings(self, changes, where)

    @property
    def hash(self) -> str:
        """Twelve hex digits of the SHA-256 of the canonical JSON: equal exactly when every setting is equal.

        It names a suite's protocol for people. What decides whether a cell is trained again is `recipe_hash`.
        """
        return digest(canonical(self))


def with_settings(recipe: Recipe, changes: Mapping[str, Any], where: str = "") -> Recipe:
    """Return a recipe with other settings, nested as in the protocol.

    Raises ConfigError, with the key's full name below `where`, for those that are unknown or not allowed.
    """
    common = {f.name: getattr(recipe, f.name) for f in fields(Recipe)}
    if changes.get("phases"):  # they stand for what the recipe says of its one phase
        common |= {f.name: f.default for f in fields(Recipe) if f.name in FLAT}
    return parse(Recipe, _deep_merge(_plain(common), changes), where)


def epochs_of(recipe: Recipe) -> int:
    """Return the epochs that a cell of this recipe trains, those of all its trials where it is tuned."""
    return recipe.total_epochs if recipe.tuning is None else recipe.tuning.epochs(recipe.total_epochs)


def recipe_hash(recipe: Recipe) -> str:
    """Return twelve hex digits of a cell's recipe: equal exactly when every setting that reaches its training is."""
    return digest(canonical(recipe))


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=asdict))


def _deep_merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        both = isinstance(old, dict) and isinstance(value, dict) and key not in _WHOLE
        merged[key] = _deep_merge(old, value) if both else value  # type: ignore[arg-type]
    return merged
