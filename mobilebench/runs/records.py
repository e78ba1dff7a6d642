"""Records: one row per run, and the result file of each finished cell."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from mobilebench.config.ids import is_id
from mobilebench.config.parsing import parse
from mobilebench.config.suite import Cell
from mobilebench.errors import UserError
from mobilebench.runs.identity import Identity
from mobilebench.system.disk import disk_errors
from mobilebench.system.files import read_text, write_text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pandas import DataFrame

PREDICTIONS = "predictions"  # below a results folder, and of a run's artifacts
PREDICTIONS_TAG = "predictions."  # and then the split: the tag of a run with the digest of what it kept
Status = Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True)
class Record:
    """One run of one cell as the tracking server or a result file has it.

    data_digest is `Meta.data_digest` of the packed data. metrics are {id: value} on the n_test test images with the
    kept weights, val_metrics the same on validation images where there are any; both are empty while the run is not
    finished. params and macs are integers at the cell's class count and resolution.
    """

    run_id: str
    model: str
    dataset: str
    seed: int
    protocol_hash: str
    data_digest: str
    code_version: int
    status: Status
    metrics: dict[str, float] = field(default_factory=dict)
    n_test: int | None = None
    params: int | None = None
    macs: int | None = None
    train_seconds: float | None = None
    git_commit: str | None = None
    recipe_hash: str = ""
    """Hash of the cell's recipe; "" in a run of a version that kept none, likewise below."""
    network: str = ""
    """Fingerprint of the network as built."""
    weights: str = ""
    """sha256 of the pretrained weights it started from; "" from scratch."""
    pretrained_on: str = ""
    """What these weights were pretrained on, in words (`models.weights.pretraining`); "" from scratch."""
    images_from: str = ""
    """The collection that the dataset's images come from, of a run from pretrained weights; "" where none is known."""
    chosen_on: str = ""
    """test where its epoch was chosen on the test images; "" elsewhere."""
    end_time: int | None = None
    """When the run ended, in milliseconds since 1970."""
    metric: str = "top1"
    """Id of the metric that its dataset is read by where nothing else is asked for."""
    val_metrics: dict[str, float] = field(default_factory=dict)
    predictions: dict[str, str] = field(default_factory=dict)
    """{split: `Predictions.digest`} of what it kept, of test and, where there is one, of val."""
    selection_metric: str = ""
    """As in `Identity`."""

    @property
    def value(self) -> float | None:
        """Value of `metric` on test; None while the run is not finished."""
        return self.metrics.get(self.metric)

    @property
    def cell(self) -> Cell:
        """The cell the run is of."""
        return Cell(self.model, self.dataset, self.seed)

    @property
    def identity(self) -> Identity:
        """What the run was trained with."""
        return Identity(
            self.cell, self.recipe_hash, self.data_digest, self.network, self.code_version, self.selection_metric,
            self.weights,
        )  # fmt: skip


def result_path(results: Path, cell: Cell) -> Path:
    """Return where the result file of a cell lies: one folder per dataset, because that is one DVC stage.

    Raises UserError for a dataset that is no id: records come from stores and folders of others, too.
    """
    if not is_id(cell.dataset):
        raise UserError(f"a record's dataset is {cell.dataset[:60]!r}; expected lower-case letters, digits and _")
    return results / "cells" / cell.dataset / f"{cell.name}.json"


def write_result(results: Path, record: Record) -> Path:
    """Write a finished record durably as the cell's result file and return its path."""
    path = result_path(results, record.cell)
    with disk_errors(path):
        return write_text(path, json.dumps(asdict(record), indent=1) + "\n", durable=True)


def read_result(path: Path) -> Record | None:
    """Return the record of a result file, None when there is none. Raises UserError when it can't be read as one."""
    try:
        data = json.loads(read_text(path, "the record of a finished cell"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(
            f"{path} is damaged ({error}); remove it and run `mobilebench train` to write it again"
        ) from None
    return parse(Record, _as_now(data), f"{path}: ")


def _as_now(data: Any) -> Any:
    """Return a record as it is written now: before there were other metrics it held top-1 and the loss alone."""
    if not isinstance(data, dict) or "test_top1" not in data:
        return data
    rest = {key: value for key, value in data.items() if key not in {"test_top1", "test_loss"}}
    earlier = {"top1": data["test_top1"], "nll": data.get("test_loss")}
    return rest | {"metrics": {key: value for key, value in earlier.items() if value is not None}}


def predictions_path(results: Path, cell: Cell, split: str = "test") -> Path:
    """Return where the predictions of a finished cell lie; of test beside those of val. Raises as `result_path`."""
    dataset = result_path(results, cell).parent.name
    return results / PREDICTIONS / dataset / f"{cell.name}{'' if split == 'test' else f'.{split}'}.npz"


def read_results(results: Path) -> list[Record]:
    """Return the records of all result files below a results folder, in the order of their names."""
    found = [read_result(path) for path in sorted((results / "cells").glob("*/*.json"))]
    return [record for record in found if record is not None]


def to_frame(records: Iterable[Record]) -> DataFrame:
    """Return one row per record, its fields as columns; an absent value is NA or None.

    A metric of test is the column `test_<id>`, one of val `val_<id>`; `test_top1` is there always.
    """
    import pandas as pd

    rows = [_flat(record) for record in records]
    plain = [column.name for column in fields(Record) if column.name not in {"metrics", "val_metrics", "predictions"}]
    read = dict.fromkeys(["test_top1", *(key for row in rows for key in row if key not in plain)])
    frame = pd.DataFrame(rows, columns=[*plain, *read])
    # Whole numbers stay whole where some are absent.
    return frame.astype(dict.fromkeys(("n_test", "params", "macs"), "Int64"))


def _flat(record: Record) -> dict[str, Any]:
    row = asdict(record)
    read = {"test": row.pop("metrics"), "val": row.pop("val_metrics")}
    row.pop("predictions")
    return row | {f"{split}_{name}": value for split in read for name, value in read[split].items()}
