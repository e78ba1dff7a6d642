"""Every dataset by its id. A new one is a module with a SPEC and a line here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilebench.datasets.catalog import (
    aptos2019,
    breakhis,
    cassava,
    cct20,
    cifar,
    cub200,
    digits,
    dogs,
    dtd,
    eurosat,
    flowers102,
    food101,
    galaxy10,
    ham10k,
    hpa,
    imagenette,
    indoor67,
    melanoma,
    miniplaces,
    neu,
    plantclef,
    plantvillage,
    rsna_pneumonia,
    stanford_cars,
    tiny_imagenet,
    toy_grades,
    toy_scenes,
    toy_shapes,
    toy_textures,
    ucmerced,
)
from mobilebench.datasets.spec import DataError, DatasetSpec
from mobilebench.system.names import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

DATASETS: dict[str, DatasetSpec] = {
    spec.id: spec
    for spec in (
        imagenette.SPEC,
        cifar.CIFAR10,
        cifar.CIFAR100,
        dogs.SPEC,
        dogs.RELEASED,
        ham10k.SPEC,
        ham10k.GROUPED,
        ham10k.RELEASED,
        indoor67.SPEC,
        miniplaces.SPEC,
        flowers102.SPEC,
        flowers102.TRAINVAL,
        dtd.SPEC,
        food101.SPEC,
        eurosat.SPEC,
        eurosat.EIGHTY,
        eurosat.ALL_BANDS,
        tiny_imagenet.SPEC,
        cub200.SPEC,
        ucmerced.SPEC,
        galaxy10.SPEC,
        neu.SPEC,
        hpa.SPEC,
        stanford_cars.SPEC,
        *breakhis.SPECS,
        cassava.SPEC,
        aptos2019.SPEC,
        plantvillage.SPEC,
        plantclef.SPEC,
        *rsna_pneumonia.SPECS,
        cct20.SPEC,
        cct20.TRANS,
        *melanoma.SPECS,
        digits.SPEC,
        toy_shapes.SPEC,
        toy_textures.SPEC,
        toy_scenes.SPEC,
        toy_grades.SPEC,
    )
}


def unknown(dataset_id: str, known: Iterable[str]) -> DataError:
    """Return the error for a name that is no dataset, with the names that come near."""
    names = sorted(known)
    hint = did_you_mean(dataset_id, names) or f"known: {', '.join(names)}."
    return DataError(f"no dataset is called {dataset_id!r}; {hint} Your own data goes into params.yaml, data_sources.")


def get(dataset_id: str) -> DatasetSpec:
    """Return a built-in dataset's spec. Raises DataError with near matches for an unknown id."""
    try:
        return DATASETS[dataset_id]
    except KeyError:
        raise unknown(dataset_id, DATASETS) from None
