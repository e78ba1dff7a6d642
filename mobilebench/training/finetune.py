"""What of a pretrained network learns in which epoch, and how fast: freezing and learning rates by layer."""

from __future__ import annotations

from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any, NamedTuple

from mobilebench.config.pretrained import FirstEpochs
from mobilebench.training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from torch import nn

    from mobilebench.config.pretrained import Pretrained
    from mobilebench.config.recipe import Recipe


class Freeze:
    """Holds the body of a network, everything but its head, still in the epochs that the recipe says.

    What is frozen gets no gradient and computes as in evaluation: batch norm neither uses nor changes statistics of the
    batch. Modules without parameters or buffers on the way to the head (a dropout beside it) go on as in training.
    """

    def __init__(self, model: nn.Module, start: Pretrained | None, head: frozenset[str]) -> None:
        """Raises TrainingError where the recipe needs to know the head, and none is given."""
        if start is not None and not head:
            raise TrainingError(
                "init is pretrained, and the trainer was not told which part of the network is its head"
            )
        self._freeze = start.freeze if start else "none"
        self._body: list[nn.Parameter] = []
        self._still: list[nn.Module] = []
        if self._freeze != "none":
            self._body = [p for name, p in model.named_parameters() if name not in head]
            self._still = _still(model, head)

    def is_frozen(self, epoch: int) -> bool:
        """Return whether the body is held still in an epoch, counted from 0."""
        if isinstance(self._freeze, FirstEpochs):
            return epoch < self._freeze.epochs
        return self._freeze == "all_but_head"

    def begin(self, epoch: int) -> bool:
        """Hold the body still, or let it go, for an epoch of a model in training mode; whether this changes anything.

        To be called after `model.train()`.
        """
        frozen = self.is_frozen(epoch)
        changed = any(parameter.requires_grad == frozen for parameter in self._body)
        for parameter in self._body:
            parameter.requires_grad_(not frozen)
        for module in self._still if frozen else ():
            module.eval()
        return changed


def _still(module: nn.Module, head: frozenset[str], prefix: str = "") -> list[nn.Module]:
    """Return the largest modules that have parameters or buffers, and none of the head."""
    found = []
    for name, child in module.named_children():
        below = f"{prefix}{name}."
        if any(tensor.startswith(below) for tensor in head):
            found += _still(child, head, below)
        elif any(True for _ in child.parameters()) or any(True for _ in child.buffers()):
            found.append(child)
    return found


class Group(NamedTuple):
    """Parameters that share a learning rate and whether weight decay is for them."""

    parameters: list[nn.Parameter]
    scale: float
    """What their rate is of the epoch's."""
    decays: bool = True
    """Whether weight decay is for them."""


def groups(model: nn.Module, recipe: Recipe, head: frozenset[str]) -> list[Group]:
    """Return the parameters by learning rate and decay: mostly one group, in the network's own order.

    The head is the top layer; its rate is `head_lr`, every other's falls by `layer_decay` with each layer down.
    """
    scales = _scales(model, recipe, head)
    own: Collection[str] = getattr(model, "no_weight_decay", tuple)()  # timm's networks name them by patterns
    found: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        # timm's rule, of `timm.optim.param_groups_weight_decay`
        spared = parameter.ndim <= 1 or name.endswith(".bias") or any(fnmatch(name, pattern) for pattern in own)
        decays = recipe.decay_norms or not spared
        found.setdefault((scales.get(name, 1.0), decays), []).append(parameter)
    return [Group(parameters, scale, decays) for (scale, decays), parameters in found.items()]


def _scales(model: nn.Module, recipe: Recipe, head: frozenset[str]) -> dict[str, float]:
    """Return what each parameter's rate is of the epoch's, where it is another."""
    start = recipe.pretrained
    if start is None or (start.head_lr is None and start.layer_decay == 1):
        return {}
    layers = _layers(model, head) if start.layer_decay < 1 else {}
    of_head = 1.0 if start.head_lr is None else start.head_lr / recipe.lr
    names = [name for name, _ in model.named_parameters()]
    return {name: of_head if name in head else start.layer_decay ** layers.get(name, 0) for name in names}


def _layers(model: nn.Module, head: frozenset[str]) -> Mapping[str, int]:
    """Return how many layers below the head each parameter of the body lies, from 1."""
    body = [name for name, _ in model.named_parameters() if name not in head]
    matcher = getattr(model, "group_matcher", None)
    layers: dict[str, Any]
    if matcher is not None:
        from timm.models import group_parameters

        numbers = group_parameters(model, matcher(coarse=False), reverse=True)
        layers = {name: numbers[name] for name in body}
        order = sorted(set(layers.values()))
    else:
        layers = {name: tuple(name.rpartition(".")[0].split(".")[:2]) for name in body}
        order = list(dict.fromkeys(layers.values()))
    return {name: len(order) - order.index(layer) for name, layer in layers.items()}
