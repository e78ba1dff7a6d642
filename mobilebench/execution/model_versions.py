"""Finished cells as versions of registered models, each a classifier that works on plain images."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.config.ids import slug
from mobilebench.config.pixels import sides
from mobilebench.config.suite import parse_suite, preset_text
from mobilebench.errors import UserError
from mobilebench.evaluation.metrics import METRICS
from mobilebench.execution.classifier import classifier
from mobilebench.execution.model_file import WEIGHTS, describe, stored_weights, weights_in
from mobilebench.runs.journal import Journal
from mobilebench.system.layout import STATE
from mobilebench.system.provenance import PACKAGES, packages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mobilebench.config.recipe import Recipe
    from mobilebench.config.suite import Suite
    from mobilebench.datasets.packing.packed import Packed
    from mobilebench.execution.classifier import Classifier
    from mobilebench.runs.records import Record
    from mobilebench.tracking import Tracker
    from mobilebench.tracking.model_registry import Version

BEST, PAPER, PAPER_SUITE = "best", "paper", "paper_v1"


class RegistryError(UserError):
    """A run cannot become a version; the message says what it lacks."""


@dataclass(frozen=True)
class Registered:
    """What happened to one run: its version, and whether it is new."""

    version: Version
    is_new: bool


def model_name(record: Record) -> str:
    """Return the name under which the versions of a cell's model on its dataset stand."""
    return f"mobilebench.{slug(record.model)}.{record.dataset}"


def register(tracker: Tracker, suite: Suite, packed: Packed, records: Iterable[Record]) -> Iterator[Registered]:
    """Make every finished record of one dataset a version, once, and yield what was done; then set the aliases.

    `best` is the best version on the records' data by their dataset's metric, on validation images where every version
    was read on some, else on test: a pointer for users then, not an estimate, because it was chosen on the test split.
    `paper` is the version of the paper's recipe with its first seed. Versions that were not made here (by MLflow's own
    means, say) are left alone: no alias is set by what they may be. Raises RegistryError for a run without weights or
    of other data than the packed.
    """
    names: dict[str, str] = {}
    for record in records:
        known = {version.run_id: version for version in own_versions(tracker, model_name(record))}
        version = known.get(record.run_id) or _add(tracker, suite, packed, record)
        names[model_name(record)] = record.data_digest
        yield Registered(version, is_new=record.run_id not in known)
    for name, data in names.items():
        _set_aliases(tracker, name, data)


def _add(tracker: Tracker, suite: Suite, packed: Packed, record: Record) -> Version:
    recipe = suite.protocol.recipe_for(record.model, record.dataset)
    if packed.meta.data_digest != record.data_digest:
        raise RegistryError(
            f"run {record.run_id} was trained on {record.dataset} {record.data_digest[:12]}, here is "
            f"{packed.meta.data_digest[:12]}: its classes and statistics may differ. `dvc pull` or prepare that data"
        )
    return tracker.registry.add(
        model_name(record),
        record.run_id,
        _classifier(tracker, packed, record, recipe),
        example=np.zeros((2, packed.meta.channels, *sides(recipe.resolution)), np.float32),
        classes=packed.meta.classes,
        requirements=[f"{name}=={version}" for name, version in packages().items() if name in {*PACKAGES, "mlflow"}],
        tags={
            "model": record.model,
            "dataset": record.dataset,
            "seed": str(record.seed),
            "recipe_hash": record.recipe_hash,
            "protocol_hash": record.protocol_hash,
            "data_digest": record.data_digest,
            "metric": record.metric,
            "n_test": str(record.n_test),
            **({"chosen_on": record.chosen_on} if record.chosen_on else {}),
            **{
                f"{split}_{record.metric}": repr(read[record.metric])
                for split, read in (("test", record.metrics), ("val", record.val_metrics))
                if record.metric in read
            },
        },
    )


def _classifier(tracker: Tracker, packed: Packed, record: Record, recipe: Recipe) -> Classifier:
    with tempfile.TemporaryDirectory() as folder:
        path = stored_weights(tracker, record.run_id, Path(folder))
        kept = Journal(STATE / record.identity.name).artifacts
        if path is None and weights_in(kept):  # the store lost them, this folder did not
            tracker.add_artifacts(record.run_id, kept)
            path = stored_weights(tracker, record.run_id, Path(folder))
        if path is None:
            raise RegistryError(
                f"run {record.run_id} has no artifact {WEIGHTS} at {tracker.run(record.run_id).artifact_uri}, and this "
                f"folder has no journal of it. Bring that place back, or register in the folder it was trained in"
            )
        return classifier(describe(record.cell, recipe, packed.meta, record.network), path)


def own_versions(tracker: Tracker, name: str) -> list[Version]:
    """Return the versions of a registered model that say of themselves what `register` writes, oldest first."""
    return [version for version in tracker.registry.versions(name) if _value(version, "test") is not None]


def _value(version: Version, split: str) -> float | None:
    """Return the value that a version is tagged with, larger ones better; None for one that was made by other means."""
    tags = version.tags
    metric = METRICS.get(tags.get("metric", "top1"))
    if metric is None or not {"model", "dataset", "seed"} <= tags.keys():
        return None
    try:
        value = float(tags[f"{split}_{metric.id}"])
    except (KeyError, ValueError):
        return None
    if math.isnan(value) or metric.outside(value):
        return None
    return value if metric.higher_is_better else -value


def best_of(versions: Iterable[Version], split: str) -> Version:
    """Return the version with the best value on a split, of several the first."""

    def order(version: Version) -> float:
        value = _value(version, split)
        return -math.inf if value is None else value

    return max(versions, key=order)


def _set_aliases(tracker: Tracker, name: str, data: str) -> None:
    versions = own_versions(tracker, name)
    # Accuracies on other test images are no higher and no lower. A version of before this tag existed is let pass.
    alike = [version for version in versions if version.tags.get("data_digest", data) == data]
    newest = alike[-1].tags.get("metric", "top1")
    alike = [version for version in alike if version.tags.get("metric", "top1") == newest]
    split = "val" if all(_value(version, "val") is not None for version in alike) else "test"
    tracker.registry.alias(best_of(alike, split), BEST)
    paper = parse_suite(preset_text(PAPER_SUITE), PAPER_SUITE)
    for version in versions:
        tags = version.tags
        recipe = paper.protocol.recipe_hash_for(tags["model"], tags["dataset"])
        if (tags.get("recipe_hash"), tags["seed"]) == (recipe, str(paper.seeds[0])):
            tracker.registry.alias(version, PAPER)
