"""What the paper's claims are held against: its own tables, or a grid of the same models, and what could be true."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.errors import UserError
from mobilebench.scoring.matrix import Matrix
from mobilebench.scoring.subsets import complete
from mobilebench.scoring.uncertainty import TRAINING_NOISE, best_source, cell_noise, truths_behind
from mobilebench.studies.study import PUBLISHED, NotTestableError
from mobilebench.studies.which_backbone import published as reference
from mobilebench.studies.which_backbone.facts import WEIGHTS_TOP1

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from mobilebench.scoring.uncertainty import Noise
    from mobilebench.studies.study import AnchorsName

    Floats = NDArray[np.float64]

DRAWS = 2000
SAME = {"flowers102": "flowers102_trainval"}  # the released code trains on half of what the paper says
GROUPED = "_grouped"  # patients kept together; the paper has no such split
ASSUMED = (
    "single runs: a training noise of 1 point (standard deviation at an accuracy of one half, less towards 0 and 1) is "
    "assumed; more would make the verdict too sure"
)


@dataclass(frozen=True, eq=False)
class Context:
    """What the claims are held against."""

    matrix: Matrix
    """The results; datasets with fewer train images are called as in the suite which_backbone_low_data."""
    imagenet: Mapping[str, float]
    """{model: ImageNet-1k top-1 in percent}."""
    lam: float = 0.5
    """Weight lambda of the xScore."""
    remarks: tuple[str, ...] = ()
    """Sentences that limit every verdict on this matrix."""
    draws: int = DRAWS
    """Draws of the true results, resamples of the models and relabellings of them."""


@dataclass(frozen=True, eq=False)
class Drawn:
    """Results that could be true behind a matrix."""

    truths: Floats
    """[draws, M, D], higher is better."""
    noise: Noise
    """The noise that the matrix holds."""
    remarks: tuple[str, ...]
    """What is assumed."""


def load_context(source: str, *, lam: float = 0.5, anchors: AnchorsName = "grid") -> Context:
    """Return the context of `published`, of a results folder or of a CSV of cells.

    The ImageNet accuracies are Table 2's for the published matrix, and those of the weights for any other. Raises
    UserError for anchors of the paper, which has none.
    """
    if anchors == "paper":
        raise UserError("Which Backbone to Use has no xScore and no anchors; leave `--anchors paper` out")
    if source == PUBLISHED:
        said = (
            "every accuracy is the best of three runs, chosen on the test images, which no draw takes into account",
        )
        return Context(reference.whole(), reference.imagenet_top1(), lam, said)
    return Context(Matrix.from_csv(source), WEIGHTS_TOP1, lam)


def domain_of(dataset: str) -> str:
    """Return the paper's domain of a dataset, of any share of its train images; "" for one that it has not."""
    name = reference.split_fraction(dataset)[0].removesuffix(GROUPED)
    return _domains().get(SAME.get(name, name), "")


@cache
def _domains() -> Mapping[str, str]:
    return reference.domains()


def full(context: Context, domain: str = "") -> Matrix:
    """Return the paper's datasets with all train images, of one domain if given, and the models with every result.

    Raises NotTestableError where there is none.
    """
    known = [
        name
        for name in context.matrix.datasets
        if domain_of(name) and reference.split_fraction(name)[1] == 100 and domain in {"", domain_of(name)}
    ]
    if not known:
        raise NotTestableError(f"no {domain or 'such'} dataset of the paper among {', '.join(context.matrix.datasets)}")
    return complete(context.matrix.select(datasets=known))


def fractions(context: Context) -> tuple[Matrix, tuple[tuple[int, int, int], ...]]:
    """Return models with every result of the datasets that have less data too, and (full, less, percent) columns.

    Raises NotTestableError where no dataset of the paper is there with both all and fewer train images.
    """
    names = context.matrix.datasets
    pairs = [
        (base, name, percent)
        for name in names
        for base, percent in [reference.split_fraction(name)]
        if percent < 100 and base in names and domain_of(base)
    ]
    if not pairs:
        raise NotTestableError("no dataset of the paper is there both with all and with fewer train images")
    part = complete(context.matrix.select(datasets=list(dict.fromkeys(n for pair in pairs for n in pair[:2]))))
    at = part.datasets.index
    return part, tuple((at(base), at(name), percent) for base, name, percent in pairs)


def drawn(matrix: Matrix, draws: int = DRAWS) -> Drawn | None:
    """Return what could be true behind a matrix without absent cells, or None where the noise of a dataset is unknown.

    Single runs say nothing of training noise, and a verdict must not take it for zero: it is assumed.
    """
    source = best_source(matrix)
    if source not in {"test", "seeds+test"}:
        return None
    rng = np.random.default_rng(0)
    assumed = TRAINING_NOISE if source == "test" else 0.0
    noise = cell_noise(matrix, source=source, draws=draws, rng=rng, training_noise=assumed)
    return Drawn(truths_behind(matrix.upward, noise, rng), noise, (ASSUMED,) if assumed else ())


def rows_of(matrix: Matrix, models: Sequence[str]) -> list[int]:
    """Return the positions of these models; raises NotTestableError where one of them is not there."""
    if absent := [name for name in models if name not in matrix.models]:
        raise NotTestableError(f"no result of {', '.join(absent)} on every dataset that the claim is about")
    return [matrix.models.index(name) for name in models]
