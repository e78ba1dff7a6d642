"""Records: one row per run, and the result file of each finished cell."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Literal

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

Status = Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True)
class Record:
    """One run of one cell as the tracking server or a result file has it.

    data_digest is `Meta.data_digest` of the packed data. test_top1 is a fraction in [0, 1] at the last epoch, n_test
    the number of test images it was read on; both are None while the run is not finished. params and macs are integers
    at the cell's class count and resolution.
    """

    run_id: str
    model: str
    dataset: str
    seed: int
    protocol_hash: str
    data_digest: str
    code_version: int
    status: Status
    test_top1: float | None = None
    test_loss: float | None = None
    n_test: int | None = None
    params: int | None = None
    macs: int | None = None
    train_seconds: float | None = None
    git_commit: str | None = None
    recipe_hash: str = ""
    """Hash of the cell's recipe; "" in a run of a version that kept none, likewise below."""
    network: str = ""
    """Fingerprint of the network as built."""
    end_time: int | None = None
    """When the run ended, in milliseconds since 1970."""

    @property
    def cell(self) -> Cell:
        """The cell the run is of."""
        return Cell(self.model, self.dataset, self.seed)

    @property
    def identity(self) -> Identity:
        """What the run was trained with."""
        return Identity(self.cell, self.recipe_hash, self.data_digest, self.network, self.code_version)


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
    return parse(Record, data, f"{path}: ")


def read_results(results: Path) -> list[Record]:
    """Return the records of all result files below a results folder, in the order of their names."""
    found = [read_result(path) for path in sorted((results / "cells").glob("*/*.json"))]
    return [record for record in found if record is not None]


def to_frame(records: Iterable[Record]) -> DataFrame:
    """Return one row per record, its fields as columns; an absent value is NA or None."""
    import pandas as pd

    frame = pd.DataFrame([asdict(r) for r in records], columns=[column.name for column in fields(Record)])
    # Whole numbers stay whole where some are absent.
    return frame.astype(dict.fromkeys(("n_test", "params", "macs"), "Int64"))
