"""The identity of a cell's result: a digest of everything its trainer receives. Equal identity, equal result.

A cell whose identity has a finished run is not trained again; one of another identity is, and the older run counts as
superseded. The suite's other settings, its name and its experiment are no part of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mobilebench.config.parsing import digest
from mobilebench.config.protocol import recipe_hash
from mobilebench.config.suite import Cell
from mobilebench.evaluation.metrics import MetricError, metric_of
from mobilebench.models.fingerprint import UNBUILT, known_fingerprint, metric_fingerprint
from mobilebench.models.weights.files import UNFETCHED, weights_digest
from mobilebench.system.layout import NETWORKS
from mobilebench.training import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mobilebench.config.recipe import Recipe
    from mobilebench.config.suite import Suite
    from mobilebench.datasets.packing.packed import Meta


@dataclass(frozen=True)
class Identity:
    """What a cell was, or would be, trained with."""

    cell: Cell
    """Model, dataset and seed by their names."""
    recipe: str
    """`config.protocol.recipe_hash` of its recipe."""
    data: str
    """`Meta.data_digest` of its packed data."""
    network: str
    """`models.fingerprint` of its network as built; "" in a run of a version that took none."""
    numerics: int = VERSION
    """Version of the numbers of the training code."""
    selection_metric: str = ""
    """`models.fingerprint.metric_fingerprint` of the metric that chooses the epoch; "" where it is a packaged one, or
    none is chosen. Of a tuned cell that keeps the last epoch, see `chooser_of`."""
    weights: str = ""
    """sha256 of the pretrained weights it starts from; "" where it starts from scratch."""

    @property
    def is_known(self) -> bool:
        """Whether its network can be built and its weights are here: otherwise no run can be held against it."""
        return self.network != UNBUILT and self.weights != UNFETCHED

    @property
    def digest(self) -> str:
        """Twelve hex digits: the identity, as runs are tagged and folders named with it."""
        cell = self.cell
        parts = [cell.model, cell.dataset, cell.seed, self.recipe, self.data, self.network, self.numerics]
        # All other identities stay as they were before these were parts.
        if self.selection_metric:
            parts.append(self.selection_metric)
        if self.weights:
            parts.append({"weights": self.weights})
        return digest(parts)

    @property
    def name(self) -> str:
        """The cell's name with the digest: the name of the folder of its journal."""
        return f"{self.cell.name}-{self.digest}"

    @property
    def unknown(self) -> str:
        """Why it is not known, in words, and what says more."""
        if self.network == UNBUILT:
            return f"its network cannot be built here; `mobilebench models check {self.cell.model}` says why"
        return "its pretrained weights are not here; `mobilebench models fetch` gets them, or says what to do"

    def differences(self, other: Identity) -> list[str]:
        """Return in words what an identity of the same cell has different."""
        if not self.is_known:
            return [self.unknown]
        if not other.recipe or not other.network:
            return ["made by an earlier version of mobilebench"]
        parts = {
            "recipe": "recipe", "data": "data", "network": "network's code", "numerics": "numerics version",
            "weights": "pretrained weights",
            "selection_metric": "code of the metric that chooses the epoch",
        }  # fmt: skip
        return [words for part, words in parts.items() if getattr(self, part) != getattr(other, part)]


def wanted(suite: Suite, cell: Cell, meta: Meta, root: Path = Path()) -> Identity:
    """Return the identity that a cell of the suite has now, with the packed data that `meta` is of.

    Weights that are not here have no digest but a word for that: the cell fails with the reason when it is trained.
    Where the project folder `root` does not know the fingerprint of the network as its code is now, the network is
    built, which imports torch.
    """
    recipe = suite.protocol.recipe_for(cell.model, cell.dataset)
    model_id = recipe.network_of(cell.model)
    network = known_fingerprint(model_id, len(meta.classes), recipe.model_options, root / NETWORKS)
    weights = weights_digest(model_id, root) if recipe.pretrained else ""
    return Identity(
        cell, recipe_hash(recipe), meta.data_digest, network, selection_metric=chooser_of(recipe, meta), weights=weights
    )


def chooser_of(recipe: Recipe, meta: Meta) -> str:
    """Return what an identity says of the metric that chooses on val: that part of it which the recipe does not hold.

    A recipe names the metric that chooses an epoch, and its code is added where it is from outside. Settings that are
    chosen by the last epoch's reading are chosen by the dataset's metric, which no recipe names.
    """
    if recipe.best_val is not None:
        return metric_fingerprint(recipe.best_val.metric)
    if recipe.tuning is None:
        return ""
    try:
        name = metric_of(meta.metric, meta.target).id
        return f"{name}{metric_fingerprint(name)}"
    except MetricError:  # of a package that is not installed here: training says so
        return meta.metric


def from_tags(tags: Mapping[str, str]) -> Identity:
    """Return the identity that a run's tags tell of. Raises KeyError or ValueError where they don't."""
    cell = Cell(tags["model"], tags["dataset"], int(tags["seed"]))
    return Identity(
        cell, tags.get("recipe_hash", ""), tags["data_digest"], tags.get("network", ""), int(tags["code_version"]),
        tags.get("selection_metric", ""), tags.get("weights", ""),
    )  # fmt: skip


def digest_of_tags(tags: Mapping[str, str]) -> str:
    """Return the identity's digest that a run of these tags must have, in a form of before fingerprints too.

    Raises KeyError or ValueError where the tags don't tell.
    """
    found = from_tags(tags)
    if found.recipe or found.network:
        return found.digest
    cell = found.cell
    return digest([cell.model, cell.dataset, cell.seed, tags["protocol_hash"], found.data, found.numerics])
