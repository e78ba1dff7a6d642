"""A run of MLflow, read as a record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mobilebench.config.ids import is_id
from mobilebench.errors import TrackingError
from mobilebench.runs.records import PREDICTIONS_TAG, Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlflow.entities import Run

    from mobilebench.runs.records import Status


@dataclass(frozen=True)
class Details:
    """One run of a cell with all that was written of it: its record, parameters and tags, as MLflow keeps them."""

    record: Record
    params: Mapping[str, str]
    tags: Mapping[str, str]
    artifact_uri: str


def details_of(run: Run) -> Details:
    """Return a run of a cell with its parameters and tags. Raises TrackingError when it is none."""
    if run.data.tags.get("kind") not in {"cell", "superseded cell"}:
        raise TrackingError(f"run {run.info.run_id} is no run of a cell; choose one of a training")
    return Details(record_of(run), run.data.params, run.data.tags, run.info.artifact_uri)


def record_of(run: Run) -> Record:
    """Return a run of a cell as a record; values that its run lacks are None, unreadable tags raise TrackingError."""
    return record_from(run.info.run_id, run.info.status, run.info.end_time, run.data.tags, run.data.metrics)


def record_from(
    run_id: str, status: Status, end_time: int | None, tags: Mapping[str, str], metrics: Mapping[str, float]
) -> Record:
    """Return a run's tags and last metrics as a record; raises TrackingError as `record_of`."""
    finished = status == "FINISHED"

    def whole(key: str) -> int | None:
        return int(metrics[key]) if key in metrics else None

    try:
        return Record(
            run_id=run_id,
            model=tags["model"],
            dataset=_id(tags["dataset"]),
            seed=int(tags["seed"]),
            protocol_hash=tags["protocol_hash"],
            data_digest=tags["data_digest"],
            code_version=int(tags["code_version"]),
            status=status,
            metrics=_final(metrics, "test") if finished else {},
            n_test=whole("n_test"),
            params=whole("params"),
            macs=whole("macs"),
            train_seconds=metrics.get("train_seconds"),
            git_commit=tags.get("git_commit"),
            recipe_hash=tags.get("recipe_hash", ""),
            network=tags.get("network", ""),
            weights=tags.get("weights", ""),
            pretrained_on=tags.get("pretrained_on", ""),
            images_from=tags.get("images_from", ""),
            chosen_on=tags.get("chosen_on", ""),
            selection_metric=tags.get("selection_metric", ""),
            end_time=end_time,
            metric=tags.get("metric", "top1"),
            val_metrics=_final(metrics, "val") if finished else {},
            predictions={
                tag.removeprefix(PREDICTIONS_TAG): digest
                for tag, digest in sorted(tags.items())
                if finished and tag.startswith(PREDICTIONS_TAG)
            },
        )
    except (KeyError, ValueError) as error:
        raise TrackingError(
            f"run {run_id} is tagged kind=cell but its tag {error} is missing or unreadable; delete the run"
        ) from None


def _final(metrics: Mapping[str, float], split: str) -> dict[str, float]:
    """Return {id: value} of a run's final readings of a split; the mean loss is the negative log-likelihood."""
    start = f"final_{split}_"
    read = {key.removeprefix(start): value for key, value in metrics.items() if key.startswith(start)}
    return {"nll" if name == "loss" else name: value for name, value in sorted(read.items())}


def _id(name: str) -> str:
    """Return a dataset's id; what a store holds may come from anyone, and the id becomes part of a path."""
    if not is_id(name):
        raise ValueError(f"dataset={name[:60]!r}")
    return name
