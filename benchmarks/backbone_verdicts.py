"""How often a verdict on a claim of Which Backbone to Use is wrong, and how often it is right: grids of known truth.

`python -m benchmarks.backbone_verdicts [--grids N] [--case NAME ...] [--claims NAME ...]`

Grids have the models, datasets, shares of the train images and numbers of test images of its Tables 4 to 8. Read the
columns as those of `benchmarks.verdicts`. Where a claim is about the models as a sample (ImageNet accuracy, orders that
stay, transformers), its truth is settled by how the truth was drawn; elsewhere by the claim's own test without noise.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.verdicts import NEITHER, Rates, share
from mobilebench.scoring import Matrix
from mobilebench.scoring.aggregation import ranks
from mobilebench.scoring.correlation import HALF, spearman
from mobilebench.studies.which_backbone import published
from mobilebench.studies.which_backbone.claims import CLAIMS, check_claims
from mobilebench.studies.which_backbone.context import Context, domain_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from mobilebench.studies.study import Verdict

    Floats = NDArray[np.float64]

TABLE = published.whole()
TRUTH = TABLE.values[:, :, 0]
IMAGENET = published.imagenet_top1()
SHARES = tuple(published.split_fraction(name) for name in TABLE.datasets)
Drawn = tuple["NDArray[np.float64]", "Mapping[str, float]"]
"""True accuracies [M, D] (fractions), and the ImageNet accuracy of each model in percent."""


@dataclass(frozen=True)
class Case:
    """A truth, how it is measured, and what it settles about the claims."""

    truth: Callable[[np.random.Generator], Drawn]
    """Draws a truth."""
    seeds: int = 1
    """Runs of each cell."""
    noise: float = 0.0
    """Standard deviation over training seeds in points at an accuracy of one half, less towards 0 and 1."""
    settled: Mapping[str, bool | str] = field(default_factory=dict)
    """{claim: whether it is true, or NEITHER where neither support nor contradiction is right}; others follow from the
    truth."""


def printed(_: np.random.Generator) -> Drawn:
    """The published tables."""
    return TRUTH, IMAGENET


def equal(_: np.random.Generator) -> Drawn:
    """Eleven models of equal accuracy on each dataset."""
    return np.tile(TRUTH.mean(axis=0), (len(TRUTH), 1)), IMAGENET


def renamed(closer: float = 1.0) -> Callable[[np.random.Generator], Drawn]:
    """The rows of the tables under other names, their distance from the mean multiplied by `closer`."""

    def draw(rng: np.random.Generator) -> Drawn:
        mean = TRUTH.mean(axis=0)
        return mean + closer * (rng.permutation(TRUTH) - mean), IMAGENET

    return draw


def unrelated(rng: np.random.Generator) -> Drawn:
    """Every column of the tables in an order of its own."""
    return rng.permuted(TRUTH, axis=0), IMAGENET


def twins(_: np.random.Generator) -> Drawn:
    """The tables, where each model that a claim names has a twin: equal on every dataset that the claim is about."""
    truth, row = TRUTH.copy(), TABLE.models.index
    of = {domain: [d for d, name in enumerate(TABLE.datasets) if domain_of(name) == domain] for domain in
          ("natural", "astronomy", "medical")}  # fmt: skip
    truth[row("mobilenet_v3_large")] = truth[row("shufflenet_v2_x2_0")]
    truth[row("efficientnet_v2_s")] = truth[row("convnext_tiny")]
    for model, twin, domain in (
        ("wavemix", "regnet_y_3_2gf", "astronomy"),
        ("convnext_tiny", "densenet161", "medical"),
    ):
        truth[row(twin), of[domain]] = truth[row(model), of[domain]]
    truth[row("efficientnet_v2_s"), of["medical"]] = TRUTH[row("efficientnet_v2_s"), of["medical"]]
    return truth, IMAGENET


def half_kept(rng: np.random.Generator) -> Drawn:
    """Models of a population in which ImageNet, and each order with all images, carry exactly half (Spearman 0.71)."""
    truth, top1 = _population(len(TRUTH), _loading(), rng)
    return truth, dict(zip(TABLE.models, map(float, top1), strict=True))


def _population(models: int, loading: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Accuracies around the tables' means and spreads [models, D], and an ImageNet accuracy with `loading`."""
    ability = rng.standard_normal(models)
    latent = {}
    found = np.empty((models, len(SHARES)))
    link = 2 * np.sin(np.pi * HALF / 6)  # Pearson's correlation of normal numbers whose Spearman is HALF
    for k, (dataset, percent) in enumerate(SHARES):
        own = np.sqrt(0.6) * ability + np.sqrt(0.4) * rng.standard_normal(models)
        if percent == 100:
            latent[dataset] = own
        else:
            # What all shares of a dataset have in common carries half; the rest is each one's own.
            own = link * latent[dataset] + np.sqrt(1 - link**2) * rng.standard_normal(models)
        found[:, k] = own
    spread = np.minimum(TRUTH.std(axis=0, ddof=1), (1 - TRUTH.mean(axis=0)) / 3)
    top1 = loading * ability + np.sqrt(1 - loading**2) * rng.standard_normal(models)
    return np.clip(TRUTH.mean(axis=0) + spread * found, 0, 1), top1


