"""How models stand on the datasets of each domain: mean place, and mean result where one metric measures them all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.scoring.uncertainty import places_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from mobilebench.scoring.matrix import Matrix


@dataclass(frozen=True, eq=False)
class DomainStanding:
    """The models on the datasets of one domain."""

    domain: str
    """Its name."""
    datasets: tuple[str, ...]
    """The datasets, in the order of the matrix."""
    metric: str
    """Id of the metric of all of them; "" where they have several."""
    rank: NDArray[np.float64]
    """[M] mean over the datasets of the model's place, 1 = best; equal results share the better place. NaN for a model
    without a result on one of them."""
    value: NDArray[np.float64]
    """[M] mean result in the metric's unit; NaN likewise, and where there are several metrics."""


def by_domain(matrix: Matrix, domains: Mapping[str, str]) -> tuple[DomainStanding, ...]:
    """Return one standing per domain, in the order in which the matrix first has a dataset of it.

    domains: {dataset: its domain}; datasets that are not in it, or whose domain is "", are left out.
    """
    known = [domains.get(dataset, "") for dataset in matrix.datasets]
    places = places_of(np.round(matrix.upward, 12).T).T
    found = []
    for domain in dict.fromkeys(name for name in known if name):
        columns = [column for column, name in enumerate(known) if name == domain]
        metrics = {matrix.metrics[column] for column in columns}
        metric = metrics.pop() if len(metrics) == 1 else ""
        value = matrix.mean[:, columns].mean(axis=1) if metric else np.full(len(matrix.models), np.nan)
        names = tuple(matrix.datasets[column] for column in columns)
        found.append(DomainStanding(domain, names, metric, places[:, columns].mean(axis=1), value))
    return tuple(found)
