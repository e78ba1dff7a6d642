"""What a run says of itself before it trains: its identity, settings, data and surroundings."""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict
from typing import TYPE_CHECKING

from mobilebench import models
from mobilebench.config.parsing import flatten
from mobilebench.config.phases import FLAT
from mobilebench.datasets.packing.prepare import find
from mobilebench.datasets.spec import SPLITS
from mobilebench.evaluation.metrics import metric_of
from mobilebench.models.weights.pretraining import pretrained_on
from mobilebench.runs.events import DatasetInput, Start
from mobilebench.system.layout import PACKED
from mobilebench.system.provenance import dvc_digest, environment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mobilebench.config.recipe import Recipe
    from mobilebench.config.suite import Cell
    from mobilebench.datasets.packing.packed import Packed
    from mobilebench.execution.context import RunContext
    from mobilebench.runs.identity import Identity


def start_event(context: RunContext, identity: Identity) -> Start:
    """Return the event that starts the run of a cell."""
    suite, packed, cell = context.suite, context.packed, identity.cell
    tags = {
        "model": cell.model,
        "dataset": cell.dataset,
        "seed": str(cell.seed),
        "suite": suite.suite,
        "protocol_hash": suite.protocol.hash,
        "recipe_hash": identity.recipe,
        "data_digest": identity.data,
        "network": identity.network,
        "code_version": str(identity.numerics),
        "kind": "cell",
        "cell": cell.name,
        "identity": identity.digest,
        "target": packed.meta.target,
        "metric": metric_of(packed.meta.metric, packed.meta.target).id,
    }
    recipe = suite.protocol.recipe_for(cell.model, cell.dataset)
    if identity.weights:
        tags["weights"] = identity.weights
        tags["pretrained_on"] = pretrained_on(recipe.network_of(cell.model))
        if images_from := find(cell.dataset, suite.data_sources).images_from:
            tags["images_from"] = images_from
    if recipe.chooses_on_test:
        tags["chosen_on"] = "test"
    if identity.selection_metric:
        tags["selection_metric"] = identity.selection_metric
    spec = models.get(recipe.network_of(cell.model))
    if spec.zoo == "entry_point":  # `reproduce` names it: nothing else tells where the network is from
        tags["network_package"] = spec.package
    data = dvc_digest(f"{PACKED}/{cell.dataset}")
    return Start(
        experiment=suite.experiment,
        run_name=cell.name,
        tags=with_surroundings(tags | ({"dvc_data": data} if data else {})),
        params=parameters(cell, recipe) | {"num_classes": len(packed.meta.classes)},
        dataset=dataset_input(packed, {split: len(rows) for split in SPLITS if len(rows := packed.rows(split))}),
    )


def with_surroundings(tags: Mapping[str, str]) -> dict[str, str]:
    """Return a run's tags with those of code and machine, and with a fresh id for its journal."""
    return {**environment(), **tags, "journal": uuid.uuid4().hex}


def parameters(cell: Cell, recipe: Recipe) -> dict[str, object]:
    """Return the cell and its whole recipe under dotted names, as MLflow shows parameters.

    Of a recipe of phases without the keys that these are in place of: their defaults trained nothing.
    """
    unused = FLAT if recipe.phases else ()
    settings = {key: value for key, value in asdict(recipe).items() if key not in unused}
    return {"model": cell.model, "dataset": cell.dataset, "seed": str(cell.seed)} | flatten(settings)


def dataset_input(packed: Packed, counts: Mapping[str, int]) -> DatasetInput:
    """Return a run's data as MLflow shows it. counts: images in each split that is read."""
    meta = packed.meta
    return DatasetInput(meta.id, meta.data_digest[:36], str(PACKED / meta.id), json.dumps(dict(counts)))
