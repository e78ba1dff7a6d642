"""A network that starts from pretrained weights: everything but its head is loaded, or it is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mobilebench.models.meta import create_on_meta
from mobilebench.models.names import FILE, PACKAGE, RUN, TIMM, split
from mobilebench.models.weights.files import WeightsError
from mobilebench.models.weights.tensors import as_timm, read_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mobilebench.models.weights.files import WeightsFile

_SHOWN = 3  # names in a message
_COUNTERS = "num_batches_tracked"  # of batch norm, which files of before 2018 lack


@dataclass(frozen=True)
class Head:
    """The part of a network whose size follows from the number of classes."""

    names: frozenset[str]
    """Its tensors, as the state dict names them."""
    widths: Mapping[str, tuple[int | None, ...]]
    """The shape of each, None where the number of classes stands."""


def find_head(model_id: str, num_classes: int, options: Mapping[str, object]) -> Head:
    """Return the head of a network: the tensors that have another shape where there is one class more.

    The random state stays as it was. Raises WeightsError for a network that has none.
    """
    one, other = (create_on_meta(model_id, n, options).state_dict() for n in (num_classes, num_classes + 1))
    widths = {
        name: tuple(a if a == b else None for a, b in zip(tensor.shape, other[name].shape, strict=True))
        for name, tensor in one.items()
        if tensor.shape != other[name].shape
    }
    if not widths:
        raise WeightsError(f"{model_id} has no layer whose size follows from the number of classes: no head to replace")
    return Head(frozenset(widths), widths)


def load_body(network: nn.Module, model_id: str, head: Head, options: Mapping[str, object], file: WeightsFile) -> None:
    """Load a file's weights into a network that `models.create` has just made, in place; its head stays as it is.

    The file's own head is left out and may be of any number of classes. Raises WeightsError, naming tensors, for a
    tensor that is missing, unknown or of another shape.
    """
    state, tensors = network.state_dict(), read_tensors(file.path)
    name = split(model_id).network
    if name.startswith(TIMM):
        tensors = as_timm(tensors, state)
    wrong = _differences(state, tensors, head)
    if wrong and name.startswith(TIMM):
        converted = _by_timm(model_id, tensors, options, head)
        if converted is not None:
            tensors, wrong = converted, _differences(state, converted, head)
    if wrong:
        raise WeightsError(
            f"{file.path} holds the weights of another network than {name} as it is built here: {'; '.join(wrong)}"
        )
    network.load_state_dict(state | {key: value for key, value in tensors.items() if key not in head.names})


def draw_head(network: nn.Module, head: Head) -> None:
    """Draw the layers of the head anew as PyTorch draws them by default, in place, from torch's global generator.

    A network's own way may be made for its thousand classes: EfficientNet's for ten begins with a loss of 10 nats.
    """
    for owner in dict.fromkeys(name.rpartition(".")[0] for name in sorted(head.names)):
        layer = network.get_submodule(owner)
        if isinstance(layer, nn.Linear | nn.Conv2d):
            layer.reset_parameters()


def _differences(state: Mapping[str, Tensor], tensors: Mapping[str, Tensor], head: Head) -> list[str]:
    body = {key: value for key, value in state.items() if key not in head.names}
    missing = [key for key in body if key not in tensors and not key.endswith(_COUNTERS)]
    unknown = [key for key in tensors if key not in state]
    other = [
        f"{key} {list(tensors[key].shape)} instead of {list(value.shape)}"
        for key, value in body.items()
        if key in tensors and tensors[key].shape != value.shape
    ]
    heads = [
        f"{key} {list(tensors[key].shape)} instead of {['classes' if n is None else n for n in width]}"
        for key, width in head.widths.items()
        if key in tensors and not _fits(tuple(tensors[key].shape), width)
    ]
    found = {"missing": missing, "unknown": unknown, "of another shape": other, "of a head of another size": heads}
    return [f"{len(names)} tensors {what} ({_some(names)})" for what, names in found.items() if names]


def _fits(shape: tuple[int, ...], width: tuple[int | None, ...]) -> bool:
    return len(shape) == len(width) and all(b is None or a == b for a, b in zip(shape, width, strict=True))


def _some(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")


def _by_timm(
    model_id: str, tensors: dict[str, Tensor], options: Mapping[str, object], head: Head
) -> dict[str, Tensor] | None:
    """Return the tensors of a file as timm itself converts them, None where it cannot.

    It knows older and foreign names, and makes position embeddings of another size where the network is built for
    other images than its weights were.
    """
    import timm

    network, tag = split(model_id)
    name = network.removeprefix(TIMM)
    full = name if tag.startswith((FILE, PACKAGE, RUN)) else f"{name}.{tag}"
    overlay, settings = dict[str, Any](state_dict=tensors), dict[str, Any](options)
    classes = _classes_of(tensors, head)
    if classes is not None:  # else timm takes the file to have the head of its own weights, and refuses another
        settings["num_classes"] = classes
        overlay |= {"num_classes": classes, "label_offset": 0}
    try:
        with torch.random.fork_rng(devices=[]):
            made = timm.create_model(full, pretrained=True, pretrained_cfg_overlay=overlay, **settings)
    except (RuntimeError, LookupError, ValueError, TypeError, AttributeError, AssertionError):  # it is of another one
        return None
    converted: dict[str, Tensor] = made.state_dict()
    return converted


def _classes_of(tensors: Mapping[str, Tensor], head: Head) -> int | None:
    """Return for how many classes the file's own head is, None where it has none of the network's names and shape."""
    for name, width in head.widths.items():
        if name in tensors and _fits(tuple(tensors[name].shape), width):
            return tensors[name].shape[width.index(None)]
    return None
