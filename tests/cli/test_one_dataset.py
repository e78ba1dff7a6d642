"""The project of somebody with one dataset: which model is best, how sure that is, and which is fast enough."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

from mobilebench.cli import main
from mobilebench.cli.leaderboard import show
from mobilebench.config.suite import Cell
from mobilebench.evaluation.predictions import load_predictions
from mobilebench.models.cost.cost_file import CostRow
from mobilebench.runs.records import predictions_path, read_results
from mobilebench.scoring import Matrix, compute_scores
from mobilebench.system.layout import RESULTS

DOCS = (Path(__file__).parents[2] / "docs/results.md").read_text()


def call(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(main, list(words))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


def flat(output: str) -> str:
    return " ".join(output.split())


def value(model: str) -> float:
    (found,) = [record.value for record in read_results(RESULTS) if record.model == model]
    assert found is not None
    return found


def test_one_dataset_from_the_score_to_the_fastest(trained: Path) -> None:
    """Two networks of single runs on 32 images, as `score`, `leaderboard` and `compare` tell of them."""
    best, other = sorted(("shufflenet", "starnet"), key=value, reverse=True)
    shown = call("score")
    rows = [line.split() for line in shown.splitlines() if line.lstrip("12 ").startswith(("shufflenet", "starnet"))]
    assert [row[0] if row[0] in {best, other} else row[1] for row in rows[:2]] == [best, other]
    low, high = stats.binomtest(round(32 * value(best)), 32).proportion_ci(method="wilson")
    assert f"{100 * low:.1f} to {100 * high:.1f}" in shown
    assert "n = 32 test images, a single run each" in shown
    assert "multiple comparisons with the best (Hsu 1981)" in flat(shown)
    assert "xScore" in shown  # the note says that there is none

    assert "results/cost.csv has no latency of any model; `mobilebench models profile` measures it" in flat(
        call("leaderboard", "--under-ms", "5", code=2)
    )
    columns = "model,params,macs,latency_ms,latency_runs,resolution\n"
    (trained / "results/cost.csv").write_text(f"{columns}{other},2000000,3000000,4.5,30,32\n")
    assert f"`mobilebench models profile --models {best}` measures it" in flat(
        call("leaderboard", "--under-ms", "5", code=2)
    )
    with (trained / "results/cost.csv").open("a") as file:
        file.write(f"{best},2000000,3000000,5.5,30,32\n")
    fast = call("leaderboard", "--under-ms", "5")
    assert "1 of 2 models under 5 ms" in fast
    assert f"{other} is the only model" in fast
    assert "Latency of one image: median of 30 runs, 32 px, batch 1." in fast
    assert not re.search(rf"^ *1? *{best}", fast, re.MULTILINE)
    assert "the quickest is" in call("leaderboard", "--under-ms", "1", code=2)
    assert "5.5" in call("leaderboard")
    assert "no dataset birds" in call("leaderboard", "--dataset", "birds", code=2)

    shown = call("compare", "shufflenet", "starnet", "--dataset", "blobs")
    with (trained / "results/compare/models.csv").open() as file:
        (row,) = csv.DictReader(file)
    right = {}
    for model in ("shufflenet", "starnet"):
        kept = load_predictions(predictions_path(RESULTS, Cell(model, "blobs", 0)))
        right[model] = kept.predicted == kept.targets
    only = [int((right[a] & ~right[b]).sum()) for a, b in (("shufflenet", "starnet"), ("starnet", "shufflenet"))]
    assert [int(row["only_a_right"]), int(row["only_b_right"])] == only
    expected = stats.binomtest(only[0], sum(only), 0.5).pvalue if sum(only) else 1.0
    assert float(row["mcnemar_p"]) == pytest.approx(expected)
    assert float(row["difference"]) == pytest.approx(value("starnet") - value("shufflenet"))
    assert row["paired"] == "True"
    assert f"A alone is right on {only[0]} test images" in flat(shown)
    predictions_path(RESULTS, Cell("starnet", "blobs", 0)).unlink()
    assert "taken for tested" not in call("compare", "shufflenet", "starnet")  # noise.csv pairs them still


def test_the_commands_of_the_docs(trained: Path) -> None:
    """Those of its paragraph on one dataset, one after the other; what profiling measures is written by hand."""
    paragraph = DOCS.split("## One dataset")[1].split("\n## ")[0]
    commands = re.findall(r"^\$ mobilebench ([^#\n]*)", paragraph, re.MULTILINE)
    assert len(commands) == 4
    call("score")
    for command in commands:
        if command.strip() == "models profile":
            rows = "\n".join(f"{record.model},1,1,19.5" for record in read_results(RESULTS))
            (trained / "results/cost.csv").write_text(f"model,params,macs,latency_ms\n{rows}\n")
        else:
            assert "starnet" in call(*command.split())
    assert call("report").startswith("results/report.md")
    assert (trained / "results/report.md").read_text().startswith("# tiny\n")


def test_names_that_are_models_and_something_else(trained: Path) -> None:
    call("score")
    assert "is compared with itself" in call("compare", "model:starnet", "model:starnet", code=2)
    assert "'starnett' is no model of params.yaml" in flat(call("compare", "starnett", "shufflenet", code=2))
    assert "no model birdnet to compare" in flat(call("compare", "model:starnet", "birdnet", code=2))
    assert "a model and a set of runs cannot be compared" in flat(call("compare", "starnet", "tiny", code=2))
    assert "are for xScores" in flat(call("compare", "starnet", "shufflenet", "--lambda", "0.2", code=2))
    assert "--dataset is for two models" in flat(call("compare", "tiny", "tiny", "--dataset", "blobs", code=2))
    assert "1 models" not in call("compare", "tiny", "tiny")

    params = (trained / "params.yaml").read_text()
    _rename("starnet")
    assert "write model:shufflenet model:starnet" in flat(call("compare", "shufflenet", "starnet", code=2))
    assert "in experiment 'tiny'" in call("compare", "model:shufflenet", "model:starnet")
    _rename("shufflenet")
    assert "A = shufflenet, B = starnet: 2 models x 1 datasets" in flat(call("compare", "shufflenet", "starnet"))
    assert (trained / "params.yaml").read_text() == params


def _rename(experiment: str) -> None:
    """Deliver the finished cells to an experiment of this name, as a project of that name would."""
    params = Path("params.yaml")
    before = params.read_text()
    params.write_text(before.replace("experiment: tiny", f"experiment: {experiment}"))
    call("train", "blobs")
    params.write_text(before)


@pytest.mark.parametrize("metric", ["top1", "nll"])
@pytest.mark.parametrize(
    "models", [("a", "b", "c"), ("timm:mobilenetv4_conv_small_050", "efficientnet_canonical", "mobilevit")]
)
@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("timed", [True, False])
def test_no_line_of_a_table_is_broken_on_80_columns(
    capsys: pytest.CaptureFixture[str], metric: str, models: tuple[str, ...], seeds: int, timed: bool
) -> None:
    values = np.random.default_rng(0).uniform(0.2, 0.9, (3, 1, seeds)) * (2 if metric == "nll" else 1)
    covariance = 0.001 * np.eye(3)[None]
    matrix = Matrix(models, ("my_parts",), tuple(range(seeds)), values, np.array([12_000]), (metric,), covariance)
    costs = [CostRow(m, 25_000_000, 4_367_000_000, 1217.5 if timed else None, "here") for m in models]
    show(compute_scores(matrix, draws=20), matrix, "parts, protocol 1a2b3c4d", costs)
    lines = capsys.readouterr().out.splitlines()
    table = lines[3 : next(i for i, line in enumerate(lines) if "the best" in line)]
    assert max(map(len, table)) <= 80
    # Two lines of heads, a rule and the three models; the same again for the costs, and for the distances if need be.
    assert len([line for line in table if line.split()[0] in models]) * 2 == len(table)
    assert len(table) <= (6 if models[0] == "a" else 18)


def test_several_datasets_and_a_budget_keep_the_scores_of_the_whole_grid(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(1)
    values = rng.uniform(0.2, 0.9, (4, 3, 1)) + rng.normal(0, 0.002, (4, 3, 2))
    matrix = Matrix(tuple("abcd"), tuple("xyz"), (0, 1), values, np.array([3000] * 3))
    table = compute_scores(matrix, draws=200)
    some = table.among([row.model for row in table.rows[1::2]])
    assert [(row.rank, row.score) for row in some.rows] == [(row.rank, row.score) for row in table.rows[1::2]]
    assert table.draws is not None
    first, second = (table.draws[:, table.models.index(row.model)] for row in some.rows)
    assert some.rows[0].above_next == pytest.approx((first > second).mean())
    assert np.isnan(some.rows[1].above_next)
    show(table, matrix, "grid", models=[row.model for row in table.rows[1::2]])
    shown = capsys.readouterr().out
    assert f"{table.rows[1].score:.3f}" in shown
    assert f"{table.rows[0].score:.3f}" not in shown
    show(table, matrix, "grid", dataset="y")
    assert "y: test Top-1" in capsys.readouterr().out
