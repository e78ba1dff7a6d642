"""Everything a probe's report shows, computed from its trials once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mobilebench.scoring.xscore import ROUNDING
from mobilebench.search.studies import importances
from mobilebench.sensitivity.analysis import Probe, Ranking, Regret, forest_r2, over_seeds, ranking, regret
from mobilebench.sensitivity.cells import experiment_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from mobilebench.config.pixels import Resolution
    from mobilebench.config.suite import Suite

REFITS = 20
FEWEST = 10  # combinations of settings below which a forest over two or more settings is not worth fitting


@dataclass(frozen=True, eq=False)
class Importances:
    """fANOVA importances of one probe."""

    settings: tuple[str, ...]
    """The settings it varied."""
    values: NDArray[np.float64]
    """[refits, settings] shares of the variance."""
    combinations: int
    """Combinations of settings that the forest was fitted on, each the mean of its seeds."""
    r2: float
    """The forest's out-of-bag R^2; below about 0 the importances mean nothing."""


@dataclass(frozen=True, eq=False)
class Findings:
    """A probe's results; `regrets` and `importances` are by `Probe.name`, those that can be computed."""

    suite: str
    experiment: str
    protocol_hash: str
    epochs: int
    resolution: Resolution
    lam: float
    suite_models: int
    suite_datasets: int
    overridden: tuple[str, ...]
    probes: tuple[Probe, ...]
    regrets: Mapping[str, Regret]
    ranking: Ranking | None
    importances: Mapping[str, Importances] = field(default_factory=dict)


def findings(suite: Suite, probes: Sequence[Probe]) -> Findings:
    """Return what a report on these probes of a suite shows."""
    regrets = {probe.name: found for probe in probes if (found := regret(probe)) is not None}
    fitted = {probe.name: fit for probe in probes if (fit := importances_of(probe)) is not None}
    overrides = suite.protocol.overrides
    return Findings(
        suite=suite.suite,
        experiment=experiment_of(suite),
        protocol_hash=suite.protocol.hash,
        epochs=suite.protocol.total_epochs,
        resolution=suite.protocol.resolution,
        lam=suite.score.lam,
        suite_models=len(suite.models),
        suite_datasets=len(suite.datasets),
        overridden=tuple(sorted({model for override in overrides for model in override.models or ()})),
        probes=tuple(probes),
        regrets=regrets,
        ranking=ranking(probes, suite.score.lam),
        importances=fitted,
    )


def importances_of(probe: Probe) -> Importances | None:
    """Return the importances of the settings a probe varied.

    None for one setting, for too few combinations, and for equal accuracies, of which nothing is to be explained.
    """
    settings = probe.varied()
    rows, top1 = over_seeds(probe.trials)
    if len(settings) < 2 or len(rows) < FEWEST or max(top1) - min(top1) <= ROUNDING:
        return None
    values = importances(rows, top1, settings, REFITS)
    return Importances(settings, values, len(rows), forest_r2(rows, top1, settings))
