"""The tests behind the claims: each returns a verdict and the evidence for and against, from one matrix."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.evaluation.metrics import get_metric
from mobilebench.scoring.beyond import beyond, rival
from mobilebench.scoring.correlation import HALF
from mobilebench.scoring.prediction import FEWEST, LEVEL, THRESHOLD, Predictor, associations, of_counts
from mobilebench.scoring.ranking import value_intervals
from mobilebench.studies.real_world import published as reference
from mobilebench.studies.study import Evidence, NotTestableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mobilebench.scoring.prediction import Association, Estimate
    from mobilebench.studies.real_world.context import Context
    from mobilebench.studies.study import Verdict

VGG = 71.586  # ImageNet top-1 of torchvision's vgg13_bn, percent
NEAR_ZERO = 0.1  # points for a point on ImageNet


def not_consistent(context: Context) -> Evidence:
    """Is there a dataset on which ImageNet accuracy surely does not predict the results?"""
    found, evidence = _associations(context), Evidence()
    for each in found:
        evidence.note(f"{_text(each)}: {each.verdict}", holds=each.r.value < HALF)
    # One of many datasets is soon found by chance.
    corrected = associations(context.real_world, context.predictor, level=1 - (1 - LEVEL) / len(found))
    if any(each.verdict == "does not predict" for each in corrected):
        return evidence.conclude("supported", *_above(context))
    if all(each.verdict == "predicts" for each in found):
        return evidence.conclude("contradicted", *_above(context))
    return evidence.conclude("leans for" if evidence.pro else "leans against", *_above(context))


def trend(dataset: str) -> Callable[[Context], Evidence]:
    """Return the test of "results on this dataset rise with ImageNet accuracy"."""

    def test(context: Context) -> Evidence:
        found, evidence = _one(context, dataset), Evidence()
        evidence.note(_text(found), holds=found.r.value > 0)
        return evidence.conclude(_side(found.r, 0.0), *_above(context, found.dataset))

    return test


def aptos_flat(context: Context) -> Evidence:
    """Does the line rise by less than augmentation gives, over the models from VGG on?"""
    name = context.dataset("aptos2019")
    later = Predictor("ImageNet top-1", {m: v for m, v in context.imagenet.items() if v >= VGG - 0.01})
    (found,) = associations(context.matrix.select(datasets=[name]), later)
    _require(found)
    known = [later.values[model] for model in found.models]
    reach = max(known) - min(known)
    low, value, high = (reach * end for end in (found.slope.low, found.slope.value, found.slope.high))
    evidence, least = Evidence(), reference.APTOS_GAIN
    evidence.note(
        f"from {min(known):.1f} to {max(known):.1f} % on ImageNet the line gains {value:+.3f} [{low:+.3f}, "
        f"{high:+.3f}] of {found.metric}, n = {found.n}",
        holds=value < least,
    )
    verdict = "supported" if high < least else "contradicted" if low >= least else _leaning(holds=value < least)
    return evidence.conclude(verdict)


def melanoma_weak(context: Context) -> Evidence:
    """Does the correlation lie between none and half the variance?"""
    found, evidence = _one(context, "melanoma"), Evidence()
    weak = 0 < found.r.value < HALF
    evidence.note(f"{_text(found)}; the study prints {reference.CORRELATIONS['melanoma']}", holds=weak)
    if found.r.low > 0 and found.true_high < HALF:
        verdict: Verdict = "supported"
    elif found.r.low >= HALF or found.r.high < 0:
        verdict = "contradicted"
    else:
        verdict = _leaning(holds=weak)
    return evidence.conclude(verdict, *_above(context, found.dataset))


def cassava_flat(context: Context) -> Evidence:
    """Is the normalised slope near zero?"""
    found, evidence = _one(context, "cassava"), Evidence()
    slope = found.normalised
    evidence.note(
        f"{slope.value:+.3f} points for a point on ImageNet [{slope.low:+.3f}, {slope.high:+.3f}], n = {found.n}; the "
        f"study prints {reference.CASSAVA_SLOPE}",
        holds=abs(slope.value) < NEAR_ZERO,
    )
    if slope.low > -NEAR_ZERO and slope.high < NEAR_ZERO:
        verdict: Verdict = "supported"
    elif slope.low >= NEAR_ZERO or slope.high <= -NEAR_ZERO:
        verdict = "contradicted"
    else:
        verdict = _leaning(holds=abs(slope.value) < NEAR_ZERO)
    return evidence.conclude(verdict, *_above(context, found.dataset))


def eurosat_saturated(context: Context) -> Evidence:
    """Does each model beyond 60 % on ImageNet surely reach 98.5 %?"""
    name = context.dataset("eurosat")
    matrix = context.matrix.select(datasets=[name])
    _require_top1(matrix.metrics[0], name)
    measured = dict(zip(matrix.models, matrix.mean[:, 0], strict=True))
    models = [m for m in matrix.models if context.imagenet.get(m, 0) > reference.EUROSAT_FROM and measured[m] >= 0]
    if not models:
        raise NotTestableError(f"no model of more than {reference.EUROSAT_FROM:g} % on ImageNet was measured on {name}")
    each = value_intervals(matrix, name).ends
    corrected = value_intervals(matrix, name, level=1 - 0.05 / len(models)).ends
    floor, worst = reference.EUROSAT_FLOOR, min(models, key=lambda m: measured[m])
    reached = sum(measured[m] > floor for m in models)
    evidence = Evidence()
    evidence.note(
        f"{reached} of {len(models)} such models are above {100 * floor:g} %; the lowest, {worst}, has "
        f"{100 * measured[worst]:.2f} [{100 * each[worst][0]:.2f}, {100 * each[worst][1]:.2f}]",
        holds=reached == len(models),
    )
    if all(each[m][0] > floor for m in models):
        return evidence.conclude("supported")
    if any(corrected[m][1] < floor for m in models):
        return evidence.conclude("contradicted")
    return evidence.conclude(_leaning(holds=reached == len(models)))


def others_explain(context: Context) -> Evidence:
    """Do the other datasets' results explain a dataset's results beyond ImageNet accuracy?"""
    found, evidence = beyond(context.real_world, context.predictor), Evidence()
    evidence.note(
        f"mean partial correlation {found.partial:+.2f}, permutation p = {found.p:.3f}, n = {len(found.models)} models "
        f"on {len(found.rows)} datasets",
        holds=found.partial > 0,
    )
    for row in found.rows:
        evidence.note(
            f"{row.dataset}: R2 {row.r2:.2f} from ImageNet, {row.gain:+.2f} more from the others, F = {row.f:.2f}, "
            f"p = {row.p:.3f} (Holm {row.p_holm:.3f})",
            holds=row.partial > 0 and row.p < 0.05,
        )
    return evidence.conclude("supported" if found.explains else _leaning(holds=found.partial > 0))


def params(context: Context) -> Evidence:
    """Do parameters surely not predict on any dataset, or surely predict on more than half?"""
    counts = {m: n for m, n in context.params.items() if m in context.matrix.models}
    if len(counts) < FEWEST:
        raise NotTestableError(f"the parameters of {len(counts)} models are known; {FEWEST} are needed (cost.csv)")
    found = [each for each in associations(context.real_world, of_counts("parameters", counts)) if each.n >= FEWEST]
    if not found:
        raise NotTestableError(f"no dataset has results of {FEWEST} models with parameters")
    evidence = Evidence()
    for each in found:
        evidence.note(f"{_text(each)}: {each.verdict}", holds=each.r.value < HALF)
    given = [each.verdict for each in found]
    if all(verdict == "does not predict" for verdict in given):
        return evidence.conclude("supported")
    if 2 * given.count("predicts") > len(given):
        return evidence.conclude("contradicted")
    return evidence.conclude(_leaning(holds=2 * len(evidence.pro) >= len(found)))


def rivals(context: Context) -> Evidence:
    """Do classes and train images say nothing of where ImageNet accuracy predicts?"""
    found, evidence = _associations(context), Evidence()
    properties = (("log10 classes", context.classes), ("log10 train images", context.train))
    said = [rival(name, {d: math.log10(n) for d, n in sizes.items()}, found) for name, sizes in properties]
    if min(each.n for each in said) < FEWEST:
        raise NotTestableError(f"{min(each.n for each in said)} datasets of known size; {FEWEST} are needed")
    for each in said:
        evidence.note(
            f"{each.name}: Spearman with the correlation {_estimate(each.of_r)}, with the slope "
            f"{_estimate(each.of_slope)}, n = {each.n} datasets",
            holds=abs(each.of_r.value) < HALF,
        )
    ends = np.array([(each.of_r.low, each.of_r.high) for each in said])
    if (np.abs(ends) < HALF).all():
        return evidence.conclude("supported")
    if ((ends[:, 0] >= HALF) | (ends[:, 1] <= -HALF)).any():
        return evidence.conclude("contradicted")
    return evidence.conclude(_leaning(holds=not evidence.contra), f"{len(found)} datasets say little of datasets")


def _associations(context: Context) -> list[Association]:
    found = [each for each in associations(context.real_world, context.predictor) if math.isfinite(each.r.low)]
    if not found:
        known = len(context.imagenet)
        raise NotTestableError(
            f"the ImageNet accuracy of {known} models is known; {FEWEST} with results are needed (imagenet.csv with "
            "the columns model and top1, beside the cells, says it of further ones)"
        )
    return found


def _one(context: Context, dataset: str) -> Association:
    name = context.dataset(dataset)
    (found,) = associations(context.matrix.select(datasets=[name]), context.predictor)
    _require(found)
    return found


def _require(found: Association) -> None:
    if not math.isfinite(found.r.low):
        raise NotTestableError(
            f"{found.n} models have a result on {found.dataset} and a known ImageNet accuracy; {FEWEST} that differ "
            "are needed"
        )


def _require_top1(metric: str, dataset: str) -> None:
    if metric != "top1":
        raise NotTestableError(f"{dataset} is measured by {get_metric(metric).title}; the claim is about top-1")


def _above(context: Context, dataset: str = "") -> tuple[str, ...]:
    """Say the same of the models above 70 % on ImageNet, as the study does."""
    matrix = context.matrix.select(datasets=[dataset]) if dataset else context.real_world
    found = associations(matrix, context.predictor.above(THRESHOLD))
    said = [_text(each) for each in found if math.isfinite(each.r.low)]
    return (f"of the models above {THRESHOLD:g} % on ImageNet: {'; '.join(said)}",) if said else ()


def _side(estimate: Estimate, bound: float) -> Verdict:
    if estimate.low > bound:
        return "supported"
    return "contradicted" if estimate.high < bound else _leaning(holds=estimate.value > bound)


def _leaning(*, holds: bool) -> Verdict:
    return "leans for" if holds else "leans against"


def _text(found: Association) -> str:
    noise = f", {found.noise:.0%} of the variance is noise" if math.isfinite(found.noise) else ", noise unknown"
    return f"{found.dataset}: r {_estimate(found.r)}, Spearman {_estimate(found.rho)}, n = {found.n}{noise}"


def _estimate(estimate: Estimate) -> str:
    return f"{estimate.value:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]"
