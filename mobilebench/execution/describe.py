"""The first line of a journal: everything a run says of itself before it trains."""

from __future__ import annotations

import uuid
from dataclasses import asdict
from typing import TYPE_CHECKING

from mobilebench import training
from mobilebench.config.parsing import flatten
from mobilebench.system.layout import PACKED
from mobilebench.system.provenance import dvc_digest, environment

if TYPE_CHECKING:
    from mobilebench.config.suite import Cell
    from mobilebench.execution.context import RunContext


def start_event(context: RunContext, cell: Cell) -> dict[str, object]:
    """Return the event that starts the run of a cell: its identity, settings, data and surroundings."""
    suite, meta = context.suite, context.packed.meta
    recipe = suite.protocol.recipe_for(cell.model, cell.dataset)
    settings = {
        "model": cell.model,
        "dataset": cell.dataset,
        "seed": str(cell.seed),
        "suite": suite.suite,
        "protocol_hash": suite.protocol.hash,
        "data_digest": meta.digest,
        "code_version": str(training.VERSION),
    }
    return {
        "type": "start",
        "experiment": suite.experiment,
        "run_name": cell.name,
        "tags": settings
        | environment()
        | {
            "kind": "cell",
            "cell": cell.name,
            "identity": context.identity(cell),
            "journal": uuid.uuid4().hex,
            **({"dvc_data": data} if (data := dvc_digest(f"{PACKED}/{cell.dataset}")) else {}),
        },
        "params": {k: v for k, v in settings.items() if k in {"model", "dataset", "seed"}}
        | flatten(asdict(recipe))
        | {"num_classes": len(meta.classes)},
        "dataset": {
            "name": cell.dataset,
            "digest": meta.digest[:36],  # MLflow's limit; the whole digest is a tag
            "source": str(PACKED / cell.dataset),
            "profile": f'{{"train": {len(context.packed.rows("train"))}, "test": {len(context.packed.rows("test"))}}}',
        },
    }