@cache
def _loading() -> float:
    """Loading of the ImageNet accuracy on ability that gives a Spearman of HALF with the mean rank."""
    full = [k for k, (_, percent) in enumerate(SHARES) if percent == 100]
    low, high = 0.0, 1.0
    for _ in range(12):
        middle = (low + high) / 2
        rho = []
        for seed in range(16):
            truth, top1 = _population(500, middle, np.random.default_rng(seed))
            rho.append(spearman(top1, -ranks(truth[:, full]).mean(axis=1)))
        low, high = (middle, high) if np.mean(rho) < HALF else (low, middle)
    return (low + high) / 2


LABELS: Mapping[str, bool | str] = {"low_data": NEITHER, "low_data_loss": NEITHER}  # names mean nothing there
NO_EFFECT: Mapping[str, bool | str] = {**dict.fromkeys(CLAIMS, NEITHER), "imagenet": True}
NO_ORDER: Mapping[str, bool | str] = {**LABELS, "imagenet": True, "stay_on_top": False}
RENAMED: Mapping[str, bool | str] = {**LABELS, "imagenet": True}
TWINS: Mapping[str, bool | str] = dict.fromkeys(("natural", "astronomy", "lighter", "medical", "overall"), NEITHER)
CASES = {
    "equal, single runs": Case(equal, settled=NO_EFFECT),
    "equal, single runs, noise 1": Case(equal, 1, 1.0, NO_EFFECT),
    "equal, 3 seeds, noise 1": Case(equal, 3, 1.0, NO_EFFECT),
    "unrelated, single runs, noise 0.5": Case(unrelated, 1, 0.5, NO_ORDER),
    "renamed, single runs, noise 0.5": Case(renamed(), 1, 0.5, RENAMED),
    "nearly equal, single runs, noise 0.5": Case(renamed(0.3), 1, 0.5, RENAMED),
    "nearly equal, 3 seeds, noise 0.5": Case(renamed(0.3), 3, 0.5, RENAMED),
    "twins, single runs": Case(twins, settled=TWINS),
    "twins, single runs, noise 1": Case(twins, 1, 1.0, TWINS),
    "twins, 3 seeds, noise 0.5": Case(twins, 3, 0.5, TWINS),
    "a half, single runs, noise 0.5": Case(half_kept, 1, 0.5, {**LABELS, "imagenet": NEITHER, "stay_on_top": NEITHER}),
    "tables, single runs, noise 0.5": Case(printed, 1, 0.5),
    "tables, single runs, noise 1": Case(printed, 1, 1.0),
    "tables, 3 seeds, noise 0.5": Case(printed, 3, 0.5),
}


def measured(truth: Floats, case: Case, rng: np.random.Generator) -> Matrix:
    """Measure one grid: each run is tested on all test images, and training moves its true accuracy."""
    spread = 2 * np.sqrt(truth * (1 - truth)) * case.noise / 100
    shape = (*truth.shape, case.seeds)
    trained = (truth[..., None] + spread[..., None] * rng.standard_normal(shape)).clip(0, 1)
    # The images are the same for all runs: what they do to one they do to the others.
    images = rng.binomial(TABLE.n_test, truth) / TABLE.n_test - truth
    values = (trained + images[..., None]).clip(0, 1)
    return Matrix(TABLE.models, TABLE.datasets, tuple(range(case.seeds)), values, TABLE.n_test)


def rates(
    case: Case, grids: int, *, only: Collection[str] | None = None, draws: int = 400, seed: int = 1
) -> dict[str, Rates]:
    """Measure `grids` grids of a case and return what became of each claim."""
    rng = np.random.default_rng(seed)
    found: dict[str, Rates] = {}
    known: dict[bytes, dict[str, bool | str]] = {}
    for _ in range(grids):
        truth, top1 = case.truth(rng)
        key = truth.tobytes()
        if key not in known:
            known[key] = _truths(truth, top1, case.settled, only)
        verdicts = _verdicts(measured(truth, case, rng), top1, draws, only)
        for name, verdict in verdicts.items():
            found.setdefault(name, Rates()).seen[known[key][name], verdict] += 1
    return found


def _verdicts(
    matrix: Matrix, top1: Mapping[str, float], draws: int, only: Collection[str] | None
) -> dict[str, Verdict]:
    return {claim.name: claim.verdict for claim in check_claims(Context(matrix, top1, draws=draws), only=only)}


def _truths(
    truth: Floats, top1: Mapping[str, float], settled: Mapping[str, bool | str], only: Collection[str] | None
) -> dict[str, bool | str]:
    """Whether each claim is true, by its own test on accuracies that are all but without noise."""
    # Two seeds that agree: training noise is known to be none.
    values = np.repeat(truth[..., None], 2, axis=2)
    matrix = Matrix(TABLE.models, TABLE.datasets, (0, 1), values, np.full(len(TABLE.datasets), 10**12))
    side = {"supported": True, "leans for": True, "contradicted": False, "leans against": False}
    verdicts = _verdicts(matrix, top1, 50, only)
    return {name: settled.get(name, side.get(verdict, NEITHER)) for name, verdict in verdicts.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the rates, one table a case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grids", type=int, default=200, help="grids of each case")
    parser.add_argument("--case", choices=list(CASES), nargs="*", default=list(CASES))
    parser.add_argument("--claims", choices=CLAIMS, nargs="*", help="only these")
    settings = parser.parse_args(arguments)
    print("| case | claim | supported, but false | contradicted, but true | power |", "|-|-|-|-|-|", sep="\n")
    for name in settings.case:
        for claim, found in rates(CASES[name], settings.grids, only=settings.claims).items():
            figures = (found.wrong("supported"), found.wrong("contradicted"), found.right)
            print(f"| {name} | {claim} | " + " | ".join(share(*f) for f in figures) + " |", flush=True)


if __name__ == "__main__":
    main()
