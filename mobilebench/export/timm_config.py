"""The config.json by which timm builds a network from a folder, for a network that timm can build."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from mobilebench.config.pixels import sides
from mobilebench.models.external import TIMM_OPTIONS
from mobilebench.models.names import TIMM, split

if TYPE_CHECKING:
    from torch import nn

    from mobilebench.execution.model_file import ModelFile


def timm_config(made: ModelFile, network: nn.Module) -> dict[str, Any] | None:
    """Return what timm reads of a network and its images; None where timm cannot build it.

    It can where the network built by timm's name takes its weights and gives the same logits.
    """
    own = getattr(network, "pretrained_cfg", None) or {}
    name = own.get("architecture")
    if name is None or made.knn is not None:
        return None
    channels, (height, width) = len(made.mean), sides(made.resolution)
    is_named = split(made.model_id or made.model).network.startswith(TIMM)
    options = {key: value for key, value in made.options.items() if is_named and key in TIMM_OPTIONS}
    if channels != 3:
        options["in_chans"] = channels
    if not _is_same(name, len(made.classes), options, network, (1, channels, height, width)):
        return None
    return {
        "architecture": name,
        "num_classes": len(made.classes),
        "num_features": network.num_features,
        "label_names": list(made.classes),
        **({"model_args": options} if options else {}),
        "pretrained_cfg": {
            "tag": "mobilebench",
            "custom_load": False,
            "input_size": [channels, height, width],
            "fixed_input_size": bool(own.get("fixed_input_size", False)),
            "interpolation": "bilinear",
            "crop_pct": min(height, width) / made.eval_resize,
            "crop_mode": "center",
            "mean": list(made.mean),
            "std": list(made.std),
            "num_classes": len(made.classes),
            "pool_size": None,
            "first_conv": own.get("first_conv"),
            "classifier": own.get("classifier"),
        },
    }


def _is_same(name: str, classes: int, options: dict[str, Any], network: nn.Module, shape: tuple[int, ...]) -> bool:
    import timm

    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(0)
        try:
            twin = timm.create_model(name, pretrained=False, num_classes=classes, **options).eval()
            twin.load_state_dict(network.state_dict())
        except (RuntimeError, TypeError):  # another network of that class, such as one with other widths
            return False
        images = torch.randn(shape)
        return bool(torch.allclose(twin(images), network(images), rtol=1e-4, atol=1e-5))
