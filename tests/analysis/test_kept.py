"""Values of metrics from the predictions that runs kept, where they are and where they cannot be had."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from evaluation.made import drawn

from mobilebench.analysis.kept import KeptPredictions
from mobilebench.evaluation.metrics import METRICS, Metric
from mobilebench.runs.records import Record, predictions_path

if TYPE_CHECKING:
    from pathlib import Path

RUN = Record("run", "m", "a", 0, "p", "d", 1, "FINISHED", n_test=60)
MISSED = Metric("missed", "Missed", (0, 1), lambda p: float((p.predicted != p.targets).mean()))


def kept_run(results: Path, **recorded: float) -> tuple[Record, float]:
    """A run with predictions in a results folder, and the share of images that it missed."""
    predictions = drawn("single_label", 60, 3)
    digest = predictions.save(predictions_path(results, RUN.cell))
    return replace(RUN, metrics=recorded, predictions={"test": digest}), MISSED.value(predictions)


def test_a_metric_from_outside_is_computed_by_its_present_code(tmp_path: Path) -> None:
    run, now = kept_run(tmp_path, missed=0.987, top1=0.5)
    kept = KeptPredictions(None, tmp_path)
    assert kept.value(run, MISSED) == now
    (note,) = kept.notes
    assert "missed of 1 runs (m.a.0) is not what they recorded" in note
    assert kept.value(run, METRICS["top1"]) == 0.5  # fixed by the version of mobilebench: as recorded
    assert len(kept.notes) == 1


def test_a_metric_from_outside_that_was_not_edited_is_no_news(tmp_path: Path) -> None:
    _, now = kept_run(tmp_path)
    run, _ = kept_run(tmp_path, missed=now)
    kept = KeptPredictions(None, tmp_path)
    assert kept.value(run, MISSED) == now
    assert not kept.notes


def test_without_predictions_it_is_what_was_recorded(tmp_path: Path) -> None:
    assert KeptPredictions(None, tmp_path).value(replace(RUN, metrics={"missed": 0.25}), MISSED) == pytest.approx(0.25)
