"""What a dataset is measured by: the direction, the bounds and the words of the metrics of a matrix's columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mobilebench.errors import UserError
from mobilebench.evaluation.metrics import get_metric

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mobilebench.evaluation.metrics import Metric

    Floats = NDArray[np.float64]

TOP1 = "top1"
SEVERAL = "metric per dataset"


def signs(metrics: Sequence[str]) -> Floats:
    """Return [D]: 1 where a higher value of the dataset's metric is better, -1 where a lower one is."""
    return np.array([1.0 if get_metric(name).higher_is_better else -1.0 for name in metrics])


def refusal(value: float, metric: Metric) -> str:
    """Say what is wrong with a value that is `Metric.outside`."""
    if metric.bounds == (0, 1):
        return f"{metric.title} {value:g} is not a fraction in [0, 1]; divide percent by 100"
    low, high = metric.bounds
    return f"{metric.title} {value:g} is not in [{low:g}, {high:g}]"


def check_values(values: Floats, metrics: Sequence[str]) -> None:
    """Raise UserError for a value of [..., M, D] that is no possible result of its dataset's metric."""
    for column, metric in enumerate(map(get_metric, metrics)):
        part = values[..., column]
        bad = part[metric.outside(part)]
        if bad.size:
            raise UserError(refusal(float(bad.flat[0]), metric))


def heading(metrics: Sequence[str]) -> str:
    """Name what a table of all datasets shows: the metric, with "%" where people see percent, or that it varies."""
    return title(get_metric(metrics[0])) if len(set(metrics)) == 1 else SEVERAL


def title(metric: Metric) -> str:
    """Return the name of a metric above a column of `Metric.show` values."""
    return f"{metric.title}, %" if metric.percent else metric.title


def dataset_heads(datasets: Sequence[str], metrics: Sequence[str]) -> tuple[str, ...]:
    """Return the datasets as column heads, each with its metric's id where a table holds several."""
    if len(set(metrics)) == 1:
        return tuple(datasets)
    return tuple(
        f"{name} ({metric}{', %' if get_metric(metric).percent else ''})"
        for name, metric in zip(datasets, metrics, strict=True)
    )


def short(metric: Metric, value: float, *, signed: bool = False) -> str:
    """Return a value with one digit less than `Metric.show`; "-" where it is undefined, + before a signed one above 0.

    For narrow places: the squares of a figure, the ends of an interval.
    """
    if not np.isfinite(value):
        return "-"
    return f"{100 * value if metric.percent else value:{'+' if signed else ''}.{1 if metric.percent else 3}f}"
