"""What its report alone shows: its claims, low data, ways of aggregating, critical differences, ImageNet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mobilebench.scoring.aggregation import TITLES, domain_means, overall
from mobilebench.scoring.correlation import fit
from mobilebench.scoring.rank_tests import rank_test
from mobilebench.scoring.ranking import wilson
from mobilebench.studies.study import PUBLISHED, AuditTable, Line, LineChart, RankChart, StudySection
from mobilebench.studies.which_backbone import published as reference
from mobilebench.studies.which_backbone.claims import check_claims
from mobilebench.studies.which_backbone.context import load_context
from mobilebench.studies.which_backbone.facts import TOO_HIGH
from mobilebench.studies.which_backbone.retained import retained
from mobilebench.system.words import p_words

if TYPE_CHECKING:
    from mobilebench.scoring.matrix import Matrix

INTERVAL = "95 % intervals from the n test images (Wilson); training noise is not in them"


def sections() -> tuple[StudySection, ...]:
    """Return the sections, in reading order."""
    return (_claims(), _low_data(), _aggregations(), _imagenet())


def _claims() -> StudySection:
    rows = tuple(
        (claim.statement, claim.verdict, _evidence(claim.pro, claim.contra, claim.notes), claim.rule)
        for claim in check_claims(load_context(PUBLISHED))
    )
    caption = "What the paper says, held against its own tables. A verdict follows from its rule alone."
    table = AuditTable("study_claims", caption, ("claim", "verdict", "evidence", "rule"), rows)
    return StudySection("study_claims", "What the study claims", (TOO_HIGH,), tables=(table,))


def _evidence(pro: tuple[str, ...], contra: tuple[str, ...], notes: tuple[str, ...]) -> str:
    said = [("For", pro), ("Against", contra), ("Note", notes)]
    return "\n".join(f"{label}: {line}." for label, lines in said for line in lines)


def _low_data() -> StudySection:
    part = reference.low_data()
    sizes = {row.dataset: row.test for row in reference.datasets()}
    columns: dict[str, list[tuple[int, int, dict[str, float]]]] = {}
    for column in reference.fractions():
        columns.setdefault(column.dataset, []).append((column.percent, column.train, column.top1))
    panels, rows = {}, []
    for dataset, shares in columns.items():
        shares.sort(key=lambda share: share[0])
        lines = []
        for model in part.models:
            values = [top1[model] for _, _, top1 in shares]
            ends = [wilson(value, sizes[dataset], 0.95) for value in values]
            percent = [tuple(100 * x for x in row) for row in (values, [e[0] for e in ends], [e[1] for e in ends])]
            lines.append(Line(model, tuple(float(share[0]) for share in shares), *percent))
            rows += [
                (dataset, f"{share} %", f"{train:,}", model, 100 * value, f"{100 * low:.2f} to {100 * high:.2f}")
                for (share, train, _), value, (low, high) in zip(shares, values, ends, strict=True)
            ]
        panels[dataset] = tuple(lines)
    words = f"Tables 7 and 8 as printed, best of three runs each; {INTERVAL}."
    heads = ("dataset", "share", "train images", "model", "top-1 (%)", "interval")
    table = AuditTable("low_data", f"Accuracy by share of the train images. {words}", heads, tuple(rows))
    chart = LineChart(
        "low_data", f"Accuracy against the share of the train images, n = 11 models. {words}", "train images (%)",
        "top-1 (%)", panels, marked=("convnext_tiny", "efficientnet_v2_s", "swin_t", "swin_v2_t"),
    )  # fmt: skip
    return StudySection("low_data", "With fewer train images", (), (chart,), (_order_table(part), table))


def _order_table(part: Matrix) -> AuditTable:
    """Return how well the order of models with fewer images agrees with that with all, dataset by dataset."""
    rows = []
    for name in part.datasets:
        base, percent = reference.split_fraction(name)
        if percent == 100:
            continue
        above, below = (part.upward[:, [part.datasets.index(d)]] for d in (base, name))
        found = retained(above, below)
        rows.append((base, f"{percent} %", found.rho, f"{found.low:.2f} to {found.high:.2f}", found.p))
    caption = (
        "Spearman's correlation of the order of n = 11 models with fewer train images and with all, 95 % bootstrap "
        "interval over models and one-sided permutation p of each for itself, not corrected for their number."
    )
    return AuditTable("order_kept", caption, ("dataset", "share", "Spearman", "interval", "p"), tuple(rows))


def _aggregations() -> StudySection:
    table = reference.matrix()
    domains = reference.domains()
    ways = overall(table, domains)
    rows = tuple(
        (model, *(f"{_shown(way.id, float(way.shown[i]))} ({way.places[i]:g})" for way in ways))
        for i, model in enumerate(table.models)
    )
    labels = [domains[name] for name in table.datasets]
    caption = (
        f"Six ways of making one ranking of {len(table.datasets)} datasets of {len(set(labels))} domains, n = 11 "
        "models; in brackets the place. Results in percent, xScore with lambda 0.5."
    )
    names = [TITLES[way.id] for way in ways]
    found = AuditTable("aggregations", caption, ("model", *names), rows)
    firsts = ", ".join(dict.fromkeys(" = ".join(way.best(1)[0]) for way in ways))
    words = (
        f"Which model is best overall depends on how datasets are put together: the first places are {firsts}.",
        (
            "Friedman's and Nemenyi's tests take datasets for independent; four magnifications of BreakHis, and two "
            "CIFARs, are not, so that the first diagram is too sure. The second has one value for each domain."
        ),
    )
    charts = (
        _ranks(table, table.upward, "ranks_datasets", f"{len(table.datasets)} datasets"),
        _ranks(table, domain_means(table.upward, labels), "ranks_domains", f"{len(set(labels))} domains"),
    )
    return StudySection("aggregations", "Which backbone is best overall", words, charts, (found,))


def _shown(way: str, value: float) -> str:
    if way in {"mean_result", "domain_mean"}:
        return f"{100 * value:.2f}"
    return f"{value:.3f}" if way == "xscore" else f"{value:g}" if way == "top_3" else f"{value:.2f}"


def _ranks(table: Matrix, values: np.ndarray[tuple[int, ...], np.dtype[np.float64]], name: str, over: str) -> RankChart:
    found = rank_test(values)
    caption = (
        f"Mean rank of n = {len(table.models)} models over {over} (Friedman p {p_words(found.p)}). Blue bars join "
        f"models that Nemenyi's test does not tell apart; they are at most {found.difference:.2f} ranks apart (95 %)."
    )
    groups = tuple(tuple(table.models[i] for i in group) for group in found.groups())
    return RankChart(
        name, caption, dict(zip(table.models, map(float, found.ranks), strict=True)), found.difference, groups
    )


def _imagenet() -> StudySection:
    table, top1 = reference.matrix(), reference.imagenet_top1()
    x = np.array([top1[model] for model in table.models])
    rows = []
    for dataset, y in zip(table.datasets, table.upward.T, strict=True):
        line = fit(x, y)
        rows.append((
            dataset, line.rho, f"{line.rho_low:.2f} to {line.rho_high:.2f}",
            line.r, f"{line.r_low:.2f} to {line.r_high:.2f}",
        ))  # fmt: skip
    caption = (
        "ImageNet accuracy as printed in Table 2 against the accuracy on each dataset, n = 11 models; 95 % intervals "
        "by Fisher's z, each for itself, not corrected for the number of datasets. The paper computes none of these."
    )
    heads = ("dataset", "Spearman", "its interval", "Pearson", "its interval of r")
    return StudySection(
        "study_imagenet",
        "Does ImageNet accuracy predict the others?",
        tables=(AuditTable("imagenet", caption, heads, tuple(rows)),),
    )
