"""What a suite's cells would be trained with in this folder, which tells the runs that count from superseded ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilebench.datasets.packing.packed import read_meta
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
