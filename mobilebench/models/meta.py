"""Networks without values: their shapes, and which images they take, found in a fraction of a second.

PyTorch's meta device computes shapes alone. Where a builder needs values (torchvision's RegNet computes its widths with
tensors), the network is built as it is and its values are let go of: slower, the same answer.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any

import torch

from mobilebench import models
from mobilebench.config.pixels import shown, sides
from mobilebench.models.cost.counts import forward, static_cost
from mobilebench.models.names import TIMM, split
from mobilebench.models.spec import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from mobilebench.config.pixels import Resolution

STEP = 32  # in pixels: the stride of most networks. In such steps sizes are tried around one that is refused,
REACH = 160  # so far,
USUAL = 224  # and this one
SHOWN = 2  # sizes in a message
MADE_FOR = "img_size"  # timm's option for the size that a network is made for
_POSITIONS = ("pos_embed", "relative_position")  # what timm makes of pretrained weights for another size


def create_on_meta(model_id: str, num_classes: int, options: Mapping[str, object]) -> nn.Module:
    """Return a network without values, for what its shapes say.

    The random state stays as it was. Raises ModelError as `models.create`.
    """
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return models.create(model_id, num_classes, **options)
        except Exception:  # noqa: BLE001 - whatever a builder needs values for; a fault of another kind comes again
            return models.create(model_id, num_classes, **options).to("meta")


def count_macs(model_id: str, num_classes: int, options: Mapping[str, object], resolution: Resolution) -> int | None:
    """Return a network's multiply-adds of one RGB image, None where it cannot be built or takes no images of the size.

    No weights are read. Within a process a network is counted once at a size.
    """
    return _counted(split(model_id).network, num_classes, json.dumps(options, sort_keys=True), resolution)


@cache
def _counted(network: str, num_classes: int, settings: str, resolution: Resolution) -> int | None:
    try:
        return static_cost(create_on_meta(network, num_classes, json.loads(settings)), resolution).macs
    except Exception:  # noqa: BLE001 - whatever a network raises; its training names the fault
        return None


def size_problem(
    model_id: str, options: Mapping[str, object], resolution: Resolution, *, pretrained: bool, name: str = ""
) -> str:
    """Return what to say where a network takes images of other sizes in pixels and not of this one, "" where it does.

    Nothing is said of a network that cannot be built or takes none of the sizes tried: it has another fault, which its
    training names. pretrained: whether weights have to fit into it; name: what the suite calls it, where that is no id.
    Within a process a network is tried once at a size.
    """
    settings = json.dumps(options, sort_keys=True)
    refusal, taken, for_it = _tried(split(model_id).network, settings, resolution, pretrained)
    if not taken:
        return ""
    sizes = " and ".join(str(size) for size in taken)
    height, _ = sides(resolution)
    nearest = min(taken, key=lambda size: abs(size - height))
    override = f'`- {{models: ["{name or model_id}"], set: {{resolution: {nearest}}}}}` in protocol.overrides'
    advice = f"It takes {sizes} px: set the resolution for it alone, {override}, or for all"
    if for_it:
        built = json.dumps(dict(options) | {MADE_FOR: resolution}).replace('"', "")
        advice += f". Or have it built for {shown(resolution)} px, by `set: {{model_options: {built}}}` there"
    return f"{model_id}: {refusal.rstrip('.')}. {advice}"


@cache
def _tried(network: str, settings: str, resolution: Resolution, pretrained: bool) -> tuple[str, tuple[int, ...], bool]:  # noqa: FBT001 - a cache's key
    """Return why a size is refused, sizes near it that are taken, and whether the network can be built for it."""
    options: dict[str, Any] = json.loads(settings)
    try:
        refusal = _refusal(create_on_meta(network, 2, options), resolution)
        if refusal:  # once more with values: only what is refused then is
            refusal = _refusal(models.create(network, 2, **options), resolution)
        taken = _near(network, options, resolution) if refusal else ()
        return refusal, taken, bool(taken) and _can_be_built_for(network, options, resolution, pretrained=pretrained)
    except Exception:  # noqa: BLE001 - whatever a network raises; see `size_problem`
        return "", (), False


def _refusal(network: nn.Module, resolution: Resolution) -> str:
    """Return why a network in training refuses black images of a size, "" where it takes them."""
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            forward(network.train(), 2, resolution)
    except ModelError as error:
        return str(error)
    return ""


def _near(network: str, options: Mapping[str, object], resolution: Resolution) -> tuple[int, ...]:
    """Return the sizes nearest to one that is refused that are taken, ascending."""
    built = create_on_meta(network, 2, options)
    wanted, width = sides(resolution)
    nearest = wanted // STEP * STEP
    config = getattr(built, "pretrained_cfg", None) or {}  # of timm: it says what a network was made for
    own = {int(config["input_size"][-1])} if config.get("input_size") else set()
    sizes = {USUAL, *own, *range(max(STEP, nearest - REACH), nearest + REACH + 1, STEP)}
    sizes -= {wanted} if wanted == width else set()
    taken: list[int] = []
    for size in sorted(sizes, key=lambda size: abs(size - wanted)):
        if len(taken) < SHOWN and not _refusal(built, size):
            taken.append(size)
    return tuple(sorted(taken))


def _can_be_built_for(network: str, options: Mapping[str, object], resolution: Resolution, *, pretrained: bool) -> bool:
    """Return whether timm builds the network for images of a size, and pretrained weights can be made to fit then."""
    if not network.startswith(TIMM) or MADE_FOR in options or not isinstance(resolution, int):
        return False  # of a rectangle the option would be a list, which no option of a recipe is
    try:
        made = create_on_meta(network, 2, {**options, MADE_FOR: resolution})
    except ModelError:  # it has no such option, or not for this size
        return False
    shapes = {name: tensor.shape for name, tensor in create_on_meta(network, 2, options).state_dict().items()}
    differ = [name for name, tensor in made.state_dict().items() if shapes.get(name) != tensor.shape]
    fits = all(any(part in name for part in _POSITIONS) for name in differ)
    return (fits or not pretrained) and not _refusal(made, resolution)
