"""The network of a cell as its training begins: drawn from the seed, or pretrained with a new head."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from mobilebench import models
from mobilebench.config.pixels import sides
from mobilebench.evaluation.target import ONE_CLASS
from mobilebench.models.channels import with_channels
from mobilebench.models.fingerprint import fingerprint
from mobilebench.models.neighbours import NeighbourClassifier
from mobilebench.models.weights.files import find_weights
from mobilebench.models.weights.start import draw_head, find_head, load_body
from mobilebench.training.rng import derived_seed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mobilebench.config.pretrained import Neighbours
    from mobilebench.config.recipe import Recipe
    from mobilebench.config.suite import Cell
    from mobilebench.evaluation.target import Target


@dataclass(frozen=True)
class Built:
    """A network that has learnt nothing of its dataset yet."""

    network: torch.nn.Module
    fingerprint: str
    """What it is, see `models.fingerprint`."""
    head: frozenset[str] = frozenset()
    """Names of its new head's tensors where the rest is pretrained."""
    weights: str = ""
    """sha256 of the weights it has; "" for drawn ones."""


def as_trained(
    network: torch.nn.Module, head: Iterable[str], knn: Neighbours | None, classes: int, target: Target
) -> torch.nn.Module:
    """Return the network itself, or with `knn` the classifier by neighbours on it, which takes its head out in place.

    head: names of its head's tensors. Raises ModelError where that is no layer.
    """
    if knn is None:
        return network
    return NeighbourClassifier(network, head, knn, classes, several=target not in ONE_CLASS)


def build(cell: Cell, num_classes: int, recipe: Recipe, channels: int, root: Path = Path()) -> Built:
    """Return the cell's network: drawn from its seed alone, then with pretrained weights where the recipe says so.

    channels: of the dataset's images; the layers that read them are made for as many. root: the project folder. Raises
    ModelError where it cannot be built, WeightsError where its weights are not here or not of this network.
    """
    model_id = recipe.network_of(cell.model)
    with _seeded(cell, "init"):
        network = models.create(model_id, num_classes, **recipe.model_options)
    code = fingerprint(model_id, network)  # of the network as its package has it
    head, weights = frozenset[str](), ""
    if recipe.pretrained is not None:
        file = find_weights(model_id, root)
        found = find_head(model_id, num_classes, recipe.model_options)
        load_body(network, model_id, found, recipe.model_options, file)
        with _seeded(cell, "head"):
            draw_head(network, found)
        head, weights = found.names, file.sha256
    with _seeded(cell, "channels"):
        with_channels(network, channels, sides(recipe.resolution), pretrained=bool(weights))
    return Built(network, code, head, weights)


@contextmanager
def _seeded(cell: Cell, what: str) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(cell.seed, 0, what))
        yield
