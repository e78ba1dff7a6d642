"""What the registry knows of a network before it is built. Importing this does not import torch."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from mobilebench.config.pixels import sides
from mobilebench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import nn

    from mobilebench.config.pixels import Resolution

    Build = Callable[..., nn.Module]

Zoo = Literal["paper", "canonical", "backbone", "timm", "torchvision", "entry_point"]
_PACKAGED = {"paper", "canonical", "backbone"}


class ModelError(UserError):
    """A model cannot be used as asked; the message says what was found and what is possible."""


@dataclass(frozen=True)
class ModelSpec:
    """One network of the registry."""

    id: str
    """Its name in params.yaml."""

    title: str
    """Its name for a person."""

    design: str
    """Which published design it is and what was changed, in one line."""

    build: str | Build
    """Called as `build(num_classes, **options)`; a string `module:function` is imported at that moment."""

    zoo: Zoo
    """Where it comes from."""

    options: Mapping[str, tuple[object, ...]] | None = field(default_factory=dict)
    """Its options and their allowed values, the default first; None where the builder itself refuses."""

    option_names: frozenset[str] | None = None
    """Names of the options whose values the builder itself checks, where `options` is None; None for any."""

    minimum: int = 32
    """Side of the smallest input in pixels."""

    multiple: int = 1
    """What the side of an input in pixels must be a multiple of."""

    sibling: str | None = None
    """Id of the other version of the same design: the paper's or the published one."""

    package: str = ""
    """`name==version` of the package that a network from outside is of."""

    origin: tuple[str, str] | None = None
    """Module and name of what builds a network from outside, where `build` is only a wrapper of it."""

    @property
    def is_packaged(self) -> bool:
        """Whether its code is part of mobilebench."""
        return self.zoo in _PACKAGED

    @property
    def sizes(self) -> str:
        """Which inputs it takes, in words."""
        return f"multiples of {self.multiple} px" if self.multiple > 1 else f"{self.minimum} px or more"

    def takes(self, resolution: Resolution) -> bool:
        """Return whether the registry says that it takes inputs of a size in pixels."""
        return all(side >= self.minimum and side % self.multiple == 0 for side in sides(resolution))

    @property
    def source(self) -> tuple[str, str] | None:
        """Module and name of the function or class that builds it; None where a library's version says it all."""
        if self.package:
            return self.origin
        if isinstance(self.build, str):
            module, _, name = self.build.partition(":")
            return module, name
        return self.build.__module__, self.build.__qualname__.partition(".")[0]

    def builder(self) -> Build:
        """Return the function that builds the network, importing its module where it is still a name."""
        if callable(self.build):
            return self.build
        module, _, attribute = self.build.partition(":")
        function: Build = getattr(importlib.import_module(module), attribute)
        return function

    def check_options(self, options: Mapping[str, object]) -> None:
        """Raise `ModelError` naming an option or a value that this network does not have, and those it has."""
        if self.options is None:
            for name in options:
                if self.option_names is not None and name not in self.option_names:
                    allowed = ", ".join(sorted(self.option_names))
                    raise ModelError(f"model '{self.id}' takes no option '{name}'; its model_options may be: {allowed}")
            return
        for name, value in options.items():
            if name not in self.options:
                allowed = ", ".join(self.options) or "none"
                raise ModelError(f"model '{self.id}' has no option '{name}'; its options: {allowed}")
            if value not in self.options[name]:
                allowed = ", ".join(repr(choice) for choice in self.options[name])
                raise ModelError(f"model '{self.id}': {name}={value!r} is not one of {allowed}")
