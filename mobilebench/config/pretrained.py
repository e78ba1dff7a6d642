"""How a network learns that starts from pretrained weights."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from mobilebench.config.checks import STRICT, require, require_numbers


@dataclass(frozen=True)
class FirstEpochs:
    """A part of the training, counted from its beginning. Raises ValueError for less than one epoch."""

    epochs: int
    """How many of the first epochs; 1 or more."""
    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    def __post_init__(self) -> None:
        require(self.epochs >= 1, "init.pretrained.freeze.epochs", self.epochs, "1 or more")


@dataclass(frozen=True)
class Neighbours:
    """A classifier by nearest neighbours in place of training. Raises ValueError, naming the key."""

    k: int = 20
    """How many train images vote: those most similar by the cosine of their features."""
    temperature: float = 0.07
    """A vote weighs exp(similarity / temperature); the smaller, the more the nearest count."""
    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    def __post_init__(self) -> None:
        where = "init.pretrained.knn."
        require(1 <= self.k <= 10_000, f"{where}k", self.k, "1 to 10000")
        # Similarities differ by 2 at most, and exp(2 / 0.005) is beyond a 32-bit float.
        require(0.005 <= self.temperature < math.inf, f"{where}temperature", self.temperature, "0.005 or more")


@dataclass(frozen=True)
class Pretrained:
    """How a network learns that starts from pretrained weights; which weights, its name says (`timm:NAME.TAG`).

    The head, the layer whose size follows from the number of classes, is always new.
    """

    freeze: Literal["none", "all_but_head"] | FirstEpochs = "none"
    """What stays as it was pretrained.

    none: nothing. all_but_head: all but the head, which is a linear probe. {epochs: k}: all but the head for the first
    k epochs, nothing after them. What is frozen computes as in evaluation: batch norm keeps its pretrained statistics,
    dropout and stochastic depth are off in it.
    """
    head_lr: float | None = None
    """The head's own learning rate, which rises and falls as `lr` does; null for `lr`."""
    layer_decay: float = 1.0
    """By what the learning rate falls from one layer to the one below it, in (0, 1]; 1 for one rate in all of them.

    Layers are timm's groups where the network has such, and elsewhere the modules that share the first two parts of
    their name (`layer1.0`, `features.3`).
    """
    knn: Neighbours | None = field(default=None, metadata={"since": 3})
    """{k: 20, temperature: 0.07}: no training, but the vote of the k most similar train images.

    The features are what the head would get, of images as they are read at evaluation. Needs `epochs: 1`, in which the
    train images are looked at once; optimiser, rates, batch size and augmentation are without effect.
    """
    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    def __post_init__(self) -> None:
        where = "init.pretrained."
        require_numbers(self, where)
        require(self.head_lr is None or self.head_lr > 0, f"{where}head_lr", self.head_lr, "null or more than 0")
        require(0 < self.layer_decay <= 1, f"{where}layer_decay", self.layer_decay, "more than 0, at most 1")
        if self.freeze == "all_but_head":
            only = "null and 1.0 with freeze all_but_head: the head alone learns, at `lr`"
            found = (self.head_lr, self.layer_decay)
            require(found == (None, 1.0), f"{where}head_lr, layer_decay", found, only)
        if self.knn is not None:
            given = (self.freeze, self.head_lr, self.layer_decay)
            only = "none, null and 1.0 beside knn: nothing learns"
            require(given == ("none", None, 1.0), f"{where}freeze, head_lr, layer_decay", given, only)


@dataclass(frozen=True)
class FromPretrained:
    """A start from the pretrained weights that the network's name says."""

    pretrained: Pretrained = field(default_factory=Pretrained)
    """What of them is trained, and how."""
    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT
