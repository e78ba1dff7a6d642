"""What a probe found: pure functions on trials, no Optuna, no torch.

Every accuracy here is a validation accuracy at the last epoch, a fraction in [0, 1].
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.config.parsing import digest
from mobilebench.scoring.uncertainty import places_of
from mobilebench.scoring.xscore import ROUNDING, xscore
from mobilebench.search.space import SETTINGS
from mobilebench.search.trials import coordinates, ordered

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from mobilebench.config.sensitivity import Value
    from mobilebench.search.trials import State, TrialRow, Values

    Floats = NDArray[np.float64]

DRAWS = 100_000


@dataclass(frozen=True)
class Probe:
    """All trials of one model on one dataset, over the probed seeds.

    own: the protocol's value of every setting for this cell; common: the same without the protocol's overrides.
    """

    model: str
    dataset: str
    seeds: tuple[int, ...]
    own: Values
    common: Values
    n_train: int
    n_val: int
    trials: tuple[TrialRow, ...]

    @property
    def name(self) -> str:
        """`model on dataset`."""
        return f"{self.model} on {self.dataset}"

    def count(self, state: State) -> int:
        """Return how many trials are in a state."""
        return sum(trial.state == state for trial in self.trials)

    def accuracies(self) -> dict[str, Floats]:
        """Return the accuracy of each combination of settings, [seeds]; only those complete for every seed."""
        found: defaultdict[str, dict[int, float]] = defaultdict(dict)
        for trial in self.trials:
            if trial.state == "complete" and trial.val_top1 is not None:
                found[trial.key].setdefault(trial.seed, trial.val_top1)
        whole = {key: by_seed for key, by_seed in found.items() if set(by_seed) >= set(self.seeds)}
        return {key: np.array([by_seed[seed] for seed in self.seeds]) for key, by_seed in whole.items()}

    def values(self) -> dict[str, Values]:
        """Return the settings of each key."""
        return {trial.key: trial.values for trial in self.trials}

    def changed(self, key: str) -> str:
        """Return a combination in words: what differs from the protocol's, `as the protocol` if nothing does."""
        values = self.values()[key]
        words = [f"{name}={values[name]}" for name in values if values[name] != self.own.get(name)]
        return ", ".join(words) or "as the protocol"

    def varied(self) -> tuple[str, ...]:
        """Return the settings that more than one complete trial value was tried of."""
        done = [trial.values for trial in self.trials if trial.state == "complete"]
        return tuple(name for name in SETTINGS if len({values.get(name) for values in done}) > 1)


@dataclass(frozen=True)
class Regret:
    """What the protocol's setting costs one model on one dataset, as far as the probe can tell.

    All accuracies are fractions, means over seeds.
    """

    protocol: float
    """Accuracy of the protocol's own setting."""
    best: float
    """The highest accuracy found; the protocol's own setting is a candidate."""
    best_key: str
    """The combination that has it."""
    candidates: int
    """Combinations that have every seed, the protocol's own included."""
    seeds: int
    """Seeds behind each accuracy."""
    noise: tuple[float, float]
    """Mean and 95 % quantile of the gain that as many equally good settings would show by chance; of a single seed, by
    the choice of validation images alone, so that both are too low."""
    held_out: float | None
    """The gain on each seed of the setting chosen on the other seeds, averaged: free of the choice's bias. None for a
    single seed."""
    common: float | None
    """Accuracy at the protocol's settings without overrides, where those differ and were tried."""

    @property
    def gain(self) -> float:
        """Best minus protocol, a difference of fractions."""
        return self.best - self.protocol

    @property
    def beyond_noise(self) -> bool | None:
        """Whether the gain exceeds the 95 % quantile of noise.

        None where that cannot be said: of a single seed, and where all seeds agree to the last digit (accuracies of
        0 or 1, say), so that there is no noise to compare with.
        """
        return None if self.seeds == 1 or self.noise[1] <= ROUNDING else self.gain > self.noise[1]


def regret(probe: Probe) -> Regret | None:
    """Return the regret of the protocol's setting; None while that setting itself has no complete trial."""
    accuracies = probe.accuracies()
    own = digest(probe.own)
    if own not in accuracies or len(accuracies) < 2:
        return None
    keys = list(accuracies)
    table = np.stack([accuracies[key] for key in keys])
    means = table.mean(axis=1)
    center = keys.index(own)
    best = int(means.argmax()) if means.max() > means[center] + ROUNDING else center
    common = digest(probe.common)
    return Regret(
        protocol=float(means[center]),
        best=float(means[best]),
        best_key=keys[best],
        candidates=len(keys),
        seeds=table.shape[1],
        noise=noise_gain(len(keys), *deviation(table, probe.n_val, center)),
        held_out=_held_out(table, center),
        common=float(accuracies[common].mean()) if common != own and common in accuracies else None,
    )


def deviation(table: Floats, n_val: int, center: int) -> tuple[float, float]:
    """Return the standard deviation of one setting's mean accuracy and its degrees of freedom, from [settings, seeds].

    With several seeds: what settings and seeds together do not explain (two-way analysis of variance; a seed that
    lifts all settings alike changes no gain), over the root of the number of seeds, (settings - 1) (seeds - 1) degrees
    of freedom. With one: the binomial deviation of n_val images at the protocol's accuracy, taken as known; it leaves
    out what another seed would change.
    """
    settings, seeds = table.shape
    if seeds > 1:
        rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0, keepdims=True) + table.mean()
        freedom = (settings - 1) * (seeds - 1)
        sd = float(np.sqrt(np.square(rest).sum() / freedom / seeds))
        return sd if sd > ROUNDING else 0.0, float(freedom)
    p = float(table[center].mean())
    return float(np.sqrt(p * (1 - p) / n_val)), math.inf


def noise_gain(candidates: int, sd: float, freedom: float = math.inf) -> tuple[float, float]:
    """Return mean and 95 % quantile of max(x) - x_0 over `candidates` independent normals of deviation `sd`.

    The quantile allows for `sd` being an estimate with so many degrees of freedom: it is that of Dunnett's one-sided
    comparison of many settings with one (1955), a t quantile for two candidates. By Monte Carlo with a fixed seed.
    """
    mean, quantile = _standard_gain(candidates, freedom)
    return mean * sd, quantile * sd


@cache
def _standard_gain(candidates: int, freedom: float) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    draws = rng.standard_normal((DRAWS, candidates))
    gain = draws.max(axis=1) - draws[:, 0]
    scale = np.sqrt(rng.chisquare(freedom, DRAWS) / freedom) if math.isfinite(freedom) else 1.0
    return float(gain.mean()), float(np.quantile(gain / scale, 0.95))


def _held_out(table: Floats, center: int) -> float | None:
    seeds = table.shape[1]
    if seeds < 2:
        return None
    gains = []
    for seed in range(seeds):
        others = np.delete(table, seed, axis=1).mean(axis=1)
        chosen = int(others.argmax()) if others.max() > others[center] + ROUNDING else center
        gains.append(table[chosen, seed] - table[center, seed])
    return float(np.mean(gains))


@dataclass(frozen=True)
class SlicePoint:
    """One value of one setting, all others as in the protocol: mean and range over seeds."""

    value: Value
    mean: float
    low: float
    high: float
    is_protocol: bool


def slice_of(probe: Probe, setting: str) -> list[SlicePoint]:
    """Return the one-dimensional slice through the protocol's point along a setting, in the axis's order."""
    accuracies = probe.accuracies()
    rows = []
    for key, values in probe.values().items():
        rest = all(values[name] == own for name, own in probe.own.items() if name != setting)
        if rest and key in accuracies:
            found = accuracies[key]
            own = values[setting] == probe.own[setting]
            point = SlicePoint(values[setting], float(found.mean()), float(found.min()), float(found.max()), own)
            rows.append(point)
    tried = [row.value for row in rows]
    return sorted(rows, key=lambda row: SETTINGS[setting].coordinate(row.value, ordered(setting, tried)))


