"""The tests behind the claims: each returns a verdict and the evidence for and against, from one matrix."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np

from mobilebench.scoring.correlation import HALF, Fit, fisher_interval, fit, relatedness_p
from mobilebench.scoring.effects import element_effects
from mobilebench.scoring.measures import TOP1
from mobilebench.scoring.proxy import all_proxies, proxy_fit
from mobilebench.scoring.subsets import all_subsets, complete, members_of, place, subset_spearman
from mobilebench.scoring.uncertainty import (
    TRAINING_NOISE,
    best_source,
    cell_noise,
    leave_one_dataset_out,
    places_of,
    resampled,
    score_errors,
    shrunk,
    within_noise,
)
from mobilebench.studies.beyond_imagenet.published import PAPER_FOUR
from mobilebench.studies.study import Evidence, NotTestableError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mobilebench.scoring.matrix import Matrix
    from mobilebench.scoring.table import ScoreTable
    from mobilebench.scoring.uncertainty import Source
    from mobilebench.scoring.xscore import Anchors
    from mobilebench.studies.beyond_imagenet.context import Context
    from mobilebench.studies.study import Verdict

    Floats = NDArray[np.float64]

PAPER_DATASETS = ("cifar10", "imagenette", "cifar100", "ham10k", "dogs", "miniplaces", "indoor67")
ENOUGH = 4  # of the paper's datasets: as many as the paper itself calls sufficient
LEADERS = ("efficientnet", "convmixer")
FEWEST_MODELS = 6  # of four or five, two orders that share half their variance agree wholly in 22 and 9 % of cases
SUBSET_DRAWS = 200
TAIL = 0.025  # of the draws on either side of a 95 % interval
DRAWS = 4000
NO_INTERVAL = "no interval: the noise over test images is unknown"
WITHIN_NOISE = "on a dataset the models differ no more than noise makes equal ones differ, so no interval is given"
ASSUMED = (
    "single runs: a training noise of 1 point (standard deviation at an accuracy of one half, less towards 0 and 1) is "
    "assumed; more would make the verdict too sure"
)


def leaders(context: Context) -> Evidence:
    """Do efficientnet and convmixer hold the first two places, in the draws and with each dataset left out?"""
    evidence, scores = Evidence(), context.scores
    i, j = (_position(context, name) for name in LEADERS)
    places = places_of(scores.xscore.score)
    lead = bool(max(places[i], places[j]) <= 2)
    evidence.note(f"{LEADERS[0]} ranks {places[i]:g} and {LEADERS[1]} {places[j]:g} of {_scored(scores)}", holds=lead)
    if len(scores.datasets) >= 3:
        left = places_of(leave_one_dataset_out(context.matrix, lam=scores.lam, anchors=_fixed(scores)))
        kept = int((np.maximum(left[:, i], left[:, j]) <= 2).sum())
        evidence.note(
            f"both stay on top in {kept} of {len(left)} suites with one dataset left out", holds=2 * kept > len(left)
        )
    drawn, remarks = _true_scores(context)
    if drawn is None:
        return evidence.conclude("leans for" if lead else "leans against", *remarks)
    p = float((places_of(drawn)[:, [i, j]] <= 2).all(axis=1).mean())
    evidence.note(f"share of draws in which both lead: {p:.3f} ({_over(context, drawn)})", holds=p >= 0.5)
    excluded = any((_above(drawn, k) >= 1 - TAIL).sum() >= 2 for k in (i, j))
    return evidence.conclude(_by_draws(p, holds=lead, excluded=excluded), *remarks)


def last(context: Context) -> Evidence:
    """Is convnext last, also in the draws?"""
    evidence, scores = Evidence(), context.scores
    i = _position(context, "convnext")
    score = scores.xscore.score
    place, is_last = places_of(score)[i], bool(score[i] == np.nanmin(score))
    evidence.note(f"convnext ranks {place:g} of {_scored(scores)} with xScore {score[i]:.3f}", holds=is_last)
    drawn, remarks = _true_scores(context)
    if drawn is None:
        return evidence.conclude("leans for" if is_last else "leans against", *remarks)
    p = float((drawn[:, i] == np.nanmin(drawn, axis=1)).mean())
    evidence.note(f"share of draws in which it is last: {p:.3f} ({_over(context, drawn)})", holds=p >= 0.5)
    return evidence.conclude(
        _by_draws(p, holds=is_last, excluded=bool((_above(drawn, i) <= TAIL).sum() >= 1)), *remarks
    )


def imagenette(context: Context) -> Evidence:
    """Does the imagenette accuracy carry half the variance of the ranks on the other datasets?"""
    if "imagenette" not in context.matrix.datasets:
        raise NotTestableError(f"no imagenette among {', '.join(context.matrix.datasets)}")
    evidence = Evidence()
    own = proxy_fit(context.matrix, "imagenette", lam=context.scores.lam)
    judged = own.rest or own.whole
    everyone = all_proxies(context.matrix, lam=context.scores.lam)
    rank = 1 + [p.dataset for p in everyone].index("imagenette")
    small = judged.rho < HALF
    evidence.note(f"with the score of the other datasets: {_fit_text(judged)}", holds=small)
    evidence.note(f"with the whole score, imagenette included: {_fit_text(own.whole)}", holds=small)
    evidence.note(f"imagenette is number {rank} of {len(everyone)} single datasets as a proxy", holds=rank > 1)
    far = np.argsort(-np.abs(own.whole.residuals))[:2]
    return evidence.conclude(
        _below(judged, HALF),
        "farthest from the line (studentised residual; beyond about 2.3 is unusual for one model named beforehand): "
        + ", ".join(f"{own.models[k]} {own.whole.residuals[k]:+.1f}" for k in far),
    )


def four_suffice(context: Context) -> Evidence:
    """Do the paper's four datasets order models as the datasets outside the four do?"""
    evidence, whole = Evidence(), _with_four(context)
    found = place(all_subsets(whole, len(PAPER_FOUR), lam=context.scores.lam), PAPER_FOUR, "whole_rmse")[1]
    low, high = fisher_interval(found.spearman, len(whole.models), level=0.9, variance=1.06)
    evidence.note(
        f"Spearman of their score with the score of the other {len(whole.datasets) - len(PAPER_FOUR)} datasets: "
        f"{found.spearman:.3f} [{low:.2f}, {high:.2f}], n = {len(whole.models)} models, 90 % interval; noise "
        f"reaches {_noise_spearman(len(whole.models)):.2f} in 5 % of grids",
        holds=found.spearman >= HALF,
    )
    evidence.note(
        f"the values differ from the full xScore by {found.whole_rmse:.3f} (RMSE): right for an order, not for a value",
        holds=False,
    )
    evidence.note(f"{found.top_k:.0%} of the full score's best three are the four's too", holds=found.top_k == 1)
    part = (
        f"with the score of all {len(whole.datasets)} datasets, their own included, it is {found.whole_spearman:.3f}: "
        "a part agrees with its whole on noise too, so the verdict does not use it"
    )
    if unrelated := _unrelated(whole):
        return evidence.conclude("undecided", unrelated, part)
    return evidence.conclude(_by_interval(found.spearman, low, high, HALF), part)


