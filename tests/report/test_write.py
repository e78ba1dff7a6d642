"""What lies on disk after a report: complete, deterministic, with every number's n, interval or "single run"."""

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from mobilebench.report import ReportInputs, write_report
from mobilebench.report.table import Field, Table, to_csv


def test_markdown_shows_every_model_and_every_linked_figure_exists(folder: Path, inputs: ReportInputs) -> None:
    words = (folder / "report.md").read_text()
    assert all(model in words for model in inputs.matrix.models)
    links = [line.split("](")[1].rstrip(")") for line in words.splitlines() if line.startswith("![")]
    assert links
    for link in links:
        assert (folder / link).read_bytes().startswith(b"\x89PNG")
    assert "training seeds, pooled over models and datasets, and test images" in words


def test_nothing_half_written_is_left(folder: Path) -> None:
    assert not list(folder.rglob("*.part"))


def test_the_same_inputs_give_the_same_files(folder: Path, inputs: ReportInputs, tmp_path: Path) -> None:
    for path in write_report(tmp_path, inputs):
        assert path.read_bytes() == (folder / path.relative_to(tmp_path)).read_bytes(), path.name


def test_accuracy_table_holds_the_matrix(folder: Path, inputs: ReportInputs) -> None:
    lines = [line.split(",") for line in (folder / "tables" / "accuracy.csv").read_text().splitlines()[1:]]
    shown = {line[0]: [float(x) for x in line[1:]] for line in lines}
    for i, model in enumerate(inputs.matrix.models):
        assert shown[model] == pytest.approx(np.asarray(inputs.matrix.mean[i]).tolist())


def test_both_ends_of_an_interval_are_in_the_csv(folder: Path, inputs: ReportInputs) -> None:
    with (folder / "tables" / "leaderboard.csv").open() as file:
        found = {row["model"]: row for row in csv.DictReader(file)}
    for row in inputs.scores.rows:
        ends = [float(found[row.model][f"interval {end}"]) for end in ("low", "high")]
        assert ends == [row.low, row.high]
        assert float(found[row.model]["xScore"]) == row.score


def test_an_estimate_keeps_its_own_column_and_ends_that_nobody_knows_are_empty() -> None:
    rows = ((Field("0.50 [0.10, 0.80]", 0.5, ends=(0.1, 0.8)),), (Field("0.9", 0.9, ends=(math.nan, math.nan)),))
    assert to_csv(Table("t", "", ("rho",), rows)) == "rho,rho low,rho high\n0.5,0.1,0.8\n0.9,,\n"


def test_latex_is_a_booktabs_table_with_everything_escaped(folder: Path) -> None:
    words = (folder / "tables" / "leaderboard.tex").read_text()
    assert words.count(r"\toprule") == words.count(r"\midrule") == words.count(r"\bottomrule") == 1
    assert r"alpha\_net" in words
    body = [line for line in words.splitlines() if line.endswith(r"\\")]
    assert {line.replace(r"\&", "").count("&") for line in body} == {8}
    assert words.isascii() or "±" not in words


def test_dvc_reads_the_metrics_and_the_plots(folder: Path, inputs: ReportInputs) -> None:
    metrics = json.loads((folder / "metrics.json").read_text())
    best = inputs.scores.rows[0]
    assert metrics["xscore"][best.model] == best.score
    assert (metrics["cells"], metrics["cells_absent"]) == (24, 0)
    matrix = inputs.matrix
    assert metrics["mean"] == pytest.approx(dict(zip(matrix.datasets, matrix.mean.mean(axis=0), strict=True)))
    with (folder / "plots" / "xscore.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == [row.model for row in inputs.scores.rows]
    assert (folder / "plots" / "curves.csv").read_text().count("\n") == 1 + 3 * len(inputs.curves)
    assert len((folder / "plots" / "proxy.csv").read_text().splitlines()) == 5
