"""What a network is built of, seen from its layers and its operations, beside the paper's Table 5.

Nothing is read from class names: the layers and operations of one forward pass are recorded with their shapes, and each
element is a question to that record. Three rows of Table 5 say how a design was found (`width_scaling`, `chw_scaling`,
`nas`); no built network shows that, so they have no derived value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mobilebench.models import create
from mobilebench.models.cost.counts import evaluating, forward
from mobilebench.studies.beyond_imagenet import published as reference

if TYPE_CHECKING:
    from collections.abc import Callable

RESOLUTION = 96  # px: small, yet every stage of a stride-32 network still sees more than one position
OTHER_RESOLUTIONS = (224, 32)  # px: for networks from outside that take images of one size only
BATCH = 2  # distinguishes a per-image gate [N, C, 1, 1] from a learned scale [1, C, 1, 1]
ACTIVATIONS = frozenset({"silu", "gelu", "hardtanh", "hardswish", "leaky_relu", "elu", "mish", "prelu"})


@dataclass(frozen=True)
class Layer:
    """One convolution or linear layer in the order of the forward pass."""

    kernel: int
    stride: int
    inputs: int
    outputs: int
    groups: int
    on_map: bool  # it sees more than one position

    @property
    def depthwise(self) -> bool:
        """Whether each channel has its own filter."""
        return self.groups == self.inputs > 1

    @property
    def pointwise(self) -> bool:
        """Whether it mixes the channels of each position of a map."""
        return self.kernel == 1 and self.groups == 1 and self.on_map


@dataclass
class Trace:
    """The layers and the operations (name, shapes of the tensors among the arguments) of one forward pass."""

    layers: list[Layer] = field(default_factory=list)
    operations: list[tuple[str, tuple[tuple[int, ...], ...]]] = field(default_factory=list)
    last_layer: type[nn.Module] | None = None


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch
    """Writes down every operation of the forward pass."""

    def __init__(self, trace: Trace) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch
        self._trace = trace

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        flat = [a for arg in args for a in (arg if isinstance(arg, list | tuple) else (arg,))]
        shapes = tuple(tuple(a.shape) for a in flat if isinstance(a, torch.Tensor))
        self._trace.operations.append((func.overloadpacket.__name__.rstrip("_"), shapes))
        return func(*args, **(kwargs or {}))


def trace(model: nn.Module, resolution: int = RESOLUTION) -> Trace:
    """Return the record of one forward pass of two small images; the model stays as it was.

    Raises ModelError where the network cannot take images of that size.
    """
    record = Trace()

    def note(module: nn.Module, inputs: tuple[torch.Tensor, ...], _: object) -> None:
        record.layers.append(_layer(module, inputs[0]))
        record.last_layer = type(module)

    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(note) for layer in layers]
    try:
        with evaluating(model), torch.no_grad(), _Recorder(record):
            forward(model, BATCH, resolution)
    finally:
        for handle in handles:
            handle.remove()
    return record


def _layer(module: nn.Module, seen: torch.Tensor) -> Layer:
    if isinstance(module, nn.Conv2d):
        kernel, stride = module.kernel_size[0], module.stride[0]
        return Layer(kernel, stride, module.in_channels, module.out_channels, module.groups, seen.shape[-1] > 1)
    assert isinstance(module, nn.Linear)
    return Layer(1, 1, module.in_features, module.out_features, 1, seen.ndim > 2)


def derived(model: nn.Module, resolution: int = RESOLUTION) -> dict[str, bool]:
    """Return {element: the network has it} for the rows of Table 5 that a built network can show.

    Raises ModelError where the network cannot take images of that size.
    """
    record = trace(model, resolution)
    return {element: question(record) for element, question in QUESTIONS.items()}


def derived_of(model_id: str) -> dict[str, bool]:
    """Return `derived` of a network by its name; random state and, where it can be, memory stay untouched.

    Tried on the meta device, which holds no weights, then on the CPU; at several image sizes. Raises what the last
    attempt raised.
    """
    attempts = [(device, px) for device in ("meta", "cpu") for px in (RESOLUTION, *OTHER_RESOLUTIONS)]
    for number, (device, resolution) in enumerate(attempts, start=1):
        try:
            with torch.random.fork_rng(devices=[]), torch.device(device):
                return derived(create(model_id, 10), resolution)
        except Exception:
            if number == len(attempts):
                raise
    raise AssertionError("there is at least one attempt")


def disagreements(model_id: str, model: nn.Module) -> dict[str, tuple[bool, bool]]:
    """Return {element: (published, derived)} where Table 5 and the built network of one of its models disagree."""
    seen = derived(model)
    published = {element: row[model_id] for element, row in reference.elements().items() if element in seen}
    return {element: (printed, seen[element]) for element, printed in published.items() if printed != seen[element]}


def _patch_stem(record: Trace) -> bool:
    stem = record.layers[0]
    return stem.kernel == stem.stride > 1


def _residual(record: Trace) -> bool:
    """Two equal maps, or token sequences, are added; the batch dimension distinguishes a map from a bias."""
    return any(
        name == "add" and len(shapes) == 2 and shapes[0] == shapes[1] and len(shapes[0]) > 2
        for name, shapes in record.operations
    )


def _inverted_residual(record: Trace) -> bool:
    """A depthwise layer between a 1x1 layer that widens to its width and a 1x1 layer that narrows again."""
    layers = [layer for layer in record.layers if layer.on_map]
    for index, layer in enumerate(layers):
        if not layer.depthwise:
            continue
        before = next((x for x in reversed(layers[:index]) if x.pointwise), None)
        after = next((x for x in layers[index + 1 :] if x.pointwise), None)
        if before and after and before.inputs < before.outputs == layer.inputs and after.outputs < after.inputs:
            return True
    return False


def _squeeze_excite(record: Trace) -> bool:
    """A map is multiplied by a gate that has one value per image and channel."""
    return any(
        name == "mul" and len(shapes) == 2 and any(_gate(a, b) for a, b in (shapes, shapes[::-1]))
        for name, shapes in record.operations
    )


def _gate(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    if len(one) != 4 or len(other) != 4:
        return False
    return one[:2] == other[:2] and one[2:] == (1, 1) and other[2:] != (1, 1)


def _channel_concat(record: Trace) -> bool:
    return any(
        name == "cat" and len(shapes) > 1 and all(len(s) == 4 and s[2:] == shapes[0][2:] for s in shapes)
        for name, shapes in record.operations
    )


def _global_pool(record: Trace) -> bool:
    """The last operation on a whole map averages it."""
    on_maps = [name for name, shapes in record.operations if any(_whole_map(shape) for shape in shapes)]
    return on_maps[-1] in {"mean", "_adaptive_avg_pool2d", "avg_pool2d"}


def _whole_map(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[0] == BATCH and min(shape[1:]) > 1


def _attention(record: Trace) -> bool:
    return any(name in {"_softmax", "_safe_softmax"} or "dot_product" in name for name, _ in record.operations)


QUESTIONS: dict[str, Callable[[Trace], bool]] = {
    "patch_stem": _patch_stem,
    "conv_stem": lambda record: not _patch_stem(record),
    "depthwise_conv": lambda record: any(layer.depthwise for layer in record.layers),
    "pointwise_conv": lambda record: any(layer.pointwise for layer in record.layers),
    "residual_skip": _residual,
    "inverted_residual": _inverted_residual,
    "squeeze_excite": _squeeze_excite,
    "channel_concat": _channel_concat,
    # the row "ReLU+" is read as: an activation other than the plain ReLU
    "relu_variant": lambda record: any(name in ACTIVATIONS for name, _ in record.operations),
    "layerwise_transformer": _attention,
    "global_avg_pool": _global_pool,
    "fc_classifier": lambda record: record.last_layer is not None and issubclass(record.last_layer, nn.Linear),
}
