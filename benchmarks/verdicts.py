"""How often a verdict on a claim is wrong, and how often it is right: simulations on known truths.

`python -m benchmarks.verdicts [--grids N] [--case NAME ...] [--claims NAME ...]`

Every claim of `check_claims` is held against grids measured on a truth (see `benchmarks.coverage`). Whether a claim is
true is read off the truth itself, by the claim's own test on accuracies without noise, unless the case settles it.
Printed for each claim: how often it was "supported" where it is false, "contradicted" where it is true, and the power:
how often it was "supported" where true, or "contradicted" where false. Where the models are equal, either is wrong.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.coverage import TABLE, World
from mobilebench.scoring import Matrix, compute_scores, xscore
from mobilebench.scoring.correlation import HALF, spearman
from mobilebench.scoring.xscore import Anchors, combine, normalise
from mobilebench.studies.beyond_imagenet import published
from mobilebench.studies.beyond_imagenet.claims import check_claims
from mobilebench.studies.beyond_imagenet.context import Context

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from mobilebench.studies.study import Verdict

    Floats = NDArray[np.float64]

Truth = tuple["NDArray[np.float64]", "Mapping[str, int]"]
"""True accuracies [M, D] (fractions), and the parameters of each model."""
NEITHER = "neither"
CLAIMS = ("leaders", "last", "imagenette", "four_suffice", "best_four", "transformers", "channel_attention", "params")

PARAMS = {row.model: row.params for row in published.costs()}
ELEMENTS = {
    **published.elements(),
    # Table 5 knows one network with transformer layers, with which the claim is not testable: two more are named.
    "layerwise_transformer": {m: m in {"mobilevit", "convnext", "fbnet"} for m in TABLE.models},
}


@dataclass(frozen=True)
class Case:
    """A truth, how it is measured, and what it settles about the claims."""

    truth: Callable[[np.random.Generator], Truth]
    """Draws a truth."""
    seeds: int = 1
    """Runs of each cell."""
    noise: float = 0.0
    """Standard deviation over training seeds in points."""
    settled: Mapping[str, bool | str] = field(default_factory=dict)
    """{claim: whether it is true, or NEITHER where neither support nor contradiction is right}; others follow from the
    truth."""


def table_3(_: np.random.Generator) -> Truth:
    """The published table."""
    return TABLE.mean, PARAMS


def equal(_: np.random.Generator) -> Truth:
    """Eleven models of equal accuracy on each dataset."""
    return np.tile(TABLE.mean.mean(axis=0), (len(TABLE.models), 1)), PARAMS


def shuffled(closer: float = 1.0) -> Callable[[np.random.Generator], Truth]:
    """The rows of the published table under other names, their distance from the mean multiplied by `closer`."""

    def draw(rng: np.random.Generator) -> Truth:
        mean = TABLE.mean.mean(axis=0)
        return mean + closer * (rng.permutation(TABLE.mean) - mean), PARAMS

    return draw


def barely(margin: float) -> Callable[[np.random.Generator], Truth]:
    """The published table, with convmixer's true score `margin` above the third, convnext's as far below the next."""
    row = TABLE.models.index
    top, low = row("convmixer"), row("convnext")
    others = [i for i in range(len(TABLE.models)) if i not in {top, row("efficientnet")}]
    above = [i for i in range(len(TABLE.models)) if i != low]
    truth = _moved(TABLE.mean, low, lambda score: score[low] - score[above].min() > -margin)
    truth = _moved(truth, top, lambda score: score[top] - score[others].max() > margin)
    return lambda _: (truth, PARAMS)


def _moved(truth: Floats, model: int, too_high: Callable[[Floats], bool]) -> Floats:
    """Add as many points to a model's accuracies on every dataset as it takes to be at the point of `too_high`."""
    low, high = -0.3, 0.3
    moved = truth.copy()
    for _ in range(40):
        middle = (low + high) / 2
        moved[model] = (truth[model] + middle).clip(0, 1)
        low, high = (low, middle) if too_high(xscore(moved).score) else (middle, high)
    return moved


