"""Which epoch is kept and when training ends, on histories made by hand and as a property of all."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilebench.evaluation.selection import BestVal, Choice, Span, judge

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


TWO = [Span(4, 2), Span(3, 2)]


@pytest.mark.parametrize(
    ("history", "rule", "expected"),
    [
        ([0.5, 0.4], BestVal(), Choice(1, stop=False)),
        ([0.5, 0.4, 0.3], BestVal(), Choice(1, stop=False, phase=1, before=3)),  # patience ends the first phase
        ([0.1, 0.2, 0.3, 0.4], BestVal(), Choice(4, stop=False, phase=1, before=4)),  # its epochs do
        ([0.5, 0.4, 0.3, 0.4], BestVal(), Choice(1, stop=False, phase=1, before=3)),  # patience begins anew
        ([0.5, 0.4, 0.3, 0.4, 0.5], BestVal(), Choice(1, stop=True, phase=1, before=3)),  # no better than the first's
        ([0.5, 0.4, 0.3, 0.4, 0.6], BestVal(), Choice(5, stop=False, phase=1, before=3)),
        ([0.5, 0.4, 0.3, 0.4, 0.6, 0.7], BestVal(), Choice(6, stop=True, phase=1, before=3)),  # all its epochs
        ([0.5, 0.4, 0.3, 0.4, 0.5, 0.9], BestVal(), Choice(1, stop=True, phase=1, before=3)),  # after the end
        ([NAN] * 4, BestVal(), Choice(None, stop=False, phase=1, before=4)),  # no patience before there is one to keep
        ([0.5] * 4, None, Choice(None, stop=False, phase=1, before=4)),  # nothing is chosen: epochs alone
        ([NAN] * 7, None, Choice(None, stop=True, phase=1, before=4)),
    ],
)
def test_phases_end_by_patience_or_epochs_and_the_best_is_the_best_of_all(
    history: list[float], rule: BestVal | None, expected: Choice
) -> None:
    assert judge(history, rule, TWO) == expected


SPANS = st.lists(st.builds(Span, st.integers(1, 6), st.integers(0, 3)), min_size=1, max_size=4)


@given(history=st.lists(VALUES, max_size=25), rule=RULES, spans=SPANS)
def test_a_phase_is_a_training_of_its_own_that_knows_the_best_before_it(
    history: list[float], rule: BestVal, spans: list[Span]
) -> None:
    """Epoch by epoch, with the wait since the last better one counted down instead of told from the history."""
    best, kept, phase, left, epochs_left = -math.inf, None, 0, spans[0].patience, spans[0].epochs
    sign = -1 if rule.metric == "nll" else 1
    for epoch, value in enumerate(history, 1):
        choice = judge(history[: epoch - 1], rule, spans)
        assert (choice.keep, choice.stop, choice.phase) == (kept, phase == len(spans), min(phase, len(spans) - 1))
        if phase == len(spans):
            break
        epochs_left -= 1
        if epoch >= rule.min_epochs and math.isfinite(value) and sign * value > best:
            best, kept, left = sign * value, epoch, spans[phase].patience
        elif kept is not None:
            left -= 1
        if epochs_left == 0 or (spans[phase].patience and left == 0):
            phase += 1
            if phase < len(spans):
                left, epochs_left = spans[phase].patience, spans[phase].epochs


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