def best_four(context: Context) -> Evidence:
    """Does no other subset of four order models better as the datasets outside it do?"""
    evidence, whole = Evidence(), _with_four(context)
    lam, size = context.scores.lam, len(PAPER_FOUR)
    subsets = all_subsets(whole, size, lam=lam)
    at, own = place(subsets, PAPER_FOUR, "spearman")
    evidence.note(
        f"place {at} of {len(subsets)} by Spearman with the score of the other datasets, {own.spearman:.3f}; the best, "
        f"{', '.join(subsets[0].datasets)}, has {subsets[0].spearman:.3f}",
        holds=at == 1,
    )
    for criterion, words in (("whole_spearman", "Spearman"), ("whole_rmse", "RMSE")):
        at_whole, _ = place(subsets, PAPER_FOUR, criterion)
        evidence.note(
            f"place {at_whole} by {words} with the score of all datasets, {getattr(own, criterion):.3f}",
            holds=at_whole == 1,
        )
    if unrelated := _unrelated(whole):
        return evidence.conclude("undecided", unrelated)
    leaning: Verdict = "leans for" if at == 1 else "leans against"
    source = best_source(whole)
    if source is None:
        return evidence.conclude(leaning, NO_INTERVAL)
    members = members_of(whole, size)
    drawn = subset_spearman(_draw_with_training(whole, source), members, lam=lam)
    drawn = drawn[~np.isnan(drawn).any(axis=1)]
    if len(drawn) < 0.95 * SUBSET_DRAWS:
        return evidence.conclude(leaning, "too few of the draws of the test images have a score on every dataset")
    four = int(np.flatnonzero((members == [d in PAPER_FOUR for d in whole.datasets]).all(axis=1))[0])
    own_drawn = drawn[:, [four]]
    better = (drawn > own_drawn + 1e-9).sum(axis=1)
    low, high = np.quantile(1 + better, [0.05, 0.95], method="nearest")
    alone = float(np.mean((drawn > own_drawn - 1e-9).sum(axis=1) == 1))
    evidence.note(
        f"its place lies between {low} and {high} in 90 % of {len(drawn)} draws over {resampled(whole, source)}, and "
        f"it is first alone in {alone:.0%}",
        holds=alone >= 0.5,
    )
    remarks = [ASSUMED] if source == "test" else []
    verdict: Verdict = "supported" if alone >= 0.95 else "contradicted" if low > 1 + len(subsets) / 4 else leaning
    return evidence.conclude(verdict, *remarks)


