"""Accuracy against latency on a device: who is on the front, who is best under a budget, and what is said."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner

from mobilebench.analysis.devices import BUDGETS, device_figures, sizes_of
from mobilebench.cli import main
from mobilebench.config.suite import parse_suite, preset_text
from mobilebench.errors import UserError
from mobilebench.models.cost.device_file import DeviceRow, add_device_rows
from mobilebench.report.devices import device_findings
from mobilebench.report.sections import section
from mobilebench.scoring import Matrix, compute_scores
from mobilebench.scoring.ranking import rank_models
from mobilebench.scoring.uncertainty import order_probability

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mobilebench.report.inputs import ReportInputs
    from mobilebench.report.table import Table

LATENCY = {"alpha_net": 4.0, "beta_net": 9.0, "gamma_net": 9.5, "delta_net": 30.0}
ROW = DeviceRow("Pixel 8", "cpu", "litert", "", "fp32", 4, 1, "alpha_net", "64", 4.0, 4.8, 4.1, 50, "", "2026-11-30")


def rows_of(latency: Mapping[str, float], row: DeviceRow = ROW) -> list[DeviceRow]:
    return [replace(row, model=model, median_ms=ms, p90_ms=1.2 * ms) for model, ms in latency.items()]


def with_devices(
    inputs: ReportInputs, folder: Path, rows: Sequence[DeviceRow], budgets: Sequence[float] = BUDGETS
) -> ReportInputs:
    add_device_rows(folder / "device_results.csv", rows)
    sizes = dict.fromkeys(inputs.matrix.models, ("64",))
    return replace(inputs, devices=device_figures(folder / "device_results.csv", inputs.matrix.models, sizes, budgets))


def one_dataset(inputs: ReportInputs, values: Sequence[Sequence[float]], metric: str = "top1") -> ReportInputs:
    matrix = Matrix(
        inputs.matrix.models, ("digits",), (0, 1, 2), np.array(values)[:, None], np.array([360]), metrics=(metric,)
    )
    return replace(inputs, matrix=matrix, scores=compute_scores(matrix, draws=100), runs={}, curves=(), elements=None)


def cells(table: Table) -> list[list[str]]:
    return [[field.text for field in row] for row in table.rows]


def test_the_best_under_each_budget_and_who_is_not_told_apart(inputs: ReportInputs, tmp_path: Path) -> None:
    found = with_devices(inputs, tmp_path, rows_of(LATENCY), (3, 10, 50))
    _, (picture,), (best, every) = device_findings(found)
    score = {row.model: row.score for row in inputs.scores.rows}
    models, draws = inputs.scores.models, inputs.scores.draws
    assert draws is not None
    assert cells(best)[0][2:4] == ["0", "none: the quickest, alpha_net, takes 4 ms"]
    for row, budget in zip(cells(best)[1:], (10, 50), strict=True):
        fast = [model for model, ms in LATENCY.items() if ms < budget]
        expected = max(fast, key=lambda model: score[model])
        tied = [
            model
            for model in sorted(fast, key=lambda model: -score[model])
            if model != expected and order_probability(draws, models.index(expected), models.index(model)) < 0.95
        ]
        assert row[:5] == [
            "Pixel 8, litert, fp32, 4 threads", str(budget), str(len(fast)), expected, f"{LATENCY[expected]:.2f}",
        ]  # fmt: skip
        assert row[5] == f"{score[expected]:.3f}"
        assert row[7] == (", ".join(tied) or "nobody else")
    on_front = {field.text for row in every.rows if (field := row[1]).strong}
    assert on_front == {
        model
        for model in LATENCY
        if not any(LATENCY[other] < LATENCY[model] and score[other] >= score[model] for other in LATENCY)
    }
    assert [row[1] for row in cells(every)] == sorted(LATENCY, key=LATENCY.__getitem__)
    assert picture.name == "devices_xscore_pixel_8_litert_fp32_4_threads"
    assert sum(len(notes) for _, notes in picture.notes) == 4
    assert "nine of ten at most 4.80; 64 px" in picture.inline().replace("\n", " ")


@pytest.mark.parametrize("metric", ["top1", "nll"])
def test_on_one_dataset_the_group_is_that_of_its_ranking(inputs: ReportInputs, tmp_path: Path, metric: str) -> None:
    values = [[0.50, 0.51, 0.49], [0.90, 0.91, 0.90], [0.90, 0.90, 0.91], [0.95, 0.95, 0.96]]
    made = one_dataset(inputs, values, metric)
    found = with_devices(made, tmp_path, rows_of(LATENCY), (10,))
    _, _, (best, _) = device_findings(found)
    ranking = rank_models(made.matrix, "digits", models=["alpha_net", "beta_net", "gamma_net"])
    first, *others = [row.model for row in ranking.rows if row.may_be_best]
    assert first == {"top1": "beta_net", "nll": "alpha_net"}[metric]
    (row,) = cells(best)
    assert (row[2], row[3]) == ("3", first)
    assert row[7] == (", ".join(others) or "nobody else")
    assert ("gamma_net" in others) == (metric == "top1")


def test_without_known_noise_the_group_is_not_known(inputs: ReportInputs, tmp_path: Path) -> None:
    made = one_dataset(inputs, [[0.5, np.nan, np.nan]] * 3 + [[0.6, np.nan, np.nan]], "macro_f1")
    _, _, (best, _) = device_findings(with_devices(made, tmp_path, rows_of(LATENCY), (50,)))
    assert cells(best)[0][6:] == ["n/a", "not known"]
    assert "No interval: no noise is known" in best.caption


def test_models_without_figures_and_figures_without_models_are_named(inputs: ReportInputs, tmp_path: Path) -> None:
    rows = [
        *rows_of({"alpha_net": 4.0, "beta_net": 5.0, "other_net": 6.0}),
        replace(ROW, model="gamma_net", resolution="128"),
    ]
    rows += [replace(ROW, precision="int8", model="delta_net")]
    words, pictures, _ = device_findings(with_devices(inputs, tmp_path, rows))
    assert "No figure on Pixel 8, litert, fp32, 4 threads: gamma_net, delta_net." in words
    assert "What int8 costs of them is not in this section. `mobilebench export RUN --int8`" in " ".join(words)
    assert (
        f"{tmp_path}/device_results.csv also has figures of models that are not among these results: other_net."
        in words
    )
    assert "Left out are figures of another input size: gamma_net at 128 px (trained at 64)." in words
    assert len(pictures) == 2  # int8 stands apart


def test_rows_of_sizes_are_kept_apart_where_the_trained_size_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / "device_results.csv"
    add_device_rows(path, [ROW, replace(ROW, resolution="128", median_ms=8.0, p90_ms=9.0)])
    small, large = device_figures(path, ["alpha_net"], None).measurements
    assert (small.name, large.name) == (
        "Pixel 8, litert, fp32, 4 threads, 64 px",
        "Pixel 8, litert, fp32, 4 threads, 128 px",
    )
    both = {"alpha_net": ("64", "128")}  # trained at both: the slower one counts
    (together,) = device_figures(path, ["alpha_net"], both).measurements
    assert together.rows["alpha_net"].median_ms == 8.0


def test_a_mean_stands_in_for_a_median_and_is_said(inputs: ReportInputs, tmp_path: Path) -> None:
    rows = [replace(row, median_ms=None, p90_ms=None, mean_ms=7.0) for row in rows_of(LATENCY)]
    _, (picture,), (best, _) = device_findings(with_devices(inputs, tmp_path, rows, (10.0,)))
    assert cells(best)[0][4] == "7.00 (mean)"
    assert "90th percentile" not in picture.caption


def test_two_devices_whose_names_differ_in_signs_have_two_pictures(inputs: ReportInputs, tmp_path: Path) -> None:
    rows = rows_of(LATENCY) + rows_of(LATENCY, replace(ROW, device="Pixel-8"))
    _, pictures, _ = device_findings(with_devices(inputs, tmp_path, rows))
    assert len({picture.name for picture in pictures}) == 2


def test_without_figures_the_section_is_left_out_and_says_how_to_get_it(inputs: ReportInputs, tmp_path: Path) -> None:
    (line,) = section("devices", inputs).words
    assert "`mobilebench models profile --append device_results.csv` measures it here" in line
    with pytest.raises(UserError, match="no latency of any of these models"):
        device_findings(with_devices(inputs, tmp_path, [replace(ROW, model="other_net")]))


def test_a_suite_says_the_sizes_of_its_models() -> None:
    suite = parse_suite(preset_text("demo"), "demo")
    assert set(sizes_of(suite).values()) == {("32",)}


def test_the_report_on_files_takes_a_file_and_budgets(project: Path) -> None:
    rows = rows_of({"starnet": 4.0, "fbnet": 7.0}, replace(ROW, resolution="224"))
    add_device_rows(project / "phones.csv", rows)
    words = ("report", "published", "--out", "out", "--devices", "phones.csv")
    done = CliRunner().invoke(main, [*words, "--under-ms", "5,8"])
    assert done.exit_code == 0, done.output
    text = (project / "out/report.md").read_text()
    assert "## Accuracy against latency on a device" in text
    assert "| Pixel 8, litert, fp32, 4 threads, 224 px | 5 | 1 | **starnet** | 4.00 |" in text
    assert (project / "out/tables/devices_best_xscore.csv").exists()
    assert (project / "out/figures/devices_xscore_pixel_8_litert_fp32_4_threads_224_px.png").exists()
    refused = CliRunner().invoke(main, [*words, "--under-ms", "0"])
    assert refused.exit_code == 2
    assert "expected milliseconds above 0, as 10 or 5,10,20" in " ".join(refused.output.split())
