"""The tests behind the claims: each returns a verdict and the evidence for and against, from one matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mobilebench.scoring.aggregation import TITLES, aggregated, overall, ranks
from mobilebench.scoring.correlation import HALF, fit, spearman
from mobilebench.scoring.effects import element_effects
from mobilebench.studies.study import Evidence, NotTestableError
from mobilebench.studies.which_backbone.context import domain_of, drawn, fractions, full, rows_of
from mobilebench.studies.which_backbone.published import TRANSFORMERS
from mobilebench.studies.which_backbone.retained import ENOUGH, retention

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mobilebench.scoring.matrix import Matrix
    from mobilebench.studies.study import Verdict
    from mobilebench.studies.which_backbone.context import Context

    Floats = NDArray[np.float64]

TAIL = 0.025  # of the draws on either side of a 95 % interval
POOR = ("convnext_tiny", *TRANSFORMERS)
NO_NOISE = "no interval: the noise over test images is unknown"
OF_THE_DRAWS = "share of the draws of the true results"


def low_data(context: Context) -> Evidence:
    """Do transformers rank lower than convolutional networks with few train images?"""
    part, pairs = fractions(context)
    return _transformers(part, -_by_dataset(part.upward, pairs, 1), "few train images", _datasets(part, pairs))


def low_data_loss(context: Context) -> Evidence:
    """Do transformers lose more ranks than convolutional networks as train images get fewer?"""
    part, pairs = fractions(context)
    lost = _by_dataset(part.upward, pairs, 1) - _by_dataset(part.upward, pairs, 0)
    return _transformers(part, -lost, "few train images less that with all", _datasets(part, pairs))


def _by_dataset(values: Floats, pairs: tuple[tuple[int, int, int], ...], which: int) -> Floats:
    """Mean ranks [M], each dataset counted once whatever the number of its shares; which: 0 all images, 1 fewer."""
    found = ranks(values)
    bases = sorted({pair[0] for pair in pairs})
    return np.asarray(
        np.mean([np.mean([found[:, p[which]] for p in pairs if p[0] == base], axis=0) for base in bases], axis=0)
    )


def _datasets(part: Matrix, pairs: tuple[tuple[int, int, int], ...]) -> str:
    return ", ".join(dict.fromkeys(part.datasets[base] for base, _, _ in pairs))


def _transformers(part: Matrix, upward: Floats, what: str, over: str) -> Evidence:
    """Compare minus the mean ranks [M] of transformers and the others; the claim is that theirs are lower."""
    rows_of(part, TRANSFORMERS)
    flags = {"transformer": {m: m in TRANSFORMERS for m in part.models}}
    found = element_effects(part.models, upward, flags)
    if not found:
        raise NotTestableError("there are no convolutional networks to compare the transformers with")
    evidence, effect = Evidence(), found[0]
    evidence.note(
        f"mean rank with {what} of {effect.n_with} transformers minus that of {effect.n_without} convolutional "
        f"networks: {-effect.effect:+.2f} places ({over}), permutation p = {effect.p:.3f} (smallest possible "
        f"{effect.smallest_p:.3f})",
        holds=effect.effect < 0,
    )
    remark = (
        f"{effect.n_with} transformers, both Swin: what is Swin's cannot be told from what is any transformer's, and "
        "the p-value is of the networks here"
    )
    verdict: Verdict = "leans for" if effect.effect < 0 else "leans against"
    if effect.p < 2 * TAIL:
        verdict = "supported" if effect.effect < 0 else "contradicted"
    return evidence.conclude(verdict, remark)


def imagenet(context: Context) -> Evidence:
    """Does ImageNet accuracy carry half the variance of the mean ranks over the datasets?"""
    part = full(context)
    known = [m for m in part.models if m in context.imagenet]
    if len(known) < ENOUGH:
        raise NotTestableError(f"the ImageNet accuracy of {len(known)} of these models is known; {ENOUGH} are needed")
    part = part.select(models=known)
    x, evidence = np.array([context.imagenet[m] for m in known]), Evidence()
    line = fit(x, -ranks(part.upward).mean(axis=1))
    evidence.note(
        f"ImageNet accuracy and mean rank over {len(part.datasets)} datasets: Spearman {line.rho:.2f} "
        f"[{line.rho_low:.2f}, {line.rho_high:.2f}], n = {line.n} models",
        holds=line.rho < HALF,
    )
    each = spearman(x, part.upward.T)
    high = [f"{d} {rho:.2f}" for d, rho in zip(part.datasets, each, strict=True) if rho >= HALF]
    evidence.note(
        f"it carries half the variance of the ranks on {len(high)} of {len(each)} datasets"
        + (f" ({', '.join(high)})" if high else ""),
        holds=2 * len(high) < len(each),
    )
    first = int(x.argmax())
    led = [d for d, column in zip(part.datasets, part.upward.T, strict=True) if column.argmax() == first]
    evidence.note(
        f"{known[first]}, the best on ImageNet, is the best on {', '.join(led) or 'none of the datasets'}",
        holds=not led,
    )
    verdict: Verdict = "leans for" if line.rho < HALF else "leans against"
    if line.rho_high < HALF:
        verdict = "supported"
    elif line.rho_low >= HALF:
        verdict = "contradicted"
    return evidence.conclude(verdict, "one model counts as one independent point")


def best_in(context: Context, domain: str, model: str) -> Evidence:
    """Has a model the lowest mean rank in a domain?"""
    part = full(context, domain)
    (row,) = rows_of(part, (model,))

    def is_best(values: Floats) -> NDArray[np.bool_]:
        mean = ranks(values).mean(axis=-1)
        return np.asarray(mean[..., row] < np.delete(mean, row, axis=-1).min(axis=-1))

    def above(values: Floats) -> NDArray[np.bool_]:
        mean = ranks(values).mean(axis=-1)
        return np.asarray(np.delete(mean, row, axis=-1) < mean[..., [row]])

    own = ranks(part.upward).mean(axis=1)
    best = np.delete(own, row).min()
    text = f"its mean rank on {', '.join(part.datasets)} is {own[row]:.2f}; the best of the others' {best:.2f}"
    return _by_draws(part, context.draws, text, is_best, above)


def poor_in(context: Context, domain: str) -> Evidence:
    """Do convnext_tiny and both transformers have the three worst mean ranks in a domain?"""
    part = full(context, domain)
    rows = rows_of(part, POOR)
    if len(part.models) < 2 * len(POOR):
        raise NotTestableError(f"of {len(part.models)} models three are always among the worst half")

    def are_last(values: Floats) -> NDArray[np.bool_]:
        mean = ranks(values).mean(axis=-1)
        return np.asarray(mean[..., rows].min(axis=-1) > np.delete(mean, rows, axis=-1).max(axis=-1))

    def in_the_better_half(values: Floats) -> NDArray[np.bool_]:
        mean = ranks(values).mean(axis=-1)
        return np.asarray(mean[..., rows] < np.median(mean, axis=-1)[..., None])

    own = ranks(part.upward).mean(axis=1)
    said = ", ".join(f"{part.models[r]} {own[r]:.2f}" for r in rows)
    text = f"mean ranks on {', '.join(part.datasets)}: {said}; the worst of the others {np.delete(own, rows).max():.2f}"
    return _by_draws(part, context.draws, text, are_last, in_the_better_half)


def _by_draws(
    part: Matrix,
    draws: int,
    text: str,
    holds: Callable[[Floats], NDArray[np.bool_]],
    denies: Callable[[Floats], NDArray[np.bool_]],
) -> Evidence:
    """Verdict on what `holds` says of results [..., M, D], by the share of draws in which it is so.

    denies: of results [..., M, D] the ways [..., K] in which it may not be so; one alone has to be sure.
    """
    evidence, seen = Evidence(), bool(holds(part.upward))
    evidence.note(text, holds=seen)
    found = drawn(part, draws)
    if found is None:
        return evidence.conclude("leans for" if seen else "leans against", NO_NOISE)
    share = float(holds(found.truths).mean())
    evidence.note(f"{OF_THE_DRAWS} in which it is so: {share:.3f} ({len(found.truths)} draws)", holds=share >= 0.5)
    verdict: Verdict = "leans for" if share >= 0.5 else "leans against"
    if share >= 1 - TAIL:
        verdict = "supported"
    elif not seen and float(denies(found.truths).mean(axis=0).max()) >= 1 - TAIL:
        verdict = "contradicted"
    return evidence.conclude(verdict, *found.remarks)


def lighter(context: Context) -> Evidence:
    """Is shufflenet_v2_x2_0 ahead of mobilenet_v3_large in more than half of the domains?"""
    part = full(context)
    shuffle, mobile = rows_of(part, ("shufflenet_v2_x2_0", "mobilenet_v3_large"))
    labels = [domain_of(name) for name in part.datasets]
    names = list(dict.fromkeys(labels))

    def ahead(values: Floats) -> Floats:
        """Domains in which it is, [..., K]: 1, 0, and a half where they are equal."""
        found = ranks(values)
        better = np.sign(found[..., mobile, :] - found[..., shuffle, :])
        by_domain = [
            np.sign(better[..., [k for k, n in enumerate(labels) if n == name]].sum(axis=-1)) for name in names
        ]
        return np.asarray((1 + np.stack(by_domain, axis=-1)) / 2)

    def more(values: Floats) -> NDArray[np.bool_]:
        return np.asarray(ahead(values).sum(axis=-1) > len(names) / 2)

    def fewer(values: Floats) -> NDArray[np.bool_]:
        return np.asarray(ahead(values).sum(axis=-1) < len(names) / 2)[..., None]

    seen = ahead(part.upward)
    won = [name for name, value in zip(names, seen, strict=True) if value == 1]
    even = [name for name, value in zip(names, seen, strict=True) if value == 0.5]
    text = f"ahead on more datasets than behind in {len(won)} of {len(names)} domains ({', '.join(won) or 'none'})" + (
        f", even in {', '.join(even)}" if even else ""
    )
    return _by_draws(part, context.draws, text, more, fewer)


def stay_on_top(context: Context) -> Evidence:
    """Does the order with all train images carry half the variance of the order with fewer?"""
    part, pairs = fractions(context)
    return retention(part, pairs, context.draws)


def best_overall(context: Context, model: str) -> Evidence:
    """Is a model the best overall under every way of aggregating?"""
    part = full(context)
    (row,) = rows_of(part, (model,))
    domains = {name: domain_of(name) for name in part.datasets}
    # Where all models are equal on a dataset there is no xScore.
    ways = [way for way in overall(part, domains, lam=context.lam) if np.isfinite(way.upward).any()]
    labels = [domains[name] for name in part.datasets]
    evidence = Evidence()
    firsts = [way.best(1)[0] for way in ways]
    for way, first in zip(ways, firsts, strict=True):
        evidence.note(f"by {TITLES[way.id]} the best is {' and '.join(first)}", holds=_is_first(model, first, part))
    most = 2 * sum(_is_first(model, first, part) for first in firsts) > len(ways)
    leaning: Verdict = "leans for" if most else "leans against"
    found = drawn(part, context.draws)
    if found is None:
        return evidence.conclude(leaning, NO_NOISE)
    values = [aggregated(found.truths, labels, way.id, lam=context.lam) for way in ways]
    others = [np.delete(value, row, axis=-1) for value in values]
    # How far each other model is above it, [ways, draws, M - 1]; counts of domains are often equal.
    ahead = np.round([o - v[..., [row]] for v, o in zip(values, others, strict=True)], 12)
    share = float((ahead <= 0).all(axis=(0, 2)).mean())
    evidence.note(
        f"{OF_THE_DRAWS} in which none is above it in any of {len(ways)} ways: {share:.3f}", holds=share >= 0.5
    )
    verdict: Verdict = "supported" if share >= 1 - TAIL else leaning
    if float(((ahead >= 0).all(axis=0) & (ahead > 0).any(axis=0)).mean(axis=0).max()) >= 1 - TAIL:
        verdict = "contradicted"
    return evidence.conclude(verdict, *found.remarks)


def _is_first(model: str, first: tuple[str, ...], part: Matrix) -> bool:
    """Return whether a model is among the first ones, which do not include all models."""
    return model in first and len(first) < len(part.models)