def _noise_spearman(models: int) -> float:
    """Spearman that two unrelated orders of so many models exceed in 5 % of cases, by the usual t approximation."""
    from scipy import stats

    t = float(stats.t.ppf(0.95, models - 2))
    return t / math.sqrt(models - 2 + t * t)


def _draw_with_training(matrix: Matrix, source: Source) -> NDArray[np.float64]:
    """Draws of the values, higher is better, [draws, M, D]; single runs get a training noise, which they can't show."""
    rng = np.random.default_rng(1)
    noise = cell_noise(matrix, source=source, draws=SUBSET_DRAWS, rng=rng, training_noise=TRAINING_NOISE)
    return matrix.upward + noise.draw(rng)


def _unrelated(matrix: Matrix) -> str:
    """Say that the datasets order the models no more alike than noise would; empty where they do."""
    p = relatedness_p(matrix.upward)
    if p < 0.05:
        return ""
    return f"the datasets do not order these {len(matrix.models)} models alike beyond what noise does (p = {p:.2f})"


def transformers(context: Context) -> Evidence:
    """Do networks with transformer layers score no higher?"""
    return _element(context, "layerwise_transformer", wanted="little")


def channel_attention(context: Context) -> Evidence:
    """Do networks with squeeze-and-excite score higher?"""
    return _element(context, "squeeze_excite", wanted="more")


def _element(context: Context, element: str, wanted: Literal["more", "little"]) -> Evidence:
    has = context.elements.get(element, {})
    found = element_effects(context.matrix.models, context.scores.xscore.score, {element: has}) if has else ()
    if not found:
        raise NotTestableError(f"no two groups of models with and without {element}")
    evidence, effect = Evidence(), found[0]
    against = (effect.effect > 0) == (wanted == "little")
    evidence.note(
        f"mean xScore with {element} (n = {effect.n_with}) minus without (n = {effect.n_without}): "
        f"{effect.effect:+.3f}, permutation p = {effect.p:.3f} (smallest possible {effect.smallest_p:.3f})",
        holds=not against,
    )
    sample = f"n = {effect.n_with + effect.n_without} hand-picked networks that differ in many elements at once"
    if min(effect.n_with, effect.n_without) < 2:
        alone = "one network alone cannot separate the element from everything else about that network"
        return evidence.conclude("not testable", sample, alone)
    if effect.p >= 0.05:
        return evidence.conclude("undecided", sample)
    return evidence.conclude("contradicted" if against else "supported", sample)


def params(context: Context) -> Evidence:
    """Does the parameter count carry less than half the variance of the ranks?"""
    models = [m for m, s in zip(context.matrix.models, context.scores.xscore.score, strict=True) if np.isfinite(s)]
    if missing := [m for m in models if m not in context.params]:
        raise NotTestableError(f"no parameter count of {', '.join(missing)}")
    evidence = Evidence()
    score = np.array([context.scores.xscore.score[context.matrix.models.index(m)] for m in models])
    count = np.array([context.params[m] for m in models], dtype=float)
    line = fit(count, score)
    evidence.note(f"params against xScore: {_fit_text(line)}", holds=abs(line.rho) < HALF)
    remarks = [
        f"params lie between {count.min() / 1e6:.2f} and {count.max() / 1e6:.2f} M by design; a wider range may differ"
    ]
    if all(m in context.macs for m in models):
        macs = fit(np.array([context.macs[m] for m in models], float), score)
        remarks.append(f"MACs against xScore: {_fit_text(macs)}")
    return evidence.conclude(_below(line, HALF), *remarks)