def over_seeds(trials: Sequence[TrialRow]) -> tuple[list[Values], list[float]]:
    """Return each combination of settings once, with its mean accuracy over the seeds that are complete.

    A forest must not see one combination under several seeds as several points: what it knows of one seed it would
    find again in another, left out of its bag or not.
    """
    found: dict[str, list[float]] = {}
    values: dict[str, Values] = {}
    for trial in trials:
        if trial.state == "complete" and trial.val_top1 is not None:
            found.setdefault(trial.key, []).append(trial.val_top1)
            values[trial.key] = trial.values
    return [values[key] for key in found], [float(np.mean(accuracies)) for accuracies in found.values()]


def forest_r2(rows: Sequence[Values], top1: Sequence[float], names: Sequence[str]) -> float:
    """Return the out-of-bag R^2 of such a forest: at 0 or below it explains nothing, and neither do its importances.

    One row a combination of settings (`over_seeds`). NaN where all accuracies are equal: there is nothing to explain.
    """
    from sklearn.ensemble import RandomForestRegressor

    if np.ptp(top1) <= ROUNDING:
        return math.nan
    forest = RandomForestRegressor(n_estimators=256, oob_score=True, random_state=0)
    forest.fit(coordinates(rows, names), np.asarray(top1))
    return float(forest.oob_score_)


@dataclass(frozen=True, eq=False)
class Ranking:
    """The probed models before and after: accuracies [M, D] under three choices of setting, and what follows.

    choices: `protocol`, `best per model` (one setting for all its datasets) and `best per cell`. ranks and scores are
    [M] per choice: mean-free xScore with anchors from the same M models, NaN where undefined.
    """

    models: tuple[str, ...]
    datasets: tuple[str, ...]
    accuracy: Mapping[str, Floats]
    score: Mapping[str, Floats]
    rank: Mapping[str, Floats]
    settings: Mapping[str, str]


def ranking(probes: Sequence[Probe], lam: float) -> Ranking | None:
    """Return how models rank under the protocol's and under their best settings; None without a full grid of 2 models.

    Only models and datasets whose every cell has a regret are taken: a gap would compare different datasets.
    """
    ready = {(p.model, p.dataset): p for p in probes if regret(p) is not None}
    datasets = tuple(dict.fromkeys(dataset for _, dataset in ready))
    models = tuple(m for m in dict.fromkeys(m for m, _ in ready) if all((m, d) in ready for d in datasets))
    if len(models) < 2:
        return None
    rows = {m: [ready[m, d] for d in datasets] for m in models}
    best = {m: _shared_best(rows[m]) for m in models}
    accuracy = {
        "protocol": _grid([[_mean(p, digest(p.own)) for p in rows[m]] for m in models]),
        "best per model": _grid([[_mean(p, best[m]) for p in rows[m]] for m in models]),
        "best per cell": _grid([[max(a.mean() for a in p.accuracies().values()) for p in rows[m]] for m in models]),
    }
    score = {name: xscore(values, lam=lam if len(datasets) > 1 else 0.0).score for name, values in accuracy.items()}
    settings = {m: rows[m][0].changed(best[m]) if best[m] else "as the protocol" for m in models}
    return Ranking(models, datasets, accuracy, score, {name: places_of(s) for name, s in score.items()}, settings)


def _shared_best(probes: Sequence[Probe]) -> str:
    """The key, tried on every dataset, with the highest mean accuracy; "" for the protocol's, also in a tie."""
    own = _grid([[_mean(p, digest(p.own)) for p in probes]]).mean()
    tables = [p.accuracies() for p in probes]
    shared = [key for key in tables[0] if all(key in table for table in tables)]
    means = {key: float(np.mean([table[key].mean() for table in tables])) for key in shared}
    top = max(means, key=lambda key: means[key], default="")
    return top if top and means[top] > own + ROUNDING else ""


def _mean(probe: Probe, key: str) -> float:
    return float(probe.accuracies()[key or digest(probe.own)].mean())


def _grid(rows: list[list[float]]) -> Floats:
    return np.array(rows, dtype=np.float64)
