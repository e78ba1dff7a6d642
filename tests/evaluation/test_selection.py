"""Which epoch is kept and when training ends, on histories made by hand and as a property of all."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilebench.evaluation.selection import BestVal, Choice, judge

NAN = math.nan


@pytest.mark.parametrize(
    ("history", "rule", "keep", "stop"),
    [
        ([], BestVal(), None, False),
        ([0.1], BestVal(), 1, False),
        ([0.1, 0.9, 0.5], BestVal(), 2, False),  # the best in the middle
        ([0.1, 0.9, 0.9, 0.5], BestVal(), 2, False),  # of equal ones the earliest
        ([0.0, 0.0], BestVal(), 1, False),
        ([3.0, 1.0, 2.0], BestVal("nll"), 2, False),  # lower is better
        ([1.0, 1.0, 2.0], BestVal("nll"), 1, False),
        ([-0.5, -0.2, -0.3], BestVal("qwk"), 2, False),
        ([0.5, 0.4], BestVal(patience=2), 1, False),
        ([0.5, 0.4, 0.5], BestVal(patience=2), 1, True),  # two epochs without a better one
        ([0.5, 0.4, 0.6], BestVal(patience=2), 3, False),
        ([0.5, 0.4], BestVal(patience=1), 1, True),
        ([0.5, 0.4, 0.4, 0.9], BestVal(patience=2), 1, True),  # training has ended before the 0.9
        ([0.5, 0.4, 0.4, 0.9], BestVal(), 4, False),  # patience 0 trains all epochs
        ([0.9, 0.1], BestVal(min_epochs=3), None, False),
        ([0.9, 0.1, 0.2], BestVal(min_epochs=3), 3, False),
        ([0.9, 0.1, 0.2, 0.1, 0.1], BestVal(patience=2, min_epochs=3), 3, True),
        ([NAN], BestVal(patience=1), None, False),
        ([NAN, NAN, NAN], BestVal(patience=1), None, False),  # nothing to keep: training goes on
        ([NAN, 0.1], BestVal(), 2, False),
        ([0.1, NAN, 0.05], BestVal(), 1, False),
        ([0.1, NAN, 0.2], BestVal("nll"), 1, False),
        ([0.1, NAN, NAN], BestVal(patience=2), 1, True),  # an undefined epoch is no better one
        ([math.inf, 0.1], BestVal(), 2, False),
        ([-math.inf, 1.0], BestVal("nll"), 2, False),
    ],
)
def test_histories_made_by_hand(history: list[float], rule: BestVal, keep: int | None, stop: bool) -> None:
    assert judge(history, rule) == Choice(keep, stop)


VALUES = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, NAN]) | st.floats(0, 1)
RULES = st.builds(
    BestVal,
    metric=st.sampled_from(["top1", "nll", "qwk"]),
    patience=st.integers(0, 4),
    min_epochs=st.integers(1, 5),
)


@given(history=st.lists(VALUES, max_size=25), rule=RULES)
def test_a_resumed_cell_chooses_as_an_unbroken_one(history: list[float], rule: BestVal) -> None:
    """The choice after an epoch follows from the choice before it, and the end of training is never taken back."""
    before = judge([], rule)
    assert before == Choice(None, stop=False)
    for epochs in range(1, len(history) + 1):
        choice = judge(history[:epochs], rule)
        if before.stop:
            assert choice == before
        else:
            assert choice.keep in {before.keep, epochs}
        if choice.keep is not None:
            assert rule.min_epochs <= choice.keep <= epochs
            assert math.isfinite(history[choice.keep - 1])
        before = choice


@given(history=st.lists(VALUES, max_size=25), rule=RULES)
def test_what_is_kept_is_the_first_best_of_what_was_trained(history: list[float], rule: BestVal) -> None:
    """By sorting instead of a loop."""
    choice = judge(history, rule)
    ends = [epochs for epochs in range(len(history) + 1) if judge(history[:epochs], rule).stop]
    trained = history[: min(ends, default=len(history))]
    may = [(value, epoch) for epoch, value in enumerate(trained, 1) if epoch >= rule.min_epochs and value == value]  # noqa: PLR0124
    sign = 1 if rule.metric == "nll" else -1
    assert choice.keep == (min(may, key=lambda one: (sign * one[0], one[1]))[1] if may else None)
    assert choice.stop == bool(rule.patience and may and len(trained) - (choice.keep or 0) >= rule.patience)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"metric": "top2"}, "selection.best_val.metric: there is no metric 'top2'"),
        ({"patience": -1}, "selection.best_val.patience is -1; allowed: 0"),
        ({"min_epochs": 0}, "selection.best_val.min_epochs is 0; allowed: 1 or more"),
    ],
)
def test_a_rule_that_is_none(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BestVal(**fields)  # type: ignore[arg-type]
