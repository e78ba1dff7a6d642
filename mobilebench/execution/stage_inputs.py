"""What each stage of dvc.yaml depends on, as files: DVC sees files, and only those parts of params.yaml it is told of.

A setting that is left out, images of one's own, a network in another package, another version of this program: DVC
could see none of them in params.yaml. These files hold their present state, so that a stage runs again exactly when
something of its own changed.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mobilebench.config.parsing import canonical
from mobilebench.datasets.packing.packed import read_meta
from mobilebench.datasets.packing.prepare import find, packing_identity
from mobilebench.datasets.spec import same_source
from mobilebench.errors import UserError
from mobilebench.execution.stage_code import STAGE_CODE, code_of
from mobilebench.models.fingerprint import code_digest, metric_fingerprint
from mobilebench.models.weights.files import weights_digest
from mobilebench.system.files import write_text
from mobilebench.system.layout import DEVICE_RESULTS, PACKED

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from mobilebench.config.suite import Suite


def write_inputs(suite: Suite, folder: Path) -> list[Path]:
    """Write the inputs of every stage and return their paths.

    They are `prepare/<dataset>.json`, `train/<dataset>.json`, `score.json` and `report.json`.
    """
    recipes = {cell.name: suite.protocol.recipe_hash_for(cell.model, cell.dataset) for cell in suite.cells()}
    files: dict[str, Any] = {}
    program = {stage: code_of(stage) for stage in STAGE_CODE}
    for dataset in suite.datasets:
        files[f"prepare/{dataset}"] = {**_packing(suite, dataset), "program": program["prepare"]}
        files[f"train/{dataset}"] = {
            "experiment": suite.experiment,
            "recipes": {cell.name: recipes[cell.name] for cell in suite.cells(dataset)},
            "code": _networks(suite, dataset),
            **_choosers(suite, dataset),
            "program": program["train"],
            **_weights(suite, dataset),
        }
    files["score"] = {
        "experiment": suite.experiment,
        "recipes": recipes,
        "score": asdict(suite.score),
        "program": program["score"],
    }
    if code := _code_of((suite.score.metric, *(find(name, suite.data_sources).metric for name in suite.datasets))):
        files["score"]["metrics"] = code
    files["report"] = {
        "suite": suite.suite,
        "experiment": suite.experiment,
        "protocol": canonical(suite.protocol),
        "score": asdict(suite.score),
        "costs": _digest(folder.parent / "cost.csv"),  # `models profile` writes it, no stage does
        "domains": {dataset: find(dataset, suite.data_sources).domain for dataset in suite.datasets},
        "program": program["report"],
    }
    if DEVICE_RESULTS.exists():  # likewise
        files["report"]["devices"] = _digest(DEVICE_RESULTS)
    return [
        write_text(folder / f"{name}.json", json.dumps(value, indent=1, sort_keys=True) + "\n")
        for name, value in files.items()
    ]


def _networks(suite: Suite, dataset: str) -> dict[str, str]:
    """Return the code of the dataset's networks from outside, by model."""
    found = {m: suite.protocol.recipe_for(m, dataset).network_of(m) for m in suite.models}
    return {model: digest for model, model_id in found.items() if (digest := code_digest(model_id))}


def _weights(suite: Suite, dataset: str) -> dict[str, dict[str, str]]:
    """Return the pretrained weights of the dataset's cells by model, with their key; nothing where all are drawn."""
    recipes = {m: suite.protocol.recipe_for(m, dataset) for m in suite.models}
    found = {model: weights_digest(recipe.network_of(model)) for model, recipe in recipes.items() if recipe.pretrained}
    return {"weights": found} if found else {}


def _choosers(suite: Suite, dataset: str) -> dict[str, Any]:
    """Return the code of metrics from outside that choose on val for the dataset's cells; nothing where none does."""
    recipes = [suite.protocol.recipe_for(model, dataset) for model in suite.models]
    own = find(dataset, suite.data_sources).metric  # which chooses settings where the last epoch is kept
    code = _code_of(recipe.best_val.metric if recipe.best_val else own for recipe in recipes if recipe.chooses_on_val)
    return {"selection_metrics": code} if code else {}


def _code_of(names: Iterable[str | None]) -> dict[str, str]:
    """Return {id: fingerprint} of those metrics that are from outside."""
    return {name: code for name in sorted({name for name in names if name}) if (code := metric_fingerprint(name))}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def _packing(suite: Suite, dataset: str) -> dict[str, str]:
    """Return what a dataset is packed from. Data that was pulled without its source stays as it is."""
    spec = find(dataset, suite.data_sources)
    source = spec.fingerprint() if spec.fingerprint else ""
    if spec.fingerprint:
        with suppress(UserError):  # not packed here
            packed_from = str(read_meta(PACKED / dataset).provenance.get("fingerprint", ""))
            source = packed_from if same_source(packed_from, source) else source
    return {"identity": packing_identity(spec, suite.protocol.recipe_for("", dataset).data), "source": source}
