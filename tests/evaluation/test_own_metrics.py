"""Metrics that installed packages offer: the example of docs/metrics.md, and what a package may get wrong."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from evaluation.made import drawn, predictions

from mobilebench.evaluation import jackknife, metrics
from mobilebench.evaluation.metrics import METRICS, Metric, MetricError, get_metric, metric_ids, metrics_for
from mobilebench.evaluation.selection import BestVal, Choice, judge
from mobilebench.evaluation.target import TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Offer = Callable[..., None]

DOCS = (Path(__file__).parents[2] / "docs/metrics.md").read_text()
ERROR_RATE = Metric(
    "error_rate", "Error rate", (0, 1), lambda p: float((p.predicted != p.targets).mean()), higher_is_better=False
)
NO_METRIC = "top1"


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    metrics._installed.cache_clear()
    yield
    metrics._installed.cache_clear()


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Offer:
    """Let packages appear to be installed that offer these entry points."""

    def offer(*points: tuple[str, str]) -> None:
        found = [metadata.EntryPoint(name, value, metrics.GROUP) for name, value in points]
        monkeypatch.setattr(metrics.metadata, "entry_points", lambda group: found if group == metrics.GROUP else [])
        monkeypatch.setitem(sys.modules, "offered_metrics", sys.modules[__name__])

    return offer


def test_the_example_of_the_docs_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOCS, re.DOTALL)
    (project,) = re.findall(r"```toml\n(.*?)```", DOCS, re.DOTALL)
    (tmp_path / "my_metrics.py").write_text(code)
    about = tomllib.loads(project)["project"]
    info = tmp_path / "my_metrics-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n")
    points = about["entry-points"][metrics.GROUP]
    lines = [f"[{metrics.GROUP}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_metrics", raising=False)

    metric = get_metric("worst_recall")
    assert metric_ids()[-1] == "worst_recall"
    p = predictions("single_label", [0, 0, 1, 1, 1], np.eye(3)[[0, 1, 1, 1, 0]])
    assert metric.value(p) == 1 / 2  # of class 0 one of two, of class 1 two of three, of class 2 there is none
    many = drawn("single_label", 400, 4)
    blocks = jackknife.image_blocks(400)
    np.testing.assert_allclose(
        metric._without_blocks(many, blocks), jackknife.by_calls(metric.value, many, blocks), rtol=0, atol=1e-12
    )
    assert judge([0.1, 0.3, 0.2], BestVal("worst_recall")) == Choice(2, stop=False)
    sys.modules.pop("my_metrics")


def test_the_table_of_the_docs_is_that_of_the_code() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in DOCS.splitlines() if line.startswith("| `")
    ]
    assert [row[0] for row in rows] == [f"`{name}`" for name in METRICS]
    for (_, _, bounds, better, targets, source, _), metric in zip(rows, METRICS.values(), strict=True):
        low, high = metric.bounds
        assert bounds == (f"{low} up" if high == float("inf") else f"{low} to {high}")
        assert better == ("higher" if metric.higher_is_better else "lower")
        named = [target for target in TARGETS if target in metric.targets]
        assert targets == ("all" if len(named) == len(TARGETS) else ", ".join(named))
        assert source == metric.needs


def test_a_package_can_offer_a_metric(installed: Offer) -> None:
    installed(("error_rate", "offered_metrics:ERROR_RATE"))
    assert metric_ids() == (*METRICS, "error_rate")
    p = drawn("single_label", 300, 4)
    assert get_metric("error_rate").value(p) == pytest.approx(1 - METRICS["top1"].value(p))
    # Without any fast way, by 200 calls: the binomial error of the share that is right.
    found, top1 = get_metric("error_rate").pseudo_values(p).std(ddof=1) / 200**0.5, METRICS["top1"].value(p)
    assert found == pytest.approx((top1 * (1 - top1) / 300) ** 0.5, rel=0.15)
    assert judge([0.3, 0.1, 0.2], BestVal("error_rate")).keep == 2
    assert get_metric("error_rate") not in metrics_for("single_label")
    with pytest.raises(MetricError, match="did you mean error_rate"):
        get_metric("errorrate")


@pytest.mark.parametrize(
    ("point", "message"),
    [
        (("mine", "offered_metrics:NO_METRIC"), "the entry point 'mine' .* is 'top1'; expected a Metric of that id"),
        (("mine", "offered_metrics:ERROR_RATE"), "is Metric.*error_rate.*; expected a Metric of that id"),
        (("mine", "no_such_module:MINE"), r"the metric 'mine' \(no_such_module:MINE\) cannot be loaded: No module"),
        (("mine", "offered_metrics:ABSENT"), "'mine' .* cannot be loaded: .* has no attribute 'ABSENT'"),
    ],
)
def test_an_entry_point_that_gives_no_metric(installed: Offer, point: tuple[str, str], message: str) -> None:
    installed(point)
    assert get_metric("top1") is METRICS["top1"]
    with pytest.raises(MetricError, match=message):
        get_metric("mine")
    with pytest.raises(ValueError, match=r"selection\.best_val\.metric: the "):
        BestVal("mine")


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([("top1", "offered_metrics:ERROR_RATE")], "a metric called 'top1', but that name is taken; rename it there"),
        ([("mine", "offered_metrics:A"), ("mine", "offered_metrics:B")], "'mine', but that name is taken"),
        ([("My-Metric", "offered_metrics:ERROR_RATE")], "'My-Metric'; a metric's id is made of a-z, 0-9 and _"),
    ],
)
def test_names_a_package_may_not_offer(installed: Offer, points: list[tuple[str, str]], message: str) -> None:
    """A packaged metric is the packaged one all the same; whatever else is asked for says what is wrong."""
    installed(*points)
    assert get_metric("top1") is METRICS["top1"]
    for ask in (metric_ids, lambda: get_metric("error_rate")):
        with pytest.raises(MetricError, match=message):
            ask()
