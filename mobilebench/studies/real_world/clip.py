"""The tests behind the claims on CLIP, for grids with the models of the suite `real_world_clip`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilebench.scoring.ranking import value_intervals
from mobilebench.studies.real_world import ablation
from mobilebench.studies.real_world import published as reference
from mobilebench.studies.study import Evidence, NotTestableError

if TYPE_CHECKING:
    from mobilebench.studies.real_world.context import Context

LARGEST = "clip_vit_l14_336"
DATASET = "cct20"


def reaches(context: Context) -> Evidence:
    """Does the largest network surely reach the printed accuracy?"""
    matrix = context.matrix.select(datasets=[context.dataset(DATASET)])
    _require(LARGEST, matrix.models)
    if matrix.metrics != ("top1",):
        raise NotTestableError(f"{DATASET} is measured by {matrix.metrics[0]}; the claim is about top-1")
    value = float(matrix.mean[matrix.models.index(LARGEST), 0])
    if not value >= 0:
        raise NotTestableError(f"{LARGEST} has no result on {DATASET}")
    low, high = value_intervals(matrix, DATASET).ends[LARGEST]
    evidence, bound = Evidence(), reference.CLIP_CCT20
    evidence.note(f"{LARGEST} has {100 * value:.2f} % [{100 * low:.2f}, {100 * high:.2f}]", holds=value >= bound)
    if low > bound:
        return evidence.conclude("supported")
    return evidence.conclude("contradicted" if high < bound else "leans for" if value >= bound else "leans against")


def is_high(context: Context) -> Evidence:
    """Is the largest network better than the one that is best on ImageNet, over the datasets?"""
    models = context.matrix.models
    _require(LARGEST, models)
    others = {model: percent for model, percent in context.imagenet.items() if model in models and model != LARGEST}
    if not others:
        raise NotTestableError("no network of known ImageNet accuracy is there to hold CLIP against")
    best = max(others, key=others.__getitem__)
    return ablation.gains(((LARGEST, best),))(context)


def _require(model: str, models: tuple[str, ...]) -> None:
    if model not in models:
        raise NotTestableError(f"no {model} among the models; the suite real_world_clip has it")
