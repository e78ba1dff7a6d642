"""Which trial is taken, and when one has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mobilebench.runs.events import Epoch, Fail, Finish, Resume, reason_tags
from mobilebench.runs.journal import Journal
from mobilebench.runs.trials import TrialEnd, best, diverged, end_of, ends_of, leftovers, weights_of

if TYPE_CHECKING:
    from pathlib import Path


def ends(*values: float | None) -> dict[int, TrialEnd]:
    return {number: TrialEnd(value, 1, 1.0) for number, value in enumerate(values, start=1)}


@pytest.mark.parametrize(
    ("values", "higher", "expected"),
    [
        ((0.1, 0.3, 0.2), True, 2),
        ((0.1, 0.3, 0.2), False, 1),
        ((None, 0.2, 0.2, None), True, 2),  # the first of equals
        ((0.0, -0.5), True, 1),
        ((None, None), True, None),
        ((), True, None),
    ],
)
def test_the_best_is_by_the_metrics_direction_and_the_first_of_equals(
    values: tuple[float | None, ...], higher: bool, expected: int | None
) -> None:
    assert best(ends(*values), higher_is_better=higher) == expected
    backwards = dict(reversed(ends(*values).items()))  # in whatever order trials ended
    assert best(backwards, higher_is_better=higher) == expected


def test_a_trial_ends_finished_or_diverged_and_not_otherwise(tmp_path: Path) -> None:
    cell = Journal(tmp_path / "cell")
    first, second, third = (cell.trial(number) for number in (1, 2, 10))
    for trial in (first, second, third):
        trial.append(Epoch(step=1, metrics={"epoch_seconds": 2.0}))
        assert end_of(trial) is None
    assert list(cell.trials()) == [1, 2, 10]
    found = TrialEnd(0.5, 1, 2.0, test=0.4)
    first.append(Finish(step=1, metrics={}, outcome=found.outcome()))
    second.append(diverged("the loss became nan", 0.25))
    third.append(Fail(tags=reason_tags("out of memory")))
    assert ends_of(cell) == {1: found, 2: TrialEnd(None, 0, 2.25, reason="the loss became nan")}
    third.append(Resume())
    assert end_of(third) is None
    weights_of(first).touch()
    (third.folder / "checkpoint.pt").touch()
    assert leftovers(cell) == [weights_of(first), third.folder / "checkpoint.pt"]
    cell.clear()
    assert cell.trials() == {}
