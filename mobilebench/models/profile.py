"""The full cost of a model as one row, with what a publication prints of it, and the file of such rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

import torch

from mobilebench import models
from mobilebench.config.pixels import shown
from mobilebench.models.checks import check
from mobilebench.models.cost import counts as cost
from mobilebench.models.cost import latency
from mobilebench.models.spec import ModelError
from mobilebench.system.files import read_csv, write_csv

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from pathlib import Path

    from torch import nn

    from mobilebench.config.pixels import Resolution
    from mobilebench.models.cost.cost_file import PrintedCost
    from mobilebench.models.cost.counts import Cost

TRAINING_BATCH = 64


@dataclass(frozen=True)
class PrintedDifference:
    """A publication's figures for a model, and ours minus them; None for a model that it does not have.

    A publication's MACs may come from a counter that adds normalisation and pooling: then ours lie up to 8 % below
    where both mean the same network.
    """

    published_params: int | None = None
    """Parameters as printed."""
    params_difference: int | None = None
    """Ours, averaged over the same class counts, minus `published_params`."""
    published_macs: int | None = None
    """Multiply-adds as printed."""
    macs_difference: int | None = None
    """Ours minus `published_macs`; None at another resolution than the printed one's."""


@dataclass(frozen=True)
class ProfileRow:
    """One row of results/cost.csv: what one model costs at one class count and resolution."""

    model: str
    """Id of the model."""
    num_classes: int
    """Class count of the network that was built."""
    resolution: str
    """Input size in px: 224, or 448x672 (height x width)."""
    params: int
    """Parameters."""
    params_trainable: int
    """Parameters that training changes."""
    params_without_head: int
    """Parameters without the last layer, which depends on the class count."""
    macs: int
    """Multiply-adds of one image."""
    weight_bytes: int
    """Bytes of the weights in fp32."""
    activation_bytes_per_image: int
    """Bytes of the activations that training keeps of one image."""
    training_batch: int
    """Batch size behind `training_bytes`."""
    training_bytes: int
    """Estimated bytes of training in fp32 with Adam."""
    deployed_params: int | None
    """Parameters with the training branches folded; None where there is nothing to fold."""
    deployed_macs: int | None
    """Multiply-adds with the training branches folded; None where there is nothing to fold."""
    latency_ms: float
    """Median milliseconds for one image."""
    deployed_latency_ms: float | None
    """The same with the training branches folded; None where there is nothing to fold."""
    latency_runs: int
    """Repetitions behind the medians."""
    images_per_second: float
    """Throughput in batches of `images_per_second_batch`."""
    images_per_second_batch: int
    """Batch size behind `images_per_second`."""
    threads: int
    """CPU threads while measuring."""
    cpu: str
    """Name of the processor."""
    torch: str
    """Version of torch."""
    published_params: int | None
    """See `PrintedDifference`."""
    params_difference: int | None
    """See `PrintedDifference`."""
    published_macs: int | None
    """See `PrintedDifference`."""
    macs_difference: int | None
    """See `PrintedDifference`."""


Key = tuple[str, str, str]


def profile(
    model_id: str, num_classes: int, resolution: Resolution, runs: int, threads: int, printed: PrintedCost | None = None
) -> ProfileRow:
    """Build a model, check it and return all that it costs, and how far that is from what a publication `printed`.

    Raises `ModelError` for a model that cannot be trained.
    """
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
        resolution=shown(resolution),
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
        **asdict(against_printed(static, num_classes, resolution, printed)),
    )


def against_printed(
    static: Cost, num_classes: int, resolution: Resolution, printed: PrintedCost | None
) -> PrintedDifference:
    """Return a publication's figures and our differences from them; MACs compare at its resolution only."""
    if printed is None:
        return PrintedDifference()
    params = average_params(static, num_classes, printed.class_counts)
    macs = static.macs - printed.macs if resolution == printed.resolution else None
    return PrintedDifference(printed.params, params - printed.params, printed.macs, macs)


def average_params(static: Cost, num_classes: int, class_counts: Sequence[int]) -> int:
    """Return the parameters averaged over heads of these class counts; `static` was counted with `num_classes`."""
    per_class = (static.params - static.params_without_head) / num_classes
    return round(static.params_without_head + per_class * sum(class_counts) / len(class_counts))


def read_rows(path: Path) -> dict[Key, dict[Hashable, str]]:
    """Return the rows of a cost file by (model, classes, resolution); raises `ModelError` if it is another table."""
    if not path.exists():
        return {}
    frame = read_csv(path)
    if list(frame.columns) != _columns():
        raise ModelError(f"{path} has other columns than a cost table of this version; move it away or use --output")
    return {(row["model"], row["num_classes"], row["resolution"]): row for row in frame.to_dict("records")}


def key(row: ProfileRow) -> Key:
    """Return what a row is known by in a cost file: model, classes, resolution."""
    return (row.model, str(row.num_classes), row.resolution)


def add_row(path: Path, row: ProfileRow) -> None:
    """Write `row` into the cost file, in place of an older one of the same model, classes and resolution."""
    import pandas as pd

    rows = read_rows(path)
    rows[key(row)] = {name: "" if value is None else str(value) for name, value in asdict(row).items()}
    write_csv(path, pd.DataFrame(list(rows.values()), columns=_columns()))


def _columns() -> list[str]:
    return [column.name for column in fields(ProfileRow)]


def _latency_ms(model: nn.Module, resolution: Resolution, runs: int, threads: int) -> float:
    return _milliseconds(latency.measure(model, resolution, runs, threads).latency_seconds)


def _milliseconds(seconds: float) -> float:
    return round(1000 * seconds, 3)
