"""What a suite's cells would be trained with in this folder, which tells the runs that count from superseded ones."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from mobilebench.datasets.packing.packed import read_meta
from mobilebench.datasets.packing.prepare import find, is_of
from mobilebench.errors import UserError
from mobilebench.runs.identity import wanted
from mobilebench.system.layout import PACKED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mobilebench.config.suite import Cell, Suite
    from mobilebench.runs.identity import Identity


def identities_here(suite: Suite, datasets: Iterable[str] | None = None) -> tuple[dict[Cell, Identity], list[str]]:
    """Return the identities of the suite's cells (on some of its datasets), and the models that cannot be built here.

    A cell whose data is not packed here, or whose network cannot be built, has none.
    """
    found: dict[Cell, Identity] = {}
    unbuilt: dict[str, None] = {}
    for dataset in suite.datasets if datasets is None else datasets:
        try:
            meta = read_meta(PACKED / dataset)
        except UserError:  # not packed here
            continue
        for cell in suite.cells(dataset):
            identity = wanted(suite, cell, meta)
            if not identity.is_known:
                unbuilt[cell.model] = None
            else:
                found[cell] = identity
    return found, sorted(unbuilt)


def packed_otherwise(suite: Suite) -> tuple[str, ...]:
    """Return a sentence on datasets that were packed by other settings than the suite has now, () where none was."""
    names = []
    for dataset in suite.datasets:
        with suppress(UserError):  # not packed here, or unknown here
            spec, policy = find(dataset, suite.data_sources), suite.protocol.recipe_for("", dataset).data
            names += [] if is_of(read_meta(PACKED / dataset), spec, policy) else [dataset]
    if not names:
        return ()
    words = (
        f"{', '.join(names)}: packed by other settings (data_sources, data) than params.yaml has now, and these "
        "results are of the data as it was packed. `mobilebench data prepare` packs it anew; its cells are then to be "
        "trained again."
    )
    return (words,)
