"""What is said of results that say less than they seem to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import CliRunner

from mobilebench.analysis.caveats import caveats
from mobilebench.analysis.placement import place_models
from mobilebench.analysis.result_files import FileResults
from mobilebench.cli import main
from mobilebench.config.suite import ScoreSettings
from mobilebench.runs.records import Record
from mobilebench.scoring import Matrix

if TYPE_CHECKING:
    from pathlib import Path


def record(dataset: str, **more: str) -> Record:
    return Record("r", "starnet", dataset, 0, "p", "d", 1, "finished", **more)  # type: ignore[arg-type]


def test_nothing_is_said_of_results_that_were_chosen_on_val_or_not_at_all() -> None:
    assert caveats([record("digits"), record("dogs")]) == ()


def test_results_chosen_on_test_are_counted() -> None:
    (all_of_them,) = caveats([record("digits", chosen_on="test")])
    assert all_of_them.startswith("CHOSEN ON TEST: All results are of the epoch that was best on the test images")
    (some,) = caveats([record("digits", chosen_on="test"), record("dogs")])
    assert "1 of 2 results are" in some


def test_both_kinds_are_said() -> None:
    known = record("dogs", chosen_on="test", pretrained_on="ImageNet-1k", images_from="ImageNet")
    assert [line.split()[0] for line in caveats([known])] == ["CHOSEN", "starnet:"]


@pytest.mark.slow  # it trains
def test_every_command_that_reads_such_results_says_so(trained: Path) -> None:
    def said(*arguments: str) -> str:
        done = CliRunner().invoke(main, list(arguments))
        assert done.exit_code == 0, done.output
        return " ".join(done.output.split())

    said("score")
    commands = (
        ("compare", "shufflenet", "starnet"),
        ("compare", "results", "results"),
        ("inspect", "starnet", "blobs"),
    )
    for command in commands:
        assert "CHOSEN ON TEST" not in said(*command)
    for path in (trained / "results/cells").rglob("*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"chosen_on": "test"}))
    for command in commands:
        assert "CHOSEN ON TEST: All results are" in said(*command), command


def test_a_place_among_others_is_said_to_be_of_results_chosen_on_test(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    names = ("digits", "dogs", "dtd")
    known = {(f"known{i}", name, 0): float(rng.uniform(0.3, 0.9)) for i in range(5) for name in names}
    new = {("starnet", name, 0): 0.6 for name in names}
    n_test = dict.fromkeys(names, 400)

    def read(source: str) -> FileResults:
        ours = source == "ours"
        records = tuple(record(name, chosen_on="test") for name in names) if ours else ()
        matrix = Matrix.from_cells(new if ours else known, n_test)
        return FileResults(source, matrix, ScoreSettings(), None, records=records)

    monkeypatch.setattr("mobilebench.analysis.placement.read_files", read)
    assert place_models("ours", "others").notes[0].startswith("CHOSEN ON TEST: All results")
