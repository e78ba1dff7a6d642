"""Which design choices go with a high xScore: architectural elements, cost, and the weight lambda.

Every function takes the scores of ONE matrix. The models are the sample, and a small one: chosen by hand, related by
descent, and differing in many elements at once. A difference here is an association among these networks, not the
effect of adding a block.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.scoring.uncertainty import places_of
from mobilebench.scoring.xscore import ROUNDING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from mobilebench.scoring.xscore import XScore

    Floats = NDArray[np.float64]


RELABELLINGS = 20_000


@dataclass(frozen=True)
class ElementEffect:
    """Mean xScore of the models that have an element minus that of the models that lack it."""

    element: str
    """Name of the element."""
    n_with: int
    """Models that have it."""
    n_without: int
    """Models that lack it."""
    effect: float
    """The difference of the two means."""
    p: float
    """Two-sided permutation p-value; NaN where all scores are equal, likewise below."""
    smallest_p: float
    """The smallest p-value that any outcome could have given with these group sizes."""
    p_holm: float
    """`p` corrected for all elements tested (Holm 1979)."""


def element_effects(
    models: Sequence[str],
    scores: Floats,
    elements: Mapping[str, Mapping[str, bool]],
    *,
    seed: int = 0,
) -> tuple[ElementEffect, ...]:
    """Return the effect of each element that some models have and some lack, largest first.

    Models without a score or not listed for an element are left out. The p-value is exact (every relabelling) up to
    20,000 relabellings, else from 20,000 drawn ones. Elements that all or none have are dropped.
    """
    tested = [
        (name, np.array([has[m] for m in models if m in has]), _scored(models, scores, has))
        for name, has in elements.items()
    ]  # fmt: skip
    found = []
    for name, flags, values in tested:
        known = ~np.isnan(values)
        mask, score = flags[known].astype(bool), values[known]
        if 0 < mask.sum() < mask.size:
            found.append((name, mask, score, _permutation_p(score, mask, seed)))
    corrected_p = holm([p for *_, (p, _) in found])
    effects = [
        ElementEffect(name, int(m.sum()), int((~m).sum()), float(s[m].mean() - s[~m].mean()), p, smallest, corrected)
        for (name, m, s, (p, smallest)), corrected in zip(found, corrected_p, strict=True)
    ]
    return tuple(sorted(effects, key=lambda e: -abs(e.effect)))


def pareto_front(cost: Floats, score: Floats) -> NDArray[np.bool_]:
    """Return [M] bools: no other model is at most as costly and at least as good, and better in one of the two."""
    cheaper = cost[None, :] <= cost[:, None]
    better = score[None, :] >= score[:, None] - ROUNDING
    strict = (cost[None, :] < cost[:, None]) | (score[None, :] > score[:, None] + ROUNDING)
    known = ~(np.isnan(cost) | np.isnan(score))
    return known & ~(cheaper & better & strict & known[None, :]).any(axis=1)


@dataclass(frozen=True, eq=False)
class LambdaSweep:
    """Scores and ranks [L, M] at each lambda of `lams` [L]."""

    lams: Floats
    scores: Floats
    ranks: Floats


@dataclass(frozen=True)
class Swap:
    """Above `lam` the model `after` stands over `before`; below it is the other way round."""

    lam: float
    before: str
    after: str


def lambda_sweep(result: XScore, steps: int = 101) -> LambdaSweep:
    """Return how scores and ranks move as lambda goes from 0 (accuracy alone) to 1."""
    lams = np.linspace(0, 1, steps)
    scores = result.g[None] - lams[:, None] * result.v[None]
    return LambdaSweep(lams, scores, places_of(np.round(scores, 12)))


def lambda_swaps(models: Sequence[str], result: XScore) -> tuple[Swap, ...]:
    """Return every pair that changes places between lambda 0 and 1, in order: lambda* = (G_i - G_j) / (V_i - V_j)."""
    swaps = []
    for i, j in itertools.permutations(range(len(models)), 2):
        ahead, spread = result.g[i] - result.g[j], result.v[i] - result.v[j]
        if ahead > ROUNDING and spread > ahead + ROUNDING:
            swaps.append(Swap(float(ahead / spread), models[i], models[j]))
    return tuple(sorted(swaps, key=lambda s: s.lam))


def _scored(models: Sequence[str], scores: Floats, has: Mapping[str, bool]) -> Floats:
    return np.array([s for m, s in zip(models, scores, strict=True) if m in has])


def _permutation_p(scores: Floats, mask: NDArray[np.bool_], seed: int) -> tuple[float, float]:
    """Two-sided p of the difference of means, and the smallest that any assignment of these scores could reach.

    Scipy's permutation_test refuses groups of one, and here several elements are one network's alone.
    """
    if np.ptp(scores) <= ROUNDING:
        return math.nan, math.nan
    picks = _relabellings(mask.size, int(mask.sum()), np.random.default_rng(seed))
    inside = scores[picks].mean(axis=1)
    outside = (scores.sum() - inside * picks.shape[1]) / (mask.size - picks.shape[1])
    null = np.abs(inside - outside)
    observed = abs(scores[mask].mean() - scores[~mask].mean())
    # Drawn relabellings count the observed one too (Phipson and Smyth 2010); the full list holds it already.
    extra = int(len(picks) < math.comb(mask.size, picks.shape[1]))
    reached, top = (null >= observed - 1e-12).sum(), (null >= null.max() - 1e-12).sum()
    return float((reached + extra) / (len(null) + extra)), float(top / len(null))


def _relabellings(size: int, group: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Every way to choose `group` of `size` models, [ways, group], or RELABELLINGS drawn ones where there are more."""
    if math.comb(size, group) <= RELABELLINGS:
        return np.array(list(itertools.combinations(range(size), group)), dtype=np.int64)
    return rng.permuted(np.tile(np.arange(size), (RELABELLINGS, 1)), axis=1)[:, :group]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979), in their order; NaN stays NaN."""
    order = [int(i) for i in np.argsort(p_values) if not math.isnan(p_values[i])]
    corrected = [math.nan] * len(p_values)
    running = 0.0
    for step, i in enumerate(order):
        running = max(running, min(1.0, (len(order) - step) * p_values[i]))
        corrected[i] = running
    return corrected
