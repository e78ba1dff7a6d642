"""What a model's id says: which network it is and, after a dot or an `@`, which weights it starts from.

`timm:NAME`, `torchvision:NAME`, the id of a registered network or of an entry point name a network alone. Weights are
`timm:NAME.TAG`, `torchvision:NAME@TAG`, or for any network `ID@file:PATH`, `ID@package:NAME` and `ID@run:RUN`.
"""

from __future__ import annotations

from typing import NamedTuple

from mobilebench.models.spec import ModelError

TIMM, TORCHVISION = "timm:", "torchvision:"
FILE, PACKAGE, RUN = "file:", "package:", "run:"
KINDS = (FILE, PACKAGE, RUN)


class ModelName(NamedTuple):
    """A model's id in its two parts."""

    network: str
    """The id of the network."""
    weights: str
    """What it starts from where the recipe says pretrained: a tag, `file:`, `package:` or `run:`; "" for none."""


def split(model_id: str) -> ModelName:
    """Return the two parts of a model's id. Raises `ModelError` for weights of no form there is."""
    network, at, weights = model_id.partition("@")
    if not at and network.startswith(TIMM):
        network, dot, weights = network.partition(".")
        if not dot or weights:
            return ModelName(network, weights)
    elif not at or _is_own(weights) or (network.startswith(TORCHVISION) and weights and ":" not in weights):
        return ModelName(network, weights)
    raise ModelError(
        f"'{model_id}' names weights as {weights!r}; expected {_forms(network)}, {network}@file:PATH, "
        f"{network}@package:NAME or {network}@run:ID"
    )


def _is_own(weights: str) -> bool:
    return any(weights.startswith(kind) and weights != kind for kind in KINDS)


def _forms(network: str) -> str:
    if network.startswith(TIMM):
        return f"{network}.TAG"
    return f"{network}@TAG" if network.startswith(TORCHVISION) else f"{network} alone"
