"""Ways of making one ranking of many datasets: which model is best overall depends on which of them is meant.

All take results [..., M, D] of which the higher is the better (`Matrix.upward`) and return [..., M], higher is better
again; a model without a result on one of the datasets gets NaN. Ranks of equal results are their mean rank.

- `mean_result`: the mean over the datasets. Datasets on which models differ a lot decide; needs one metric.
- `mean_rank`: the mean over the datasets of the rank in each (with its sign turned). Every dataset counts alike, a lead
  of a tenth of a point as much as one of ten; a domain with many datasets counts more.
- `domain_mean`: the mean over the domains of the mean over the domain's datasets. Every domain counts alike.
- `domain_rank`: the mean over the domains of the rank in each by its mean result (with its sign turned).
- `top_3`: in how many domains the model is among the best three by the domain's mean result. Coarse: ties are frequent.
- `xscore`: the mean of results scaled by the extrema of each dataset, less lambda times their variance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.errors import UserError
from mobilebench.scoring.uncertainty import places_of, ranks_of
from mobilebench.scoring.xscore import anchors_from_matrix, combine, normalise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from mobilebench.scoring.matrix import Matrix

    Floats = NDArray[np.float64]

TOP = 3
TITLES = {
    "mean_result": "mean result over the datasets",
    "mean_rank": "mean rank over the datasets",
    "domain_mean": "mean over the domains of their mean result",
    "domain_rank": "mean over the domains of the rank in each",
    "top_3": "number of domains among whose best three it is",
    "xscore": "xScore",
}
OF_ONE_METRIC = ("mean_result", "domain_mean", "domain_rank", "top_3")  # results of several cannot be added
WITHIN_A_DOMAIN = ("mean_result", "mean_rank", "xscore")


@dataclass(frozen=True, eq=False)
class Aggregate:
    """The models under one way of aggregating."""

    id: str
    """Which way, a key of `TITLES`."""
    models: tuple[str, ...]
    """Ids of the models, [M]."""
    upward: Floats
    """[M], higher is better; NaN for a model without a result on one of the datasets."""

    @property
    def shown(self) -> Floats:
        """`upward` as a person reads it, [M]: a mean rank is positive, 1 = best."""
        return -self.upward if self.id in {"mean_rank", "domain_rank"} else self.upward

    @property
    def places(self) -> Floats:
        """Place of each model, [M], 1 = best; equal ones share the better place."""
        return places_of(np.round(self.upward, 12))

    def best(self, count: int = TOP) -> tuple[tuple[str, ...], ...]:
        """Return the models at the first places, equal ones together, until there are `count` of them or more."""
        found: list[tuple[str, ...]] = []
        for place in sorted({float(p) for p in self.places if np.isfinite(p)}):
            if sum(map(len, found)) >= count:
                break
            found.append(tuple(m for m, p in zip(self.models, self.places, strict=True) if p == place))
        return tuple(found)


def aggregated(values: Floats, domains: Sequence[str], way: str, *, lam: float = 0.5) -> Floats:
    """Return [..., M] of results [..., M, D], higher is better, under one way (a key of `TITLES`).

    domains: the domain of each dataset, [D]. Raises UserError for an unknown way.
    """
    if way == "mean_result":
        return np.asarray(values.mean(axis=-1))
    if way == "mean_rank":
        return np.asarray(-ranks(values).mean(axis=-1))
    if way == "xscore":
        return combine(normalise(values, anchors_from_matrix(values)), lam)[2]
    within = domain_means(values, domains)
    if way == "domain_mean":
        return np.asarray(within.mean(axis=-1))
    if way == "domain_rank":
        return np.asarray(-ranks(within).mean(axis=-1))
    if way == "top_3":
        places = np.swapaxes(places_of(np.swapaxes(np.round(within, 12), -1, -2)), -1, -2)
        return np.where(np.isnan(within).any(axis=-1), np.nan, (places <= TOP).sum(axis=-1))
    raise UserError(f"no way of aggregating is called {way!r}; there are {', '.join(TITLES)}")


def domain_means(values: Floats, domains: Sequence[str]) -> Floats:
    """Return [..., M, K] means over the datasets of each domain, in the order in which the domains come first."""
    names = np.array(domains)
    return np.stack([values[..., names == name].mean(axis=-1) for name in dict.fromkeys(domains)], axis=-1)


def overall(matrix: Matrix, domains: Mapping[str, str], *, lam: float = 0.5) -> tuple[Aggregate, ...]:
    """Return the models under each way that the matrix allows, over all its datasets that have a domain.

    domains: {dataset: its domain}. Of results by several metrics only ranks and xScore are left. Raises UserError where
    no dataset has a domain.
    """
    names = [name for name in matrix.datasets if domains.get(name)]
    if not names:
        raise UserError(f"none of {', '.join(matrix.datasets)} has a domain; there is nothing to aggregate by domain")
    part = matrix.select(datasets=names)
    ways = [way for way in TITLES if len(set(part.metrics)) == 1 or way not in OF_ONE_METRIC]
    labels = [domains[name] for name in names]
    return tuple(Aggregate(way, part.models, aggregated(part.upward, labels, way, lam=lam)) for way in ways)


def in_domains(matrix: Matrix, domains: Mapping[str, str], *, lam: float = 0.5) -> dict[str, tuple[Aggregate, ...]]:
    """Return {domain: the models under each way of aggregating its datasets alone}, of those in `WITHIN_A_DOMAIN`.

    A domain of one dataset has no xScore.
    """
    found: dict[str, tuple[Aggregate, ...]] = {}
    for domain in dict.fromkeys(domains[name] for name in matrix.datasets if domains.get(name)):
        part = matrix.select(datasets=[name for name in matrix.datasets if domains.get(name) == domain])
        ways = [way for way in WITHIN_A_DOMAIN if len(set(part.metrics)) == 1 or way not in OF_ONE_METRIC]
        if len(part.datasets) == 1:
            ways.remove("xscore")  # of one dataset there is no variance
        labels = [domain] * len(part.datasets)
        found[domain] = tuple(Aggregate(w, part.models, aggregated(part.upward, labels, w, lam=lam)) for w in ways)
    return found


def ranks(values: Floats) -> Floats:
    """Return ranks [..., M, D] of the models on each dataset of results, higher is better; 1 = best.

    Equal results, up to rounding, share the mean of their ranks.
    """
    return np.swapaxes(ranks_of(np.swapaxes(np.round(values, 12), -1, -2)), -1, -2)
