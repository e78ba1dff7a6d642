"""Networks from outside: timm's by `timm:<name>`, torchvision's by `torchvision:<name>`, and those of entry points."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal

from mobilebench.config.ids import is_id
from mobilebench.models.registry import MODELS
from mobilebench.models.spec import ModelError, ModelSpec
from mobilebench.system.names import near

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    _BuildNamed = Callable[[str, int, dict[str, Any]], nn.Module]

GROUP = "mobilebench.models"
# Options that say how a network of timm's is built. Others may load weights (checkpoint_path, pretrained_cfg), return
# features instead of classes (features_only), or are the suite's to say (num_classes, in_chans, device).
TIMM_OPTIONS = frozenset({
    "drop_rate", "drop_path_rate", "drop_block_rate", "proj_drop_rate", "attn_drop_rate", "pos_drop_rate",
    "patch_drop_rate", "img_size", "patch_size", "window_size", "dynamic_img_size", "dynamic_img_pad",
    "strict_img_size", "always_partition", "output_stride", "depth", "embed_dim", "num_heads", "head_dim",
    "mlp_ratio", "qkv_bias", "qk_norm", "conv_bias", "class_token", "no_embed_class", "reg_tokens",
    "cardinality", "base_width", "expand_ratio", "growth_rate", "kernel_size", "num_features", "stem_type",
    "stem_width", "stem_size", "act_layer", "norm_layer", "norm_eps", "aa_layer", "se_layer", "pad_type",
    "pre_norm", "final_norm", "fc_norm", "global_pool", "head_hidden_size", "head_init_scale",
    "head_norm_first", "init_values", "ls_init_value", "layer_scale_init_value", "zero_init_last",
})  # fmt: skip


@cache
def timm_names() -> tuple[str, ...]:
    """Return the names of timm's architectures; importing timm takes seconds the first time."""
    import timm

    return tuple(timm.list_models())


def timm_spec(model_id: str) -> ModelSpec:
    """Return the spec of `timm:<name>`; a name timm does not have is refused when it is built."""
    return replace(_library_spec("timm", model_id, _timm_network), option_names=TIMM_OPTIONS)


def torchvision_spec(model_id: str) -> ModelSpec:
    """Return the spec of `torchvision:<name>`; a name torchvision does not have is refused when it is built."""
    return _library_spec("torchvision", model_id, _torchvision_network)


def _library_spec(library: Literal["timm", "torchvision"], model_id: str, build: _BuildNamed) -> ModelSpec:
    name = model_id.partition(":")[2]
    return ModelSpec(
        model_id,
        name,
        f"{library}'s {name}",
        lambda num_classes, **options: build(name, num_classes, options),
        library,
        options=None,
        minimum=1,
        package=f"{library}=={metadata.version(library).partition('+')[0]}",
    )


def _timm_network(name: str, num_classes: int, options: dict[str, Any]) -> nn.Module:
    import timm

    if name not in timm_names():
        raise ModelError(_no_timm_model(name))
    try:
        network: nn.Module = timm.create_model(name, pretrained=False, num_classes=num_classes, **options)
    except TypeError as error:
        raise ModelError(f"timm:{name} cannot be built with {options or 'no options'}: {error}") from error
    return network


def _no_timm_model(name: str) -> str:
    alike = ", ".join(f"timm:{other}" for other in near(name, timm_names()))
    hint = f"did you mean {alike}?" if alike else "timm.list_models() shows them all"
    return f"timm has no architecture called '{name}'; {hint}"


def _torchvision_network(name: str, num_classes: int, options: dict[str, Any]) -> nn.Module:
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        alike = ", ".join(f"torchvision:{other}" for other in near(name, known))
        hint = f"did you mean {alike}?" if alike else "torchvision.models.list_models() shows them all"
        raise ModelError(f"torchvision has no classifier called '{name}'; {hint}")
    if refused := sorted(options.keys() & {"weights", "weights_backbone", "progress", "num_classes"}):
        raise ModelError(f"torchvision:{name} takes no option {', '.join(refused)}: what it starts from is `init`'s")
    try:
        network: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=num_classes, **options)
    except (TypeError, ValueError) as error:
        raise ModelError(f"torchvision:{name} cannot be built with {options or 'no options'}: {error}") from error
    return network


def entry_points() -> dict[str, ModelSpec]:
    """Return the specs of the models that installed packages offer in the entry point group `mobilebench.models`.

    An entry point's name is the model's id; its object is called as `build(num_classes, **options)`. Raises
    `ModelError` for a name that is no id, that a packaged model has, or that two packages offer.
    """
    specs: dict[str, ModelSpec] = {}
    for point in metadata.entry_points(group=GROUP):
        package = point.dist.name if point.dist else "an installed package"
        if not is_id(point.name):
            raise ModelError(f"{package} offers a model called '{point.name}'; a model's id is made of a-z, 0-9 and _")
        if point.name in MODELS or point.name in specs:
            raise ModelError(f"{package} offers a model called '{point.name}', but that name is taken; rename it there")
        specs[point.name] = _entry_point_spec(point, package)
    return specs


def _entry_point_spec(point: metadata.EntryPoint, package: str) -> ModelSpec:
    def build(num_classes: int, **options: object) -> nn.Module:
        try:
            network: nn.Module = point.load()(num_classes, **options)
        except (ImportError, AttributeError, TypeError) as error:
            raise ModelError(f"model '{point.name}' of {package} ({point.value}) cannot be built: {error}") from error
        return network

    design = f"{point.value}, from the package {package}"
    return ModelSpec(
        point.name,
        point.name,
        design,
        build,
        "entry_point",
        options=None,
        minimum=1,
        package=f"{package}=={_release(point.dist.version)}" if point.dist else package,
        origin=(point.module, point.attr.partition(".")[0]),
    )


def _release(version: str) -> str:
    """Return a version without what build tools add at every commit (`.dev12+g1a2b3c`): the code is compared itself."""
    return version.partition("+")[0].partition(".dev")[0]
