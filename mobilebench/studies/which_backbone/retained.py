"""Do models keep their order when train images get fewer? Rank correlations, their intervals, and what noise does."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.scoring.correlation import HALF, spearman
from mobilebench.scoring.low_data import Retained, retained
from mobilebench.scoring.xscore import ROUNDING
from mobilebench.studies.study import Evidence, NotTestableError
from mobilebench.studies.which_backbone.context import DRAWS, drawn
from mobilebench.system.words import p_words

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mobilebench.scoring.matrix import Matrix
    from mobilebench.studies.study import Verdict

    Floats = NDArray[np.float64]

LEFT = 0.5  # of a correlation: where noise leaves less, orders that differ are no evidence
ENOUGH = 6  # models: of four or five, two orders that share half their variance agree wholly too often
TOP = 3


def expected_rho(models: int) -> float:
    """Return the mean Spearman correlation in samples of so many models where that of all models is `HALF`.

    Of normal results (Moran 1948): in small samples it is lower.
    """
    pearson = 2 * math.sin(math.pi * HALF / 6)
    within = math.asin(pearson) + (models - 2) * math.asin(pearson / 2)
    return 6 / (math.pi * (models + 1)) * within


def retention(part: Matrix, pairs: tuple[tuple[int, int, int], ...], draws: int = DRAWS) -> Evidence:
    """Return verdict and evidence; pairs: (column with all train images, column with fewer, percent)."""
    if len(part.models) < ENOUGH:
        raise NotTestableError(f"{len(part.models)} models have every result; {ENOUGH} are needed to compare orders")
    evidence, values = Evidence(), part.upward
    ordered = np.ptp(values, axis=0) > ROUNDING
    pairs = tuple((a, b, percent) for a, b, percent in pairs if ordered[a] and ordered[b])
    if not pairs:
        raise NotTestableError("all models are equal, with all or with fewer train images: there is no order to keep")
    for percent in sorted({pair[2] for pair in pairs}, reverse=True):
        of_share = [pair for pair in pairs if pair[2] == percent]
        found = _over(values, of_share, draws)
        names = ", ".join(f"{part.datasets[a]} {rho:.2f}" for (a, _, _), rho in zip(of_share, found.each, strict=True))
        evidence.note(
            f"{percent} % of the train images against all: mean Spearman {found.rho:.2f} [{found.low:.2f}, "
            f"{found.high:.2f}] by bootstrap over n = {len(values)} models, permutation p {p_words(found.p)}; {names}",
            holds=found.rho >= HALF,
        )
    kept, of = _top_kept(values, pairs)
    evidence.note(
        f"of the best {TOP} with all train images {kept} of {of} are among the best {TOP} with fewer; by chance "
        f"{of * TOP / len(values):.1f} would be",
        holds=2 * kept >= of,
    )
    whole = _over(values, list(pairs), draws)
    left, remarks = _left_by_noise(part, pairs, draws)
    # The wider of the percentile and the basic bootstrap: of a mean over datasets each alone errs on one side.
    low, high = (
        max(-1.0, min(whole.low, 2 * whole.rho - whole.high)),
        min(1.0, max(whole.high, 2 * whole.rho - whole.low)),
    )
    least = expected_rho(len(values)) * left
    evidence.note(
        f"over all {len(pairs)} pairs of columns mean Spearman {whole.rho:.2f} [{low:.2f}, {high:.2f}] (the wider of "
        f"two bootstraps), permutation p {p_words(whole.p)}; few models and noise would leave {least:.2f} of "
        f"{HALF:.2f}",
        holds=whole.rho >= least,
    )
    verdict: Verdict = "leans for" if whole.rho >= least else "leans against"
    if low >= HALF:
        verdict = "supported"
    elif high < least and left >= LEFT:
        verdict = "contradicted"
    return evidence.conclude(verdict, *remarks)


def _over(values: Floats, pairs: list[tuple[int, int, int]], draws: int) -> Retained:
    return retained(values[:, [a for a, _, _ in pairs]], values[:, [b for _, b, _ in pairs]], draws=draws)


def _top_kept(values: Floats, pairs: tuple[tuple[int, int, int], ...]) -> tuple[int, int]:
    """Count the best with all images that are among the best with fewer, and how many there are."""
    kept = 0
    for above, below, _ in pairs:
        first, then = (set(np.argsort(-values[:, k], kind="stable")[:TOP].tolist()) for k in (above, below))
        kept += len(first & then)
    return kept, TOP * len(pairs)


def _left_by_noise(part: Matrix, pairs: tuple[tuple[int, int, int], ...], draws: int) -> tuple[float, tuple[str, ...]]:
    """Return which part of a true rank correlation noise leaves on average; 1 where the noise is not known."""
    found = drawn(part, draws)
    if found is None:
        return 1.0, ("the noise over test images is unknown; it makes orders agree less than they truly do",)
    noisy = found.truths + found.noise.draw(np.random.default_rng(1))
    agreed = spearman(np.swapaxes(found.truths, 1, 2), np.swapaxes(noisy, 1, 2))
    kept = np.where(np.isnan(agreed), 0.0, agreed).mean(axis=0)
    both = float(np.mean([kept[a] * kept[b] for a, b, _ in pairs]))
    return both, (
        "noise makes orders agree less than they truly do, above all on datasets on which all models are nearly equal",
        *found.remarks,
    )
