"""How well the result on one dataset, ImageNet's stand-in above all, predicts the cross-dataset score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mobilebench.errors import UserError
from mobilebench.scoring.correlation import Fit, fit
from mobilebench.scoring.subsets import complete
from mobilebench.scoring.xscore import xscore

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mobilebench.scoring.matrix import Matrix


@dataclass(frozen=True, eq=False)
class Proxy:
    """One dataset against the score of all datasets, and against the score of the other datasets only."""

    dataset: str
    """The dataset that stands in for the others."""
    models: tuple[str, ...]
    """The models with every cell, [M]."""
    values: NDArray[np.float64]
    """Their values on the dataset by its metric, [M]."""
    upward: NDArray[np.float64]
    """The same with the sign turned where a lower value is better, [M]: what the fits take."""
    score: NDArray[np.float64]
    """Their xScore over all datasets, [M]."""
    whole: Fit
    """`score` on `upward`. The dataset is itself a part of the whole score, which lifts this correlation."""
    rest: Fit | None
    """The xScore of the other datasets on `upward`, free of that lift; None below 3 datasets."""


def proxy_fit(matrix: Matrix, dataset: str, *, lam: float = 0.5) -> Proxy:
    """Fit the xScore on the values of one dataset, models as points; takes one matrix, resamples nothing.

    Models with an absent cell are left out. Raises UserError for fewer than 4 models or no spread.
    """
    whole = complete(matrix)
    own = whole.select(datasets=[dataset])
    upward = own.upward[:, 0]
    score = xscore(whole.mean, lam=lam, metrics=whole.metrics).score
    others = [name for name in whole.datasets if name != dataset]
    rest = None
    if len(others) > 1:
        part = whole.select(datasets=others)
        rest = fit(upward, xscore(part.mean, lam=lam, metrics=part.metrics).score)
    return Proxy(dataset, whole.models, own.mean[:, 0], upward, score, fit(upward, score), rest)


def all_proxies(matrix: Matrix, *, lam: float = 0.5) -> tuple[Proxy, ...]:
    """Return the proxy of every dataset, highest Spearman with the rest first; those without spread are left out."""
    found = []
    for dataset in matrix.datasets:
        try:
            found.append(proxy_fit(matrix, dataset, lam=lam))
        except UserError:
            continue  # a dataset on which all models agree cannot be a proxy
    return tuple(sorted(found, key=lambda p: -(p.rest or p.whole).rho))
