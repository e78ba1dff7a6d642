"""The tests behind the claims on augmentation, for grids with the models of the suite `real_world_augmentation`.

The datasets are the sample: each gives one difference between two networks in points (a kappa of 0.8 is 80), and the
mean difference has Student's interval over datasets, which holds the noise of measuring too.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.studies.study import Evidence, NotTestableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mobilebench.scoring.matrix import Matrix
    from mobilebench.studies.real_world.context import Context
    from mobilebench.studies.study import Verdict

FEWEST_DATASETS = 4
LITTLE = 0.5  # points: a gain of less is none
RESNETS = ("resnet50_plain", "resnet50_randaugment", "resnet50_augmix", "resnet50_both")
Pairs = tuple[tuple[str, str], ...]  # (with, without)
FINE_TUNED: Pairs = tuple((f"{name}_ra", name) for name in RESNETS)
DEIT: Pairs = (("deit_small_ra", "deit_small"),)
PRETRAINED: Pairs = (("resnet50_randaugment", "resnet50_plain"),)
AUGMIX: Pairs = (("resnet50_augmix", "resnet50_plain"),)


def gains(pairs: Pairs) -> Callable[[Context], Evidence]:
    """Return the test of "the first of each pair is better than the second"."""

    def test(context: Context) -> Evidence:
        evidence, (low, mean, high) = _measured(context, pairs, wanted=True)
        if low > 0:
            return evidence.conclude("supported")
        return evidence.conclude("contradicted" if high < 0 else "leans for" if mean > 0 else "leans against")

    return test


def gains_little(pairs: Pairs) -> Callable[[Context], Evidence]:
    """Return the test of "the first of each pair is hardly better than the second"."""

    def test(context: Context) -> Evidence:
        evidence, (low, mean, high) = _measured(context, pairs, wanted=False)
        verdict: Verdict = "leans for" if mean < LITTLE else "leans against"
        if high < LITTLE or low >= LITTLE:
            verdict = "supported" if high < LITTLE else "contradicted"
        return evidence.conclude(verdict)

    return test


def _measured(context: Context, pairs: Pairs, *, wanted: bool) -> tuple[Evidence, tuple[float, float, float]]:
    """Return the differences as evidence for (or, where not wanted, against) a gain, and low, mean and high of all."""
    from scipy import stats

    matrix = context.real_world
    if absent := [name for pair in pairs for name in pair if name not in matrix.models]:
        raise NotTestableError(f"no {', '.join(absent)} among the models; the suite real_world_augmentation has them")
    found = _differences(matrix, pairs)
    values = np.array(list(found.values()))
    if len(values) < FEWEST_DATASETS:
        raise NotTestableError(f"{len(values)} datasets have both networks; {FEWEST_DATASETS} are needed")
    mean, error = float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))
    half = float(stats.t.ppf(0.975, len(values) - 1)) * error
    bound, evidence = 0.0 if wanted else LITTLE, Evidence()
    evidence.note(
        f"mean over {len(values)} datasets {mean:+.2f} points [{mean - half:+.2f}, {mean + half:+.2f}]",
        holds=(mean > bound) == wanted,
    )
    for dataset, value in found.items():
        evidence.note(f"{dataset}: {value:+.2f} points", holds=(value > bound) == wanted)
    return evidence, (mean - half, mean, mean + half)


def _differences(matrix: Matrix, pairs: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Return {dataset: mean difference in points} of the datasets that all pairs have."""
    row = matrix.models.index
    values = np.array([matrix.upward[row(better)] - matrix.upward[row(other)] for better, other in pairs]).mean(axis=0)
    return {
        name: 100 * float(value) for name, value in zip(matrix.datasets, values, strict=True) if math.isfinite(value)
    }