def require_papers_datasets(context: Context) -> None:
    """Raise NotTestableError where too few of the paper's datasets are in the matrix to speak of its claims.

    And where a dataset is measured by another metric: the claims are about top-1 accuracies.
    """
    others = [
        f"{name} ({metric})"
        for name, metric in zip(context.matrix.datasets, context.matrix.metrics, strict=True)
        if metric != TOP1
    ]
    if others:
        raise NotTestableError(f"the claims are about top-1; another metric measures {', '.join(others)}")
    shared = sum(name in PAPER_DATASETS for name in context.matrix.datasets)
    if shared < ENOUGH:
        raise NotTestableError(f"only {shared} of the paper's 7 datasets are in this matrix; {ENOUGH} are needed")


def _position(context: Context, model: str) -> int:
    if model not in context.scores.models:
        raise NotTestableError(f"no {model} among {', '.join(context.scores.models)}")
    at = context.scores.models.index(model)
    if not np.isfinite(context.scores.xscore.score[at]):
        raise NotTestableError(f"{model} has no xScore yet")
    return at


def _with_four(context: Context) -> Matrix:
    absent = [d for d in PAPER_FOUR if d not in context.matrix.datasets]
    if absent or len(context.matrix.datasets) == len(PAPER_FOUR):
        raise NotTestableError(
            f"needs {', '.join(PAPER_FOUR)} and more; the matrix has {', '.join(context.matrix.datasets)}"
        )
    whole = complete(context.matrix)
    if len(whole.models) < FEWEST_MODELS:
        raise NotTestableError(
            f"{len(whole.models)} models have every dataset; with fewer than {FEWEST_MODELS} even a perfect agreement "
            "of orders is no evidence"
        )
    return whole


def _fixed(scores: ScoreTable) -> Anchors | None:
    return None if scores.anchors_name == "grid" else scores.anchors


def _scored(scores: ScoreTable) -> int:
    return int(np.isfinite(scores.xscore.score).sum())


def _true_scores(context: Context) -> tuple[Floats | None, list[str]]:
    """True scores [draws, M] that could be behind the matrix, or None; and what limits them.

    Single runs say nothing of training noise, and a verdict must not take it for zero: it is assumed.
    """
    scores, matrix = context.scores, context.matrix
    source = best_source(matrix)
    if source == "seeds+test":
        return scores.draws, [] if scores.draws is not None else [WITHIN_NOISE]
    if source != "test":
        return None, [NO_INTERVAL]
    anchors = _fixed(scores)
    if anchors is None and within_noise(matrix, source=source, training_noise=TRAINING_NOISE):
        return None, [WITHIN_NOISE, ASSUMED]
    errors = score_errors(
        matrix, source=source, lam=scores.lam, anchors=anchors, draws=DRAWS, training_noise=TRAINING_NOISE
    )
    return shrunk(scores.xscore.score, errors), [ASSUMED]


def _above(drawn: Floats, model: int) -> Floats:
    """Share of draws [draws, M] in which each other model that has a score stands above this one, [M - 1]."""
    others = np.delete(drawn, model, axis=1)
    others = others[:, np.isfinite(others).all(axis=0)]
    return np.asarray((others > drawn[:, [model]]).mean(axis=0))


def _by_draws(p: float, *, holds: bool, excluded: bool) -> Verdict:
    """Verdict on a claim about places, true in a share p of the draws; `excluded`: single models surely deny it."""
    if p >= 1 - TAIL:
        return "supported"
    if excluded and not holds:
        return "contradicted"
    return "leans for" if p >= 0.5 else "leans against"


def _by_interval(value: float, low: float, high: float, least: float) -> Verdict:
    if low >= least:
        return "supported"
    return "contradicted" if high < least else "leans for" if value >= least else "leans against"


def _below(line: Fit, bound: float) -> Verdict:
    """Verdict on "the rank correlation is smaller than the bound in size"."""
    if -bound < line.rho_low and line.rho_high < bound:
        return "supported"
    if line.rho_low >= bound or line.rho_high <= -bound:
        return "contradicted"
    return "leans for" if abs(line.rho) < bound else "leans against"


def _fit_text(line: Fit) -> str:
    return (
        f"Spearman {line.rho:.2f} [{line.rho_low:.2f}, {line.rho_high:.2f}], "
        f"r {line.r:.2f} [{line.r_low:.2f}, {line.r_high:.2f}], n = {line.n}"
    )


def _over(context: Context, drawn: Floats) -> str:
    over = (
        "test images and an assumed training noise"
        if best_source(context.matrix) == "test"
        else "seeds and test images"
    )
    return f"{len(drawn)} draws over {over}"
