"""The full cost of a model as one row, beside what the paper's Table 1 says of it, and the file of such rows."""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

import torch

from mobilebench import models
from mobilebench.models.checks import check
from mobilebench.models.cost import counts as cost
from mobilebench.models.cost import latency
from mobilebench.models.spec import ModelError
from mobilebench.studies.beyond_imagenet import published as reference
from mobilebench.system.files import write_rows

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from mobilebench.models.cost.counts import Cost

TRAINING_BATCH = 64


@dataclass(frozen=True)
class Published:
    """Table 1's figures for a model, and ours minus them; None for a model the table does not have.

    The parameters compare averages over the paper's seven class counts, as the table gives them. Its MACs come from a
    counter that adds normalisation and pooling, so ours lie up to 8 % below where both mean the same network.
    """

    published_params: int | None = None
    params_difference: int | None = None
    published_macs: int | None = None
    macs_difference: int | None = None


@dataclass(frozen=True)
class ProfileRow:
    """One row of results/cost.csv: what one model costs at one class count and resolution.

    Counts and bytes are integers; `training_bytes` estimates fp32 Adam at `training_batch`. The deployed columns are
    the network with its training branches folded, empty where there is nothing to fold. Times are medians of
    `latency_runs` on `cpu` with `threads` threads.
    """

    model: str
    num_classes: int
    resolution: int
    params: int
    params_trainable: int
    params_without_head: int
    macs: int
    weight_bytes: int
    activation_bytes_per_image: int
    training_batch: int
    training_bytes: int
    deployed_params: int | None
    deployed_macs: int | None
    latency_ms: float
    deployed_latency_ms: float | None
    latency_runs: int
    images_per_second: float
    images_per_second_batch: int
    threads: int
    cpu: str
    torch: str
    published_params: int | None
    params_difference: int | None
    published_macs: int | None
    macs_difference: int | None


Key = tuple[str, str, str]


def profile(model_id: str, num_classes: int, resolution: int, runs: int, threads: int) -> ProfileRow:
    """Build a model, check it and return all that it costs; raises `ModelError` for one that cannot be trained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = models.create(model_id, num_classes)
        check(model, num_classes, resolution)
    static = cost.static_cost(model, resolution)
    folded = cost.deployed(model)
    folded_cost = None if folded is None else cost.static_cost(folded, resolution)
    speed = latency.measure(model, resolution, runs, threads)
    activations = cost.activation_bytes(model, resolution)
    return ProfileRow(
        model=model_id,
        num_classes=num_classes,
        resolution=resolution,
        **asdict(static),
        weight_bytes=cost.weight_bytes(model),
        activation_bytes_per_image=activations,
        training_batch=TRAINING_BATCH,
        training_bytes=cost.training_bytes(model, activations, TRAINING_BATCH),
        deployed_params=None if folded_cost is None else folded_cost.params,
        deployed_macs=None if folded_cost is None else folded_cost.macs,
        latency_ms=_milliseconds(speed.latency_seconds),
        deployed_latency_ms=None if folded is None else _latency_ms(folded, resolution, runs, threads),
        latency_runs=speed.runs,
        images_per_second=round(speed.images_per_second, 1),
        images_per_second_batch=speed.batch,
        threads=speed.threads,
        cpu=latency.cpu_name(),
        torch=torch.__version__,
        **asdict(against_table1(model_id, static, num_classes, resolution)),
    )


def against_table1(model_id: str, static: Cost, num_classes: int, resolution: int) -> Published:
    """Return Table 1's figures and our differences from them; MACs only compare at the table's 224 px."""
    printed = {row.model: row for row in reference.costs()}.get(model_id)
    if printed is None:
        return Published()
    params = average_params(static, num_classes)
    macs = static.macs - printed.macs if resolution == 224 else None
    return Published(printed.params, params - printed.params, printed.macs, macs)


def average_params(static: Cost, num_classes: int) -> int:
    """Return the parameters averaged over the class counts of the paper's seven datasets, as its Table 1 gives them."""
    classes = [dataset.classes for dataset in reference.datasets()]
    per_class = (static.params - static.params_without_head) / num_classes
    return round(static.params_without_head + per_class * sum(classes) / len(classes))


def read_rows(path: Path) -> dict[Key, dict[str, str]]:
    """Return the rows of a cost file by (model, classes, resolution); raises `ModelError` if it is another table."""
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if list(reader.fieldnames or ()) != _columns():
            raise ModelError(
                f"{path} has other columns than a cost table of this version; move it away or use --output"
            )
        rows = list(reader)
    return {(row["model"], row["num_classes"], row["resolution"]): row for row in rows}


def key(row: ProfileRow) -> Key:
    """Return what a row is known by in a cost file: model, classes, resolution."""
    return (row.model, str(row.num_classes), str(row.resolution))


def add_row(path: Path, row: ProfileRow) -> None:
    """Write `row` into the cost file, in place of an older one of the same model, classes and resolution."""
    rows = read_rows(path)
    rows[key(row)] = {name: "" if value is None else str(value) for name, value in asdict(row).items()}
    write_rows(path, _columns(), rows.values())


def _columns() -> list[str]:
    return [column.name for column in fields(ProfileRow)]


def _latency_ms(model: nn.Module, resolution: int, runs: int, threads: int) -> float:
    return _milliseconds(latency.measure(model, resolution, runs, threads).latency_seconds)


def _milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 3)
