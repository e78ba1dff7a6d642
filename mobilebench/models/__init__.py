"""The networks: `MODELS` lists them, `get` finds one by name, `create` builds it. Importing this costs no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilebench.models.external import entry_points, timm_names, timm_spec, torchvision_spec
from mobilebench.models.names import TIMM, TORCHVISION, split
from mobilebench.models.registry import BACKBONES, CANONICAL_MODELS, MODELS, PAPER_MODELS
from mobilebench.models.spec import ModelError, ModelSpec
from mobilebench.system.names import near

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "BACKBONES",
    "CANONICAL_MODELS",
    "MODELS",
    "PAPER_MODELS",
    "ModelError",
    "ModelSpec",
    "create",
    "get",
    "is_known",
    "split",
]


def get(model_id: str) -> ModelSpec:
    """Return the spec of a model: registered, an entry point of `mobilebench.models`, `timm:NAME`, `torchvision:NAME`.

    Weights that the id names (see `models.names`) are no part of the spec. Raises `ModelError` for an unknown name,
    with those that look like it. Whether timm or torchvision has NAME is seen when it is built: looking it up imports
    torch.
    """
    network = split(model_id).network
    if network in MODELS:
        return MODELS[network]
    if network.startswith(TIMM):
        return timm_spec(network)
    if network.startswith(TORCHVISION):
        return torchvision_spec(network)
    installed = entry_points()
    if network in installed:
        return installed[network]
    raise ModelError(_unknown(network, [*MODELS, *installed]))


def is_known(name: str) -> bool:
    """Return whether a registered network or one of an installed package has this name."""
    return name in MODELS or name in entry_points()


def create(model_id: str, num_classes: int, /, **options: object) -> nn.Module:
    """Return the network with freshly drawn weights for `num_classes` classes: [N, 3, H, W] -> [N, num_classes].

    Weights that the id names are not loaded; `models.weights` does that. The drawn ones come from torch's global
    generator only, so the same seed gives the same network. Raises `ModelError` for an unknown name, option or value.
    """
    if num_classes < 1:
        raise ModelError(f"model '{model_id}': {num_classes} classes asked for; there must be at least 1")
    spec = get(model_id)
    spec.check_options(options)
    network = spec.builder()(num_classes, **options)
    from mobilebench.models.workarounds import subsample_strided_pointwise

    return subsample_strided_pointwise(network)


def _unknown(model_id: str, known: list[str]) -> str:
    alike = near(model_id, known) or [TIMM + name for name in near(model_id, timm_names())]
    hint = (
        f"did you mean {', '.join(alike)}?"
        if alike
        else f"known: {', '.join(known)}, timm:<name> and torchvision:<name>"
    )
    return (
        f"no model is called '{model_id}'; {hint} (`mobilebench models list` shows them all). If it is a network of "
        "your own, install the package whose entry point offers it into this environment"
    )
