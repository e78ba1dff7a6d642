"""Tables of what the matrix says beyond the leaderboard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.errors import UserError
from mobilebench.evaluation.metrics import get_metric
from mobilebench.report.notes import result_notes, score_notes
from mobilebench.report.table import Field, Table, interval_cell, number, text
from mobilebench.scoring.effects import element_effects, lambda_swaps, pareto_front
from mobilebench.scoring.measures import title
from mobilebench.scoring.proxy import all_proxies
from mobilebench.scoring.subsets import (
    all_subsets,
    chance,
    direct_scores,
    held_out_scores,
    nested_spearman,
    predicted_scores,
)
from mobilebench.scoring.uncertainty import dataset_bootstrap, interval, leave_one_dataset_out, places_of
from mobilebench.scoring.xscore import xscore
from mobilebench.studies.beyond_imagenet.claims import check_claims

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from mobilebench.models.cost.cost_file import CostRow
    from mobilebench.report.inputs import ReportInputs
    from mobilebench.scoring import Matrix, ScoreTable
    from mobilebench.scoring.correlation import Fit
    from mobilebench.scoring.subsets import Chance, Subset
    from mobilebench.studies.beyond_imagenet.context import Context


def between(low: float, high: float, digits: int = 3) -> Field:
    """Return an interval cell, sorted by its lower end."""
    return interval_cell(f"{low:.{digits}f} to {high:.{digits}f}", float(low), float(high))


def claims_table(context: Context) -> Table:
    """Return the paper's claims with verdict and evidence.

    Raises UserError where none of them can be tested on this grid.
    """
    claims = check_claims(context)
    if all(claim.verdict == "not testable" for claim in claims):
        raise UserError(f"none of the paper's claims can be tested on this grid: {claims[0].notes[0]}")
    rows = []
    for claim in claims:
        evidence = [f"For: {line}." for line in claim.pro] + [f"Against: {line}." for line in claim.contra]
        evidence += [f"Note: {line}." for line in claim.notes]
        rows.append((text(claim.statement), text(claim.verdict), text("\n".join(evidence)), text(claim.rule)))
    caption = (
        "What the paper says, held against this matrix. A verdict follows from its rule alone and holds for the "
        "protocol and the datasets of this matrix."
    )
    return Table("claims", caption, ("claim", "verdict", "evidence", "rule"), tuple(rows))


def datasets_table(matrix: Matrix, scores: ScoreTable, notes: Mapping[str, str]) -> Table:
    """Return how each score depends on which datasets are in the suite; needs three or more of them.

    notes: what each model's score rests on, as `notes.score_notes` says.
    """
    anchors = None if scores.anchors_name == "grid" else scores.anchors
    left = leave_one_dataset_out(matrix, lam=scores.lam, anchors=anchors)
    ranks = places_of(left)
    low, high = interval(dataset_bootstrap(matrix, lam=scores.lam, anchors=anchors), scores.level)
    rows = []
    for row in scores.rows:
        i = matrix.models.index(row.model)
        worst = matrix.datasets[int(np.abs(left[:, i] - row.score).argmax())] if row.rank else "n/a"
        rows.append((
            text(row.model), number(row.score, note=notes[row.model]), between(left[:, i].min(), left[:, i].max()),
            between(ranks[:, i].min(), ranks[:, i].max(), 0), text(worst), between(float(low[i]), float(high[i])),
        ))  # fmt: skip
    caption = (
        f"The {len(matrix.datasets)} datasets as the source of uncertainty: scores with each dataset left out, and "
        f"a {scores.level:.0%} bootstrap interval over datasets (2,000 draws), which is wide because they are few."
    )
    columns = (
        "model",
        "xScore",
        "one dataset left out",
        "its rank then",
        "moves most without",
        "bootstrap over datasets",
    )
    return Table("datasets", caption, columns, tuple(rows))


def proxies_table(matrix: Matrix, lam: float) -> Table:
    """Return every dataset as a stand-in for the others, best first."""
    proxies = all_proxies(matrix, lam=lam)
    rows = tuple((text(p.dataset), *_fit_cells(p.rest or p.whole), *_fit_cells(p.whole)) for p in proxies)
    caption = (
        "Each dataset's results against the xScore of the other datasets, and against the whole xScore it is part of. "
        f"Brackets: 95% interval (Fisher), n = {proxies[0].whole.n if proxies else 0} models."
    )
    columns = ("dataset", "Spearman, others", "r, others", "Spearman, whole", "r, whole")
    return Table("proxies", caption, columns, rows)


def _fit_cells(line: Fit) -> tuple[Field, Field]:
    return (
        Field(
            f"{line.rho:.2f} [{line.rho_low:.2f}, {line.rho_high:.2f}]", line.rho, ends=(line.rho_low, line.rho_high)
        ),
        Field(f"{line.r:.2f} [{line.r_low:.2f}, {line.r_high:.2f}]", line.r, ends=(line.r_low, line.r_high)),
    )


def subset_findings(
    matrix: Matrix, size: int, *, lam: float, marked: Sequence[str] = ()
) -> tuple[str, tuple[Table, Table]]:
    """Return what a choice of `size` datasets is worth as a sentence and a table, and the table of all subsets.

    Every number stands beside what it reaches on noise. The subsets of a complete matrix stand in the order of their
    agreement with the datasets they leave out; the `marked` one is bold.
    """
    found, noise = all_subsets(matrix, size, lam=lam), chance(matrix, size, lam=lam)
    nested = nested_spearman(matrix, size, lam=lam)
    choice = _choice_table(matrix, found, nested, noise, marked)
    return _choice_words(matrix, found, nested, noise), (choice, _every_subset(matrix, found, marked))


def _choice_table(
    matrix: Matrix, found: Sequence[Subset], nested: float, noise: Chance | None, marked: Sequence[str]
) -> Table:
    size, count = len(found[0].datasets), len(found)
    own = next((s for s in found if set(s.datasets) == set(marked)), None)
    blank = Field("", float("nan"))
    others = "Spearman with the other datasets"
    rows = [
        (
            text(f"{others}: the best of {count}, chosen without the model it is judged on"),
            blank, number(nested), number(noise.nested if noise else None),
        ),
        (
            text(f"{others}: one subset, named beforehand"),
            number(own.spearman if own else None), blank, number(noise.one if noise else None),
        ),
    ]  # fmt: skip
    for name, words in (
        ("spearman", f"{others}: the best of {count}"),
        ("predicted_rmse", "RMSE of the whole score predicted, model left out"),
        ("whole_spearman", "Spearman with all datasets, the subset's included"),
        ("whole_rmse", "RMSE from all datasets, the subset's included"),
        ("top_k", "best three shared with all datasets, the subset's included"),
    ):
        values = [value for s in found if np.isfinite(value := getattr(s, name))]
        top = (min if name.endswith("rmse") else max)(values, default=None)
        mine = number(getattr(own, name)) if own and name != "spearman" else blank
        rows.append((text(words), mine, number(top), number(getattr(noise.best, name) if noise else None)))
    drawn = (
        f"{noise.draws} grids with the models permuted within each dataset: what the best of {count} reaches in 5 % of "
        "them (the first row: the best chosen in the same way; the second: any one subset)"
        if noise
        else "not computed, there are too many models or subsets"
    )
    caption = (
        f"What {size} of {len(matrix.datasets)} datasets say, n = {len(matrix.models)} models; the first row is the "
        f"honest one. Noise: {drawn}. A number that does not beat its noise says nothing."
    )
    columns = ("number", ", ".join(own.datasets) if own else "", f"best of {count}", "noise, 95 %")
    shown = [i for i in range(len(columns)) if own or i != 1]  # no column for a marked subset that is not there
    cut = tuple(tuple(row[i] for i in shown) for row in rows)
    return Table(f"subset_choice_{size}", caption, tuple(columns[i] for i in shown), cut)


def _choice_words(matrix: Matrix, found: Sequence[Subset], nested: float, noise: Chance | None) -> str:
    size, count = len(found[0].datasets), len(found)
    if not np.isfinite(nested):
        return f"A choice of {size} of {len(matrix.datasets)} datasets cannot be judged on models left out here."
    said = (
        f"Chosen without the model it is judged on, the best of {count} subsets of {size} datasets orders the "
        f"{len(matrix.models)} models as the other datasets do with a Spearman of {nested:.2f}"
    )
    if noise is None:
        return f"{said}."
    if not np.isfinite(noise.nested):
        return f"{said}; what noise reaches is undefined on this grid, so whether that is more is not testable."
    verdict = "more than noise explains" if nested > noise.nested else "no more than noise explains"
    return f"{said}; noise reaches {noise.nested:.2f} in 5 % of grids, so this is {verdict}."


def _every_subset(matrix: Matrix, found: Sequence[Subset], marked: Sequence[str]) -> Table:
    rows = tuple(
        (
            number(place, 0),
            Field(", ".join(s.datasets), ", ".join(s.datasets), strong=set(s.datasets) == set(marked)),
            number(s.spearman), number(s.predicted_rmse), number(s.whole_spearman), number(s.whole_rmse),
            number(s.top_k, 2),
        )
        for place, s in enumerate(found, start=1)
    )  # fmt: skip
    size = len(found[0].datasets)
    caption = (
        f"All {len(rows)} subsets of {size} datasets, n = {len(matrix.models)} models, in the order of the Spearman "
        "with the score of the datasets that a subset leaves out. Whole: the score of all "
        f"{len(matrix.datasets)} datasets, of which the subset is a part, so these numbers are high on noise too. "
        "Predicted: least squares of the whole score on the subset's accuracies, each model left out."
    )
    columns = (
        "place", "datasets", "Spearman, others", "predicted: RMSE, left out", "Spearman, whole", "RMSE, whole",
        "top-3 shared, whole",
    )  # fmt: skip
    return Table(f"subsets_{size}", caption, columns, rows)


def proxy_scores_table(matrix: Matrix, datasets: Sequence[str], *, lam: float) -> tuple[Table, ...]:
    """Return the scores of every model on these datasets alone, where the matrix has them and more; else nothing."""
    if not set(datasets) < set(matrix.datasets):
        return ()
    full = xscore(matrix.mean, lam=lam, metrics=matrix.metrics).score
    columns = [full, direct_scores(matrix, datasets, lam=lam)]
    columns += [predicted_scores(matrix, datasets, lam=lam, held_out=False)]
    columns += [held_out_scores(matrix, lam=lam), predicted_scores(matrix, datasets, lam=lam)]
    order = np.argsort(-full)
    rows = tuple((text(matrix.models[i]), *(number(float(c[i])) for c in columns)) for i in order)
    caption = (
        f"{', '.join(datasets)} in place of all {len(matrix.datasets)} datasets, n = {len(matrix.models)} models. "
        "Direct: Eq. 1 to 3 on these alone. Predicted: least squares of the full score on their normalised accuracies, "
        "here in sample, which flatters. The last two columns leave the model out: anchors and regression are the "
        "others', so they compare with each other only."
    )
    heads = ("model", "all datasets", "direct", "predicted", "all datasets, left out", "predicted, left out")
    return (Table("proxy_scores", caption, heads, rows),)


def swaps_table(scores: ScoreTable) -> Table:
    """Return the pairs of models whose order depends on lambda."""
    rows = tuple((number(s.lam, 2), text(s.before), text(s.after)) for s in lambda_swaps(scores.models, scores.xscore))
    caption = f"Pairs that change places between lambda 0 and 1: {len(rows)}. Above the value the second model leads."
    return Table("lambda_swaps", caption, ("lambda", "ahead below", "ahead above"), rows)


@dataclass(frozen=True)
class Merit:
    """What a cost is held against: xScore, or the results on the one dataset there is."""

    title: str
    """Its name, with "%" where it is shown in percent."""
    shown: Mapping[str, float]
    """{model: the value as a person reads it}; models without one are left out."""
    upward: Mapping[str, float]
    """{model: the same, turned where a lower value is better}."""
    digits: int
    """Digits behind the point."""
    notes: Mapping[str, str]
    """{model: what the value rests on}."""


def merit(inputs: ReportInputs) -> Merit | None:
    """Return what costs are held against; None for several datasets without an xScore."""
    matrix, scores = inputs.matrix, inputs.scores
    if scores.has_scores:
        found = {row.model: row.score for row in scores.rows if row.rank is not None}
        return Merit("xScore", found, found, 3, score_notes(scores, matrix))
    if len(matrix.datasets) > 1:
        return None
    metric = get_metric(matrix.metrics[0])
    values = {m: float(v) for m, v in zip(matrix.models, matrix.mean[:, 0], strict=True) if np.isfinite(v)}
    shown = {name: value * (100 if metric.percent else 1) for name, value in values.items()}
    upward = {name: value * float(matrix.signs[0]) for name, value in shown.items()}
    notes = {model: note for (model, _), note in result_notes(inputs).items()}
    return Merit(f"test {title(metric)}", shown, upward, 2 if metric.percent else 4, notes)


def cost_table(inputs: ReportInputs, costs: tuple[CostRow, ...]) -> Table:
    """Return the cost of each model and how good it is; bold where no other model is both cheaper and better.

    The best stand first. How good: see `merit`.
    """
    what = merit(inputs)
    upward = what.upward if what else {}
    known = [row for row in costs if row.model in inputs.matrix.models]
    if what and not inputs.scores.has_scores:
        known.sort(key=lambda row: -upward.get(row.model, -np.inf))
    score = np.array([upward.get(row.model, np.nan) for row in known])
    fronts = [pareto_front(values, score) for values in cost_columns(known)]
    rows = []
    for k, row in enumerate(known):
        latency = (
            number(row.latency_ms, 1, strong=bool(fronts[2][k]), note=row.latency_note)
            if row.latency_ms
            else Field("not measured", np.nan)
        )
        rows.append((
            text(row.model),
            *([number(what.shown.get(row.model), what.digits, note=what.notes.get(row.model, ""))] if what else []),
            _millions(row.params, row.params_range, 2, strong=bool(fronts[0][k])),
            _millions(row.macs, row.macs_range, 0, strong=bool(fronts[1][k])), latency,
        ))  # fmt: skip
    notes = sorted({row.latency_note for row in known if row.latency_ms and row.latency_note})
    ranges = any(row.params_range or row.macs_range for row in known)
    caption = f"Bold: on the Pareto front of that cost and {what.title}. " if what else ""
    caption += "MACs are multiply-adds. "
    if ranges:
        caption += (
            "Brackets: fewest to most where a model's cost differs between datasets by more than 5 %, beside their mean"
            " or what was profiled, which is what the front takes. "
        )
    caption += "Latency: " + "; ".join(notes) + "." if notes else "Latency was not measured."
    columns = ("model", *([what.title] if what else []), "params (M)", "MACs (M)", "latency (ms)")
    return Table("cost", caption, columns, tuple(rows))


def _millions(value: int, span: tuple[int, int] | None, digits: int, *, strong: bool) -> Field:
    words = f"{value / 1e6:.{digits}f}"
    if span:
        words += f" [{span[0] / 1e6:,.{digits}f} to {span[1] / 1e6:,.{digits}f}]"
    return Field(words, value / 1e6, strong=strong)


def cost_columns(costs: list[CostRow]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return params, MACs and latency (NaN where not measured), each [models]."""
    latency = [np.nan if row.latency_ms is None else row.latency_ms for row in costs]
    return (
        np.array([row.params for row in costs], dtype=float),
        np.array([row.macs for row in costs], dtype=float),
        np.array(latency, dtype=float),
    )


def elements_table(inputs: ReportInputs) -> Table:
    """Return the difference each of Table 5's elements goes with, largest first."""
    effects = element_effects(inputs.scores.models, inputs.scores.xscore.score, inputs.elements or {})
    rows = tuple(
        (
            text(e.element), number(e.effect), number(e.n_with, 0), number(e.n_without, 0), number(e.p),
            number(e.smallest_p), number(e.p_holm),
        )
        for e in effects
    )  # fmt: skip
    caption = (
        f"Mean xScore of the models with an element minus those without, n = {len(inputs.scores.models)} models. "
        "p: two-sided permutation test; smallest p: what these group sizes allow at best; Holm: corrected for all rows."
    )
    columns = ("element", "difference", "with", "without", "p", "smallest p", "p (Holm)")
    return Table("elements", caption, columns, rows)
