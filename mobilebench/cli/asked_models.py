"""The models that a command is asked about: by name, else those of params.yaml, as it has them built."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mobilebench.config.pixels import Resolution
    from mobilebench.config.recipe import Scalar
    from mobilebench.export.device_latency import Subject

_ONNX = ".onnx"


def asked_models(names: str | None) -> dict[str, str]:
    """Return the models asked for, else those of params.yaml, else the paper's, with the ids of their networks.

    Raises ModelError for a name that is not known.
    """
    from mobilebench import models as registry

    known = _model_ids()
    if names is None:
        found = tuple(known) or registry.PAPER_MODELS
    else:
        found = tuple(name.strip() for name in names.split(",") if name.strip())
    if not found:
        raise registry.ModelError(f"--models {names!r} names no model; separate names by commas")
    ids = {name: known.get(name, name) for name in found}
    for model_id in ids.values():
        registry.get(model_id)
    return ids


def asked_subjects(names: str | None, classes: int, resolution: Resolution | None) -> list[Subject]:
    """Return the models asked for as params.yaml has them built, and the .onnx files among the names."""
    from mobilebench.export.device_latency import Subject

    given = [] if names is None else [name.strip() for name in names.split(",") if name.strip()]
    files = [Subject(name, file=Path(name)) for name in given if name.endswith(_ONNX)]
    rest = ",".join(name for name in given if not name.endswith(_ONNX))
    found = [] if files and not rest else asked_models(rest if files else names)
    return [Subject(name, *built_network(name), classes, resolution or _own_resolution(name)) for name in found] + files


def _own_resolution(model: str) -> Resolution:
    """Return the input size that params.yaml has for a model, else the paper's 224 px."""
    from mobilebench.config.suite import PARAMS
    from mobilebench.execution.suites import open_suite

    if not PARAMS.exists():
        return 224
    return open_suite(networks=False).protocol.recipe_for(model, "").resolution


def _model_ids() -> dict[str, str]:
    """Return the models of params.yaml with the ids of their networks; nothing where there is no such file."""
    from mobilebench.config.suite import PARAMS
    from mobilebench.execution.suites import network_ids, open_suite

    return dict(network_ids(open_suite(networks=False))) if PARAMS.exists() else {}


def asked_resolution(resolution: Resolution | None) -> Resolution:
    """Return the input size asked for, else that of params.yaml, else the paper's 224 px."""
    from mobilebench.config.suite import PARAMS
    from mobilebench.execution.suites import open_suite

    if resolution is not None:
        return resolution
    return open_suite(networks=False).protocol.resolution if PARAMS.exists() else 224


def built_network(model: str) -> tuple[str, dict[str, Scalar]]:
    """Return the id of a model's network and the options that it is built with, as params.yaml has them."""
    from mobilebench.config.suite import PARAMS
    from mobilebench.execution.suites import open_suite

    if not PARAMS.exists():
        return model, {}
    recipe = open_suite(networks=False).protocol.recipe_for(model, "")
    return recipe.network_of(model), recipe.model_options
