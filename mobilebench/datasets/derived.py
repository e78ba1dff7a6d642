"""A derived dataset as a spec like any other: its parent's, but for what it is called and how much of train it has."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mobilebench.config.data import DerivedData
from mobilebench.datasets import registry
from mobilebench.datasets.spec import DataError, DatasetSpec, Derivation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mobilebench.config.data import DataSource


def parent_of(dataset_id: str, own: Mapping[str, DataSource]) -> str | None:
    """Return the id of the dataset that a derived one of `data_sources` has its images of; None for any other dataset.

    Raises DataError, with near matches, where there is no such dataset, or where it is derived itself.
    """
    entry = own.get(dataset_id)
    if not isinstance(entry, DerivedData):
        return None
    parent = own.get(entry.of)
    if isinstance(parent, DerivedData):
        raise DataError(
            f"data_sources.{dataset_id}: {entry.of} is derived itself, of {parent.of}; write `of: {parent.of}` and how"
            f" much of that. With one seed, the smaller of two lies inside the larger."
        )
    if parent is None and entry.of not in registry.DATASETS:
        error = registry.unknown(entry.of, {*registry.DATASETS, *own} - {dataset_id})
        raise DataError(f"data_sources.{dataset_id}: {error}")
    return entry.of


def spec_of(dataset_id: str, settings: DerivedData, parent: DatasetSpec) -> DatasetSpec:
    """Return the spec of a dataset derived from the parent's. It is fetched and read as its parent."""
    return replace(
        parent,
        id=dataset_id,
        title=f"{parent.title}; fewer train images ({settings.amount}, seed {settings.seed})",
        counts={},
        raw=parent.raw_name,
        split_digest="",
        note=f"derived of {parent.id}, whose packed images it uses; val and test are those of {parent.id}",
        derived=Derivation(parent, settings),
    )
