"""Costs in a report: one number where all datasets agree, a range where a model is built differently by dataset."""

from dataclasses import replace
from pathlib import Path

from mobilebench.analysis.costs import costs_of
from mobilebench.models.cost.cost_file import CostRow
from mobilebench.report.analysis import cost_table
from mobilebench.report.inputs import ReportInputs
from mobilebench.runs.records import Record


def record(model: str, dataset: str, params: int, macs: int) -> Record:
    run = Record(f"{model}{dataset}", model, dataset, 0, "p", "digest", 1, "FINISHED", {"top1": 0.5}, 100)
    return replace(run, params=params, macs=macs)


RECORDS = [
    record("alpha_net", "digits", 2_300_000, 645_000_000),
    record("alpha_net", "toy_shapes", 2_310_000, 4_367_000_000),
    record("beta_net", "digits", 2_600_000, 400_000_000),
    record("beta_net", "toy_shapes", 4_000_000, 401_000_000),
]


def test_a_cost_that_differs_between_datasets_is_a_range(tmp_path: Path, inputs: ReportInputs) -> None:
    found = costs_of(tmp_path, RECORDS)
    assert found == (
        CostRow("alpha_net", 2_300_000, 2_506_000_000, macs_range=(645_000_000, 4_367_000_000)),
        CostRow("beta_net", 3_300_000, 400_000_000, params_range=(2_600_000, 4_000_000)),
    )
    table = cost_table(inputs, found)
    assert "more than 5 %" in table.caption
    assert [[cell.text for cell in row[2:4]] for row in table.rows] == [
        ["2.30", "2506 [645 to 4,367]"],
        ["3.30 [2.60 to 4.00]", "400"],
    ]


def test_a_profiled_cost_keeps_its_number_and_shows_the_range(tmp_path: Path) -> None:
    (tmp_path / "cost.csv").write_text("model,params,macs,latency_ms\nalpha_net,2306058,2329000000,5.5\n")
    found = costs_of(tmp_path, RECORDS)
    assert found is not None
    assert (found[0].macs, found[0].latency_ms, found[0].macs_range) == (
        2_329_000_000,
        5.5,
        (645_000_000, 4_367_000_000),
    )


def test_runs_that_counted_nothing_give_no_cost(tmp_path: Path, inputs: ReportInputs) -> None:
    assert costs_of(tmp_path, [record("alpha_net", "digits", 0, 0)]) is None
    agreed = costs_of(tmp_path, RECORDS[:1])
    assert agreed is not None
    assert "more than 5 %" not in cost_table(inputs, agreed).caption
