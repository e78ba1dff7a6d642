"""Which model is best overall, and what fewer train images do: sections of any grid, on made ones."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats

from mobilebench.config.data import DerivedData, OwnData
from mobilebench.errors import UserError
from mobilebench.report import ReportInputs, collect
from mobilebench.report.aggregations import aggregation_findings
from mobilebench.report.low_data import low_data_findings
from mobilebench.report.sections import build
from mobilebench.scoring import Matrix, compute_scores
from mobilebench.scoring.low_data import LowData

if TYPE_CHECKING:
    from pathlib import Path

MODELS = tuple("abcdefgh")
DATASETS = ("d1", "d2", "d3", "d4")
RNG = np.random.default_rng(8)
VALUES = 0.5 + 0.04 * np.arange(8)[:, None] + RNG.normal(0, 0.05, (8, 4))
DOMAINS = {"d1": "medical", "d2": "medical", "d3": "natural", "d4": "plant"}


def grid(values: np.ndarray = VALUES, metrics: tuple[str, ...] = ("top1",) * 4, **options: object) -> ReportInputs:
    matrix = Matrix(MODELS, DATASETS, (0,), values[..., None], np.full(4, 500), metrics)
    return replace(ReportInputs(matrix, compute_scores(matrix, draws=20), "mine", "mine", "abc", {}), **options)  # type: ignore[arg-type]


def test_places_are_those_of_the_plain_means_and_ranks() -> None:
    words, pictures, (table,) = aggregation_findings(grid(domains=DOMAINS))
    assert [picture.name for picture in pictures] == ["ranks_datasets", "ranks_domains"]
    ranks = stats.rankdata(-VALUES, axis=0).mean(axis=1)
    column = table.columns.index("mean rank over the datasets")
    assert {row[0].text: row[column].value for row in table.rows} == pytest.approx(
        dict(zip(MODELS, ranks, strict=True))
    )
    assert [row[0].text for row in table.rows] == [MODELS[i] for i in np.argsort(ranks, kind="stable")]
    by_domain = np.column_stack([VALUES[:, :2].mean(axis=1), VALUES[:, 2:]]).mean(axis=1)
    column = table.columns.index("mean over the domains of their mean result")
    (best,) = [row[0].text for row in table.rows if row[column].strong]
    assert best == MODELS[int(by_domain.argmax())]
    p = stats.friedmanchisquare(*VALUES).pvalue
    assert f"Friedman p = {p:.3f}" in pictures[0].caption
    assert "those of one domain are alike" in words[1]


def test_without_domains_or_with_one_for_each_there_are_only_ways_over_datasets() -> None:
    for domains in ({}, dict.fromkeys(DATASETS, "medical"), {name: f"domain {name}" for name in DATASETS}):
        _, pictures, (table,) = aggregation_findings(grid(domains=domains))
        assert table.columns == ("model", "mean result over the datasets", "mean rank over the datasets", "xScore")
        assert len(pictures) == 1


def test_results_of_several_metrics_have_ranks_and_xscore_alone() -> None:
    _, pictures, (table,) = aggregation_findings(grid(metrics=("top1", "top1", "qwk", "top1"), domains=DOMAINS))
    assert table.columns == ("model", "mean rank over the datasets", "xScore")
    assert len(pictures) == 1


def test_where_all_ways_agree_it_says_so() -> None:
    words, _, _ = aggregation_findings(grid(0.1 + 0.1 * np.arange(8)[:, None] + np.zeros((8, 4))))
    assert words[0] == "h is first in each of 3 ways of putting the datasets together."


def test_models_without_every_result_are_left_out_and_too_few_are_refused() -> None:
    values = VALUES.copy()
    values[0, 1] = np.nan
    _, _, (table,) = aggregation_findings(grid(values))
    assert {row[0].text for row in table.rows} == set(MODELS[1:])
    values[:5, 1] = np.nan
    with pytest.raises(UserError, match="4 or more models"):
        aggregation_findings(grid(values))
    assert "aggregations" not in [section.name for section in build(grid(values))]


def less(values: np.ndarray, shares: dict[str, dict[str, int]] | None = None) -> ReportInputs:
    inputs = grid(values)
    return replace(inputs, low_data=LowData(inputs.matrix, shares or {"d1": {"d1": 1000, "d2": 100, "d3": 10}}))


def test_order_kept_is_spearmans_and_each_point_has_its_interval() -> None:
    values = VALUES.copy()
    values[:, 1] = values[:, 0] - 0.1
    values[:, 2] = values[::-1, 0]
    _, (picture,), (orders, results) = low_data_findings(less(values))
    rho = [row[2].value for row in orders.rows]
    assert rho == pytest.approx([1.0, stats.spearmanr(values[:, 0], values[:, 2]).statistic])
    assert [row[1].text for row in orders.rows] == ["10 %", "1 %"]
    assert len(results.rows) == 24
    low, high = stats.binomtest(round(values[0, 0] * 500), 500).proportion_ci(0.95, "wilson")
    (row,) = [row for row in results.rows if (row[1].text, row[3].text) == ("100 %", "a")]
    assert row[5].text == f"{100 * low:.2f} to {100 * high:.2f}"
    (panel,) = [panel for panel in picture.figure.axes if panel.get_visible()]
    assert {len(line.get_xdata()) for line in panel.lines if line.get_label() in MODELS} == {3}
    assert "test images" in picture.caption


def test_what_has_no_run_yet_is_left_out() -> None:
    values = VALUES.copy()
    values[:, 2] = np.nan
    values[0, 1] = np.nan
    _, _, (orders, results) = low_data_findings(less(values))
    assert [row[1].text for row in orders.rows] == ["10 %"]
    assert "n = 7 models" in orders.caption
    (absent,) = [row for row in results.rows if (row[1].text, row[3].text) == ("10 %", "a")]
    assert absent[4].text == "n/a"
    values[:, 0] = np.nan
    with pytest.raises(UserError, match="no dataset is there both"):
        low_data_findings(less(values))


def test_shares_are_those_of_the_packed_sets_of_the_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"d1": 1000, "d2": 100, "d4": 50}

    def meta(path: Path) -> SimpleNamespace:
        if path.name not in counts:
            raise UserError("not packed")
        return SimpleNamespace(counts={"train": counts[path.name]})

    monkeypatch.setattr(collect, "read_meta", meta)
    sources = {
        "d2": DerivedData(of="d1", train_fraction=0.1),
        "d3": DerivedData(of="d1", per_class=1),  # not packed here
        "d4": OwnData(folder="x"),
        "d5": DerivedData(of="elsewhere", max_train=9),
    }
    found = collect._low_data(grid().matrix, sources)
    assert found is not None
    assert found.shares == {"d1": {"d1": 1000, "d2": 100}}
    assert found.matrix.datasets == ("d1", "d2")
    assert collect._low_data(grid().matrix, {}) is None
