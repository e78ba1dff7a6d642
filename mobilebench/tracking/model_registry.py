"""The registered models of a store: one name per model and dataset, one version per finished run."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException

from mobilebench.tracking.address import tagged
from mobilebench.tracking.errors import translated

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    from mlflow.tracking import MlflowClient
    from numpy.typing import NDArray
    from torch import nn


@dataclass(frozen=True)
class Version:
    """One version of a registered model: the run it is of and its tags."""

    name: str
    number: str
    run_id: str
    tags: Mapping[str, str]


class Registry:
    """Names, versions and aliases. Raises TrackingError, never MLflow's own errors."""

    def __init__(self, client: MlflowClient, address: str) -> None:
        self._client = client
        self._address = address

    def run_of(self, name: str, number: str | None, alias: str | None) -> str:
        """Return the run of a version, given by its number or an alias."""
        with translated(self._address, "read"):
            if number is not None:
                return str(self._client.get_model_version(name, number).run_id)
            return str(self._client.get_model_version_by_alias(name, alias or "").run_id)

    def versions(self, name: str) -> list[Version]:
        """Return the versions of a registered model, oldest first; none when there is no such model."""
        _ = tagged(name=name)  # refuses what is no plain name
        with translated(self._address, "read"):
            found = self._client.search_model_versions(f"name = '{name}'", max_results=1000)
            versions = [Version(v.name, str(v.version), str(v.run_id), dict(v.tags)) for v in found]
        return sorted(versions, key=lambda version: int(version.number))

    def add(
        self,
        name: str,
        run_id: str,
        model: nn.Module,
        *,
        example: NDArray[np.float32],
        classes: Sequence[str],
        requirements: Sequence[str],
        tags: Mapping[str, str],
    ) -> Version:
        """Log a classifier to a run and register it as a new version.

        The model is exported (`torch.export`, no pickle). Its signature is read from `example`, a batch of two, because
        exporting makes a batch of one a constant; the class names are in the model's metadata (`classes`).
        """
        import mlflow
        from mlflow.models import infer_signature

        with translated(self._address, "write to"), _fluent(self._address):
            signature = infer_signature(example, _logits(model, example))
            with mlflow.start_run(run_id=run_id, log_system_metrics=False):
                info = mlflow.pytorch.log_model(
                    model,
                    name="classifier",
                    signature=signature,
                    input_example=example,
                    pip_requirements=list(requirements),
                    metadata={"classes": list(classes)},
                    serialization_format="pt2",
                )
            self._create(name)
            version = self._client.create_model_version(
                name, info.model_uri, run_id=run_id, tags=dict(tags), model_id=info.model_id
            )
        return Version(name, str(version.version), run_id, dict(tags))

    def alias(self, version: Version, alias: str) -> None:
        """Point an alias of the registered model at a version."""
        with translated(self._address, "write to"):
            self._client.set_registered_model_alias(version.name, alias, version.number)

    def _create(self, name: str) -> None:
        try:
            self._client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise


@contextmanager
def _fluent(address: str) -> Iterator[None]:
    """Point MLflow's fluent functions, which know one global address, at a store for the block.

    What was not set before is not set after it: a registry that follows the tracking address goes on following it.
    """
    import mlflow

    variables = {name: os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")}
    tracking = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None  # type: ignore[no-untyped-call]
    registry = mlflow.get_registry_uri()
    follows = registry == mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(address)
    mlflow.set_registry_uri(address)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(tracking)  # type: ignore[arg-type]  # None: as before the first call
        mlflow.set_registry_uri(None if follows else registry)  # type: ignore[arg-type]
        for name, value in variables.items():
            os.environ.pop(name, None)
            os.environ.update({name: value} if value is not None else {})


def _logits(model: nn.Module, example: NDArray[np.float32]) -> NDArray[np.float32]:
    import torch

    with torch.inference_mode():
        logits: NDArray[np.float32] = model(torch.from_numpy(example)).numpy()
    return logits
