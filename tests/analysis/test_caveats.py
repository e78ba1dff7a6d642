"""What is said of results that say less than they seem to."""

from __future__ import annotations

from mobilebench.analysis.caveats import caveats
from mobilebench.runs.records import Record


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
