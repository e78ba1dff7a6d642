"""`--json`: one document on stdout with what the tables show, and nothing else there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from mobilebench.cli import COMMANDS, main
from mobilebench.config.suite import preset_text
from mobilebench.runs.records import read_results
from mobilebench.system.json_values import plain_value
from mobilebench.system.layout import RESULTS


def document(*words: str) -> dict[str, Any]:
    done = CliRunner().invoke(main, [*words, "--json"])
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["command"] == " ".join(word for word in words[:2] if word in {*COMMANDS, "list", "claims", "audit"})
    assert all(isinstance(note, str) for note in found["notes"])
    return found


def test_values_without_a_number_are_null_and_numbers_stay_whole() -> None:
    frame = pd.DataFrame({"x": [1.5, np.nan], "n": pd.array([3, None], dtype="Int64"), "path": [Path("a"), None]})
    assert plain_value(frame) == [{"x": 1.5, "n": 3, "path": "a"}, {"x": None, "n": None, "path": None}]
    assert plain_value({"low": -np.inf, "seeds": (np.int64(1), True)}) == {"low": None, "seeds": [1, True]}
    with pytest.raises(TypeError, match="a object has no form in JSON"):
        plain_value([object()])


def test_status_names_every_cell(project: Path) -> None:
    (project / "params.yaml").write_text(preset_text("demo"))
    found = document("status")
    assert (found["suite"], found["finished"], len(found["cells"])) == ("demo", 0, 33)
    assert found["cells"][0]["name"] == "unprepared"


def test_what_is_left_is_told_at_the_pace_of_the_finished_cells(trained: Path) -> None:
    params = trained / "params.yaml"
    params.write_text(params.read_text().replace("seeds: [0]", "seeds: [0, 1]"))
    found = document("status")
    seconds = [record.train_seconds for record in read_results(RESULTS)]
    assert found["seconds_left"] == pytest.approx(sum(second or 0 for second in seconds))  # as many cells again
    assert found["datasets_without_pace"] == []
    assert found["packed_bytes"] > 64 * 16 * 16 * 3
    assert "2 cells to train: about" in " ".join(found["notes"])
    shutil.rmtree("results/cells")
    shutil.rmtree(".mobilebench/cells")  # the journals of these runs say it, too
    assert document("status")["seconds_left"] is None


def test_datasets_are_listed_with_their_sizes(project: Path) -> None:
    rows = {row["dataset"]: row for row in document("data", "list")["datasets"]}
    assert (rows["digits"]["train"], rows["digits"]["download_bytes"]) == (1437, 0)
    assert rows["imagenette"]["files"][0]["bytes"] is None
    assert rows["imagenette"]["download_bytes"] is None
    assert (rows["imagenette"]["domain"], rows["cct20"]["domain"]) == ("natural", "camera trap")
    assert document("data", "list", "digits")["datasets"] == [rows["digits"]]


def test_a_study_is_checked_and_audited(project: Path) -> None:
    claims = document("study", "claims", "beyond_imagenet")["claims"]
    assert {"name", "statement", "rule", "verdict", "pro", "contra", "notes", "caveat"} == set(claims[0])
    assert document("study", "audit", "beyond_imagenet")["audit"][0]["printed"]


def test_all_subsets_are_given_whatever_is_printed(project: Path) -> None:
    found = document("subsets", "--size", "4", "--top", "2")
    assert len(found["subsets"]) == 35
    assert 0 < found["subsets"][0]["Spearman, others"] <= 1


def test_a_refused_command_has_no_document(project: Path) -> None:
    done = CliRunner().invoke(main, ["status", "--json"])
    assert (done.exit_code, done.stdout) == (2, "")
    assert "params.yaml" in done.stderr
    assert CliRunner().invoke(main, ["data", "list"]).stdout.startswith("dataset")  # tables are printed again


def test_scores_are_those_of_the_result_files(trained: Path) -> None:
    found = document("score")
    values = {(row["model"], row["seed"]): row["value"] for row in found["cells"]}
    assert values == {(record.model, record.seed): record.value for record in read_results(RESULTS)}
    assert {row["model"] for row in found["models"]} == {"shufflenet", "starnet"}
    assert "results/xscore.csv" in found["written"]
    (ranking,) = found["rankings"]
    assert [row["value"] for row in ranking["rows"]] == sorted(values.values(), reverse=True)
    again = document("leaderboard")
    assert (again["models"], again["cells"]) == (found["models"], found["cells"])
    same = document("compare", "experiment:tiny", "experiment:tiny")
    assert {row["difference"] for row in same["differences"]} == {0.0}
    pair = document("compare", "shufflenet", "starnet")
    assert (pair["a"], pair["b"], len(pair["differences"])) == ("shufflenet", "starnet", 1)
    cell = document("inspect", "starnet", "blobs")
    assert {row["class"] for row in cell["classes"]} == {"dark", "light"}
    (top1,) = (row["value"] for row in cell["metrics"] if row["metric"] == "Top-1")
    assert top1 == values["starnet", 0]