def half_predicted(rng: np.random.Generator) -> Truth:
    """Eleven models of a population in which imagenette, and the parameters, carry exactly half (Spearman 0.71)."""
    imagenette, params = _at_half()
    truth, ability = _population(len(TABLE.models), imagenette, rng)
    size = params * ability + np.sqrt(1 - params**2) * rng.standard_normal(len(ability))
    return truth, {name: int(2e6 * np.exp(0.1 * s)) for name, s in zip(TABLE.models, size, strict=True)}


def _population(models: int, loading: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Accuracies around Table 3's means and spreads [models, D], and the common ability [models] behind them."""
    ability = rng.standard_normal(models)
    loadings = np.where([d == "imagenette" for d in TABLE.datasets], loading, np.sqrt(0.6))
    scaled = loadings * ability[:, None] + np.sqrt(1 - loadings**2) * rng.standard_normal((models, len(loadings)))
    return np.clip(TABLE.mean.mean(axis=0) + TABLE.mean.std(axis=0, ddof=1) * scaled, 0, 1), ability


@cache
def _at_half() -> tuple[float, float]:
    """Loadings of imagenette and of the parameters on ability that give a Spearman of HALF in the population."""
    found: list[float] = []
    for what in ("imagenette", "params"):
        low, high = 0.0, 1.0
        for _ in range(12):
            middle = (low + high) / 2
            rng = np.random.default_rng(0)
            truth, ability = _population(4000, middle if what == "imagenette" else (found[0] if found else 0.7), rng)
            # Anchors of grids of eleven models lie about 1.6 standard deviations from the mean.
            mean, spread = truth.mean(axis=0), truth.std(axis=0)
            scaled = normalise(truth, Anchors(mean - 1.6 * spread, mean + 1.6 * spread))
            own = TABLE.datasets.index("imagenette")
            if what == "imagenette":
                rho = spearman(truth[:, own], combine(np.delete(scaled, own, axis=1), 0.5)[2])
            else:
                size = middle * ability + np.sqrt(1 - middle**2) * rng.standard_normal(len(ability))
                rho = spearman(size, combine(scaled, 0.5)[2])
            low, high = (middle, high) if rho < HALF else (low, middle)
        found.append((low + high) / 2)
    return found[0], found[1]


ALL_EQUAL: Mapping[str, bool | str] = {**dict.fromkeys(CLAIMS, NEITHER), "imagenette": True, "params": True}
LABELS: Mapping[str, bool | str] = {
    "transformers": NEITHER,
    "channel_attention": NEITHER,
}  # elements have nothing to do with shuffled names
AT_HALF: Mapping[str, bool | str] = {**LABELS, "imagenette": NEITHER, "params": NEITHER}
CASES = {
    "equal, single runs": Case(equal, settled=ALL_EQUAL),
    "equal, single runs, noise 0.5": Case(equal, 1, 0.5, ALL_EQUAL),
    "equal, single runs, noise 1": Case(equal, 1, 1.0, ALL_EQUAL),
    "equal, 2 seeds, noise 0.5": Case(equal, 2, 0.5, ALL_EQUAL),
    "equal, 3 seeds, noise 1": Case(equal, 3, 1.0, ALL_EQUAL),
    "nearly equal, single runs": Case(shuffled(0.3), settled=LABELS),
    "nearly equal, 3 seeds, noise 0.5": Case(shuffled(0.3), 3, 0.5, LABELS),
    "shuffled, single runs, noise 0.5": Case(shuffled(), 1, 0.5, LABELS),
    "shuffled, 2 seeds, noise 0.5": Case(shuffled(), 2, 0.5, LABELS),
    "barely false, single runs": Case(barely(-0.002)),
    "barely false, single runs, noise 0.5": Case(barely(-0.002), 1, 0.5),
    "barely false, single runs, noise 1": Case(barely(-0.002), 1, 1.0),
    "barely false, 2 seeds, noise 0.5": Case(barely(-0.002), 2, 0.5),
    "barely true, single runs": Case(barely(0.002)),
    "barely true, single runs, noise 0.5": Case(barely(0.002), 1, 0.5),
    "barely true, 2 seeds, noise 0.5": Case(barely(0.002), 2, 0.5),
    "a half, single runs": Case(half_predicted, settled=AT_HALF),
    "a half, single runs, noise 0.5": Case(half_predicted, 1, 0.5, AT_HALF),
    "Table 3, single runs": Case(table_3),
    "Table 3, single runs, noise 0.5": Case(table_3, 1, 0.5),
    "Table 3, single runs, noise 1": Case(table_3, 1, 1.0),
    "Table 3, 2 seeds, noise 0.5": Case(table_3, 2, 0.5),
    "Table 3, 3 seeds, noise 0.5": Case(table_3, 3, 0.5),
}


@dataclass
class Rates:
    """What became of one claim in one case."""

    seen: Counter[tuple[bool | str, Verdict]] = field(default_factory=Counter)
    """(whether it is true, verdict): number of grids."""

    def wrong(self, verdict: Verdict) -> tuple[int, int]:
        """Return (times the verdict was wrong, times it could have been)."""
        against: set[bool | str] = {False, NEITHER} if verdict == "supported" else {True, NEITHER}
        chances = sum(n for (true, _), n in self.seen.items() if true in against)
        return sum(self.seen[true, verdict] for true in against), chances

    @property
    def right(self) -> tuple[int, int]:
        """Return (times it was supported where true or contradicted where false, times it could have been)."""
        chances = sum(n for (true, _), n in self.seen.items() if true != NEITHER)
        return self.seen[True, "supported"] + self.seen[False, "contradicted"], chances


def rates(
    case: Case, grids: int, *, only: Collection[str] | None = None, draws: int = 1000, seed: int = 1
) -> dict[str, Rates]:
    """Measure `grids` grids of a case and return what became of each claim."""
    rng = np.random.default_rng(seed)
    found: dict[str, Rates] = {}
    known: dict[bytes, dict[str, bool | str]] = {}
    world = World(lambda _: TABLE.mean, TABLE.n_test, Anchors(np.zeros(7), np.ones(7)), case.seeds, (case.noise,))
    for turn in range(grids):
        truth, params = case.truth(rng)
        key = truth.tobytes() + repr(params).encode()
        if key not in known:
            known[key] = _truths(truth, params, case.settled, only)
        matrix = world.matrix(truth, rng)
        verdicts = _verdicts(matrix, params, draws, turn, only)
        for name, verdict in verdicts.items():
            found.setdefault(name, Rates()).seen[known[key][name], verdict] += 1
    return found


def _verdicts(
    matrix: Matrix, params: Mapping[str, int], draws: int, seed: int, only: Collection[str] | None
) -> dict[str, Verdict]:
    scores = compute_scores(matrix, draws=draws, seed=seed)
    return {
        claim.name: claim.verdict for claim in check_claims(Context(matrix, scores, params, {}, ELEMENTS), only=only)
    }


def _truths(
    truth: Floats, params: Mapping[str, int], settled: Mapping[str, bool | str], only: Collection[str] | None
) -> dict[str, bool | str]:
    """Whether each claim is true, by its own test on accuracies that are all but without noise."""
    sizes = np.full(len(TABLE.datasets), 10**12)
    # Two seeds that agree: training noise is known to be none.
    matrix = Matrix(TABLE.models, TABLE.datasets, (0, 1), np.repeat(truth[..., None], 2, axis=2), sizes)
    side = {"supported": True, "leans for": True, "contradicted": False, "leans against": False}
    verdicts = _verdicts(matrix, params, 100, 0, only)
    return {name: settled.get(name, side.get(verdict, NEITHER)) for name, verdict in verdicts.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the rates, one table a case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grids", type=int, default=400, help="grids of each case")
    parser.add_argument("--case", choices=list(CASES), nargs="*", default=list(CASES))
    parser.add_argument("--claims", choices=CLAIMS, nargs="*", help="only these (some take long)")
    settings = parser.parse_args(arguments)
    print("| case | claim | supported, but false | contradicted, but true | power |", "|-|-|-|-|-|", sep="\n")
    for name in settings.case:
        for claim, found in rates(CASES[name], settings.grids, only=settings.claims).items():
            figures = (found.wrong("supported"), found.wrong("contradicted"), found.right)
            print(f"| {name} | {claim} | " + " | ".join(share(*f) for f in figures) + " |", flush=True)


def share(times: int, chances: int) -> str:
    """Return a share as percent with what it is of."""
    return f"{times / chances:.1%} of {chances}" if chances else "-"


if __name__ == "__main__":
    main()
