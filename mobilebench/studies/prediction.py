"""Whether ImageNet accuracy predicts the results that published studies print, each study by what it has.

Measured numbers do not enter: `mobilebench report` shows the same of a grid of one's own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mobilebench.datasets.registry import DATASETS
from mobilebench.scoring.beyond import Beyond, Rival, beyond, rival
from mobilebench.scoring.prediction import Association, Predictor, associations, of_counts
from mobilebench.studies.beyond_imagenet import published as small
from mobilebench.studies.real_world import published as real
from mobilebench.studies.which_backbone import published as backbones

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mobilebench.scoring.matrix import Matrix

IMAGENETTE = "imagenette"
# Four magnifications of the same samples: beside each other they would explain each other.
ONCE_MORE = ("breakhis_100", "breakhis_200", "breakhis_400")


@dataclass(frozen=True)
class StudyPrediction:
    """What one study says of the question."""

    study: str
    """Its id."""
    predictor: str
    """What predicts, as `ImageNet top-1`."""
    found: tuple[Association, ...]
    """One entry a dataset; () where the study prints no results of single models."""
    others: Beyond | None
    """What the other datasets explain beyond the predictor; None likewise."""
    rivals: tuple[Rival, ...]
    """Whether classes and train images of the datasets say where the predictor works; () likewise."""
    by_params: tuple[Association, ...]
    """The same as `found` with the logarithm of the parameters as predictor; () likewise."""
    printed: Mapping[str, float]
    """{dataset: correlation that the study prints itself}, of models that are not known here; without an interval."""
    note: str
    """What limits its numbers."""


def predictions() -> tuple[StudyPrediction, ...]:
    """Return what each study says: from scratch by Imagenette, fine-tuned by ImageNet, and single printed numbers."""
    whole = small.matrix()
    column = whole.mean[:, whole.datasets.index(IMAGENETTE)]
    imagenette = Predictor(
        "Imagenette top-1",
        {model: 100 * float(value) for model, value in zip(whole.models, column, strict=True)},
        images=int(whole.n_test[whole.datasets.index(IMAGENETTE)]),
    )
    rest = whole.select(datasets=[name for name in whole.datasets if name != IMAGENETTE])
    return (
        _of(
            "beyond_imagenet",
            rest,
            imagenette,
            {row.model: row.params for row in small.costs()},
            {row.dataset: (row.classes, row.train) for row in small.datasets()},
            "networks trained from scratch, single runs: the predictor is Imagenette, ten classes of ImageNet, not "
            "ImageNet",
        ),
        _of(
            "which_backbone",
            backbones.matrix(),
            Predictor("ImageNet top-1", backbones.imagenet_top1()),
            backbones.params(),
            {row.dataset: (row.classes, row.train) for row in backbones.datasets()},
            "pretrained networks, fine-tuned; each result is the best of three runs chosen on the test images; the "
            "ImageNet accuracy printed for resnet50 is of other weights than the released code loads; of BreakHis one "
            "magnification counts among the other datasets",
        ),
        StudyPrediction(
            "real_world",
            "ImageNet top-1",
            (),
            None,
            (),
            (),
            real.CORRELATIONS,
            "single correlations as a summary prints them, of an unstated number of models: no interval is possible",
        ),
    )


def domain_of(dataset: str) -> str:
    """Return the domain of a dataset's images; "" for one of no known domain."""
    return DATASETS[dataset].domain if dataset in DATASETS else ""


def _of(
    study: str,
    matrix: Matrix,
    predictor: Predictor,
    params: Mapping[str, int],
    sizes: Mapping[str, tuple[int, int]],
    note: str,
) -> StudyPrediction:
    """sizes: {dataset: (classes, train images)}."""
    found = associations(matrix, predictor)
    once = [each for each in found if each.dataset not in ONCE_MORE]
    apart = matrix.select(datasets=[each.dataset for each in once])
    return StudyPrediction(
        study,
        predictor.name,
        found,
        beyond(apart, predictor),
        tuple(
            rival(name, {dataset: math.log10(size[at]) for dataset, size in sizes.items()}, once)
            for at, name in enumerate(("log10 classes", "log10 train images"))
        ),
        associations(matrix, of_counts("parameters", params)),
        {},
        note,
    )
