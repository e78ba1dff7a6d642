"""How often the verdicts on the paper's four datasets are right: grids simulated from worlds whose truth is known.

`worlds()` are matrices of true accuracies, Table 3 first: its columns under other names, so that the four are a subset
which agrees with the other datasets more or less; one order common to all datasets; a world in which the four are the
best by far; equal models; cells without any structure. A grid is drawn from a world by adding training noise to each
true accuracy and then the sampling of its test images (binomial, sizes of Table 2).

    python -m benchmarks.subset_claims [--grids 200] [--training 0 0.5 1]

prints, per world and training noise in points, how often each claim is supported and contradicted. `grids_of` is for
any other check of claims over the same worlds.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.scoring import Matrix, compute_scores
from mobilebench.scoring.correlation import HALF, relatedness_p
from mobilebench.scoring.subsets import members_of, subset_spearman
from mobilebench.studies.beyond_imagenet import evidence
from mobilebench.studies.beyond_imagenet import published as reference
from mobilebench.studies.beyond_imagenet.context import Context

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

TABLE = reference.matrix()
FOUR = np.array([name in reference.PAPER_FOUR for name in TABLE.datasets])
MEMBERS = members_of(TABLE, 4)
AT = int(np.flatnonzero((MEMBERS == FOUR).all(axis=1))[0])
CLAIMS = {"four_suffice": evidence.four_suffice, "best_four": evidence.best_four}


@dataclass(frozen=True, eq=False)
class World:
    """True accuracies, and what they say of the two claims."""

    name: str
    """What the world is like."""
    accuracy: Floats
    """True accuracies, [11, 7] fractions; [draws, 11, 7] where each grid has its own."""
    suffice: bool | None
    """Whether the four carry half the variance of the ranks on the others; None where models do not differ."""
    best: bool | None
    """Whether no other four do better; None where models do not differ."""
    alone: bool | None
    """Whether every other four do worse."""
    note: str = ""
    """The four's Spearman with the other datasets in truth, and its place."""


def world(name: str, accuracy: Floats) -> World:
    """Return a world with the truth of both claims."""
    rho = subset_spearman(accuracy, MEMBERS)
    better, equal = int((rho > rho[AT] + 1e-9).sum()), int((np.abs(rho - rho[AT]) < 1e-9).sum())
    note = f"{rho[AT]:.2f}, place {1 + better}" + (f" of {equal} tied" if equal > 1 else "")
    return World(name, accuracy, bool(rho[AT] >= HALF), better == 0, better == 0 and equal == 1, note)


def worlds(noises: int = 400) -> tuple[World, ...]:
    """Return every world; `noises` matrices of cells without structure."""
    rng = np.random.default_rng(0)
    table = TABLE.mean
    order = np.argsort(-subset_spearman(table, MEMBERS), kind="stable")
    quality = np.linspace(0, 1, len(table))[:, None]
    equal = np.broadcast_to(table.mean(axis=0), table.shape)
    unrelated = table.copy()
    unrelated[:, ~FOUR] = table[rng.permutation(len(table))][:, ~FOUR]
    return (
        world("Table 3", table),
        *(
            world(f"Table 3, the four are number {k + 1}", _relabelled(table, MEMBERS[order[k]]))
            for k in (0, 5, 10, 34)
        ),
        world("one order for all datasets", 0.4 + quality * np.linspace(0.3, 0.5, table.shape[1])),
        world("the four are best by far", _best_by_far()),
        world("the four and the others have two orders", _two_orders()),
        World("equal models", equal, None, None, None),
        World("cells without structure", rng.uniform(0.3, 0.9, (noises, *table.shape)), None, None, None),
    )


def grids_of(true: World, *, training: float, grids: int, seed: int = 1) -> Iterator[Matrix]:
    """Yield simulated single-run grids of a world; `training` is the sd of training noise in points."""
    rng = np.random.default_rng(seed)
    for number in range(grids):
        accuracy = true.accuracy if true.accuracy.ndim == 2 else true.accuracy[number % len(true.accuracy)]
        chance = np.clip(accuracy + rng.normal(0, training / 100, accuracy.shape), 0, 1)
        top1 = rng.binomial(TABLE.n_test, chance) / TABLE.n_test
        yield Matrix(TABLE.models, TABLE.datasets, (0,), top1[..., None], TABLE.n_test)


def rates(true: World, *, training: float, grids: int) -> dict[str, Counter[str]]:
    """Return how often each verdict falls on each claim, {claim: {verdict: grids}}."""
    found: dict[str, Counter[str]] = {name: Counter() for name in CLAIMS}
    for matrix in grids_of(true, training=training, grids=grids):
        context = Context(matrix, compute_scores(matrix, draws=2))
        for name, check in CLAIMS.items():
            found[name][check(context).verdict] += 1
    return found


def _relabelled(table: Floats, chosen: NDArray[np.bool_]) -> Floats:
    """Return the columns of a table under other names: those chosen become the four's."""
    moved = np.empty_like(table)
    moved[:, FOUR], moved[:, ~FOUR] = table[:, chosen], table[:, ~chosen]
    return moved


def _best_by_far() -> Floats:
    """Return accuracies whose deviations from one quality cancel within the four and within the others, only there."""
    rng = np.random.default_rng(3)
    quality = np.linspace(0, 1, len(TABLE.models))
    best, widest = np.zeros(TABLE.mean.shape), -1.0
    for _ in range(3000):
        u, v, w, t = rng.normal(0, 0.5, (4, len(quality)))
        columns = np.empty(TABLE.mean.shape)
        columns[:, FOUR] = (quality + np.stack([u, -u, v, -v])).T
        columns[:, ~FOUR] = (quality + np.stack([w, t, -w - t])).T
        low, high = columns.min(axis=0), columns.max(axis=0)
        columns = 0.3 + 0.5 * (columns - low.min()) / (high.max() - low.min())
        rho = subset_spearman(columns, MEMBERS)
        margin = float(rho[AT] - np.delete(rho, AT).max())
        if margin > widest and relatedness_p(columns) < 0.01:
            best, widest = columns, margin
    return best


def _two_orders() -> Floats:
    """Return accuracies with one order on the four and an unrelated one on the other datasets."""
    rng = np.random.default_rng(5)
    first, second = rng.permuted(np.tile(np.linspace(0, 1, len(TABLE.models)), (2, 1)), axis=1)
    orders: Floats = np.where(FOUR, first[:, None], second[:, None])
    return np.asarray(0.4 + np.linspace(0.3, 0.5, len(FOUR)) * orders)


def main() -> None:
    """Print the rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grids", type=int, default=200)
    parser.add_argument("--training", type=float, nargs="+", default=[0.0, 0.5, 1.0])
    given = parser.parse_args()
    print(f"{given.grids} grids each; supported / contradicted; the four's Spearman with the others in truth")
    for true in worlds():
        for training in given.training:
            found = rates(true, training=training, grids=given.grids)
            shares = (
                f"{name} {counts['supported'] / given.grids:.3f} / {counts['contradicted'] / given.grids:.3f}"
                for name, counts in found.items()
            )
            truth = f"true {true.suffice}, {true.best}" if true.suffice is not None else "no claim true"
            print(f"{true.name:42} {true.note:18} {truth:18} sd {training:3}: " + "  ".join(shares), flush=True)


if __name__ == "__main__":
    main()
