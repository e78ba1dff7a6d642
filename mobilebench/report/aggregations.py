"""Which model is best overall depends on how datasets are put together: ways of doing so, and critical differences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilebench.errors import UserError
from mobilebench.report.charts import RankChart, rank_chart
from mobilebench.report.figures import runs_line
from mobilebench.report.table import Field, Table, text
from mobilebench.scoring.aggregation import TITLES, domain_means, overall
from mobilebench.scoring.rank_tests import rank_test
from mobilebench.scoring.subsets import complete
from mobilebench.system.words import counted, p_words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mobilebench.report.inputs import ReportInputs
    from mobilebench.report.style import Picture
    from mobilebench.scoring import Matrix
    from mobilebench.scoring.aggregation import Aggregate

    Findings = tuple[tuple[str, ...], tuple[Picture, ...], tuple[Table, ...]]

FEWEST_DATASETS = 3  # of two, mean ranks hardly say more than the results


def aggregation_findings(inputs: ReportInputs) -> Findings:
    """Return sentences, diagrams and a table of the models under each way of aggregating the datasets.

    Ways that go by domains are there where every dataset has one and some share one. Raises UserError for fewer than 4
    models with every result, or fewer than 3 datasets.
    """
    matrix = complete(inputs.matrix)
    names = matrix.datasets
    if len(names) < FEWEST_DATASETS:
        raise UserError(f"{counted(len(names), 'dataset')}, and {FEWEST_DATASETS} are needed")
    labels = [inputs.domains.get(name) or "" for name in names]
    domains = len(set(labels)) if all(labels) else 1
    by_domain = 1 < domains < len(names)
    found = overall(matrix, dict(zip(names, labels, strict=True)) if by_domain else dict.fromkeys(names, "all"),
                    lam=inputs.scores.lam)  # fmt: skip
    ways = tuple(way for way in found if by_domain or way.id in {"mean_result", "mean_rank", "xscore"})
    charts = [_ranks(matrix, matrix.upward, "ranks_datasets", f"{len(names)} datasets")]
    if by_domain and len(set(matrix.metrics)) == 1:  # results of several metrics have no mean
        charts.append(_ranks(matrix, domain_means(matrix.upward, labels), "ranks_domains", f"{domains} domains"))
    over = f"{len(names)} datasets" + (f" of {domains} domains" if by_domain else "")
    return _words(ways, by_domain=by_domain), tuple(charts), (_table(inputs, matrix, ways, over),)


def _words(ways: tuple[Aggregate, ...], *, by_domain: bool) -> tuple[str, ...]:
    firsts = list(dict.fromkeys(" = ".join(way.best(1)[0]) for way in ways))
    agree = f"{firsts[0]} is first in each of {len(ways)} ways of putting the datasets together."
    differ = "Which model is best overall depends on how datasets are put together: the first places are "
    differ += f"{', '.join(firsts)}."
    tests = "Friedman's and Nemenyi's tests take the datasets for a sample of independent ones, which they rarely are"
    if by_domain:
        tests += ": those of one domain are alike, and a diagram over all datasets is then too sure"
    return (agree if len(firsts) == 1 else differ, f"{tests}.")


def _table(inputs: ReportInputs, matrix: Matrix, ways: tuple[Aggregate, ...], over: str) -> Table:
    (by_rank,) = [way for way in ways if way.id == "mean_rank"]
    order = sorted(range(len(matrix.models)), key=lambda i: float(by_rank.places[i]))
    rows = tuple((text(matrix.models[i]), *(_field(way, i) for way in ways)) for i in order)
    caption = (
        f"{len(ways)} ways of making one ranking of {over}, n = {len(matrix.models)} models with every result; in "
        f"brackets the place. xScore with lambda {inputs.scores.lam:g}, scaled within this table. {runs_line(inputs)}"
    )
    return Table("aggregations", caption, ("model", *(TITLES[way.id] for way in ways)), rows)


def _field(way: Aggregate, i: int) -> Field:
    value, place = float(way.shown[i]), float(way.places[i])
    if way.id in {"mean_result", "domain_mean"}:
        shown = f"{100 * value:.2f}"
    else:
        shown = f"{value:.3f}" if way.id == "xscore" else f"{value:g}" if way.id == "top_3" else f"{value:.2f}"
    return Field(f"{shown} ({place:g})", value, strong=place == 1)


def _ranks(matrix: Matrix, values: NDArray[np.float64], name: str, over: str) -> Picture:
    found = rank_test(values)
    caption = (
        f"Mean rank of n = {len(matrix.models)} models over {over} (Friedman p {p_words(found.p)}). Blue bars join "
        f"models that Nemenyi's test does not tell apart; they are at most {found.difference:.2f} ranks apart (95 %)."
    )
    ranks = dict(zip(matrix.models, map(float, found.ranks), strict=True))
    groups = tuple(tuple(matrix.models[i] for i in group) for group in found.groups())
    return rank_chart(RankChart(name, caption, ranks, found.difference, groups))
