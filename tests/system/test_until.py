"""When work is to stop: a person's words for a moment, and the stop itself, by a clock of the test's own."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilebench.errors import UserError
from mobilebench.system.signals import termination_as_interrupt
from mobilebench.system.until import Deadline, parse_until, stopped_at

NOW = datetime(2031, 5, 17, 12, 0).astimezone()
MOMENTS = st.datetimes(datetime(2000, 1, 2), datetime(2100, 1, 1)).map(lambda naive: naive.astimezone())  # noqa: DTZ001


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("18:30", (17, 18, 30)),
        ("12:01", (17, 12, 1)),
        ("12:00", (18, 12, 0)),  # now is past
        ("9:05", (18, 9, 5)),
        ("+90m", (17, 13, 30)),
        ("+2h", (17, 14, 0)),
        (" +36h ", (19, 0, 0)),
        ("2031-05-18T18:30", (18, 18, 30)),
        ("2031-05-18 18:30:00", (18, 18, 30)),
    ],
)
def test_the_three_forms(text: str, expected: tuple[int, int, int]) -> None:
    found = parse_until(text, NOW)
    assert (found.day, found.hour, found.minute) == expected
    assert found.tzinfo is not None


def test_a_date_and_time_of_another_zone_is_that_moment() -> None:
    assert parse_until("2031-05-20T18:30+02:00", NOW) == datetime(2031, 5, 20, 16, 30, tzinfo=UTC)
    assert parse_until("2031-05-20T18:30Z", NOW) == datetime(2031, 5, 20, 18, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "text", ["", "soon", "25:00", "12:60", "90m", "+90", "+90s", "+-2h", "+1.5h", "2031-05-18", "18.30", f"+{10**9}h"]
)
def test_other_words_are_refused_with_the_three_forms(text: str) -> None:
    with pytest.raises(UserError, match="is no time") as refused:
        parse_until(text, NOW)
    for form in ("18:30", "+90m", "+2h", "2031-05-17T18:30"):
        assert form in str(refused.value)


@pytest.mark.parametrize("text", ["2031-05-17T11:59", "+0m", "2031-05-17T12:00"])
def test_what_is_past_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is past: it is 2031-05-17 12:00 now"):
        parse_until(text, NOW)


@given(MOMENTS, st.integers(1, 10_000), st.sampled_from("mh"))
def test_a_time_from_now_is_so_long_from_now(now: datetime, count: int, unit: str) -> None:
    assert parse_until(f"+{count}{unit}", now) - now == count * timedelta(minutes=60 if unit == "h" else 1)


@given(MOMENTS, st.integers(0, 23), st.integers(0, 59))
def test_a_time_of_day_comes_within_a_day(now: datetime, hour: int, minute: int) -> None:
    found = parse_until(f"{hour}:{minute:02}", now)
    assert now < found <= now + timedelta(hours=26)  # a day may have an hour more, and a time of day come twice


@given(MOMENTS, st.timedeltas(timedelta(seconds=1), timedelta(days=10_000)))
def test_a_moment_written_is_the_moment_read(now: datetime, after: timedelta) -> None:
    assert parse_until((now + after).isoformat(), now) == now + after


@given(st.text(max_size=20))
def test_any_text_is_a_later_moment_or_refused(text: str) -> None:
    with suppress(UserError):
        assert parse_until(text, NOW) > NOW


def test_the_block_is_stopped_when_its_time_has_come() -> None:
    times = iter([NOW, NOW + timedelta(minutes=30), NOW + timedelta(hours=2)])
    waits: list[float] = []
    deadline = Deadline(NOW + timedelta(minutes=30, seconds=20))
    with (
        pytest.raises(KeyboardInterrupt),
        termination_as_interrupt(),
        stopped_at(deadline, times.__next__, waits.append),
    ):
        threading.Event().wait(60)
    assert deadline.reached
    assert waits == [60, 20]  # at most a minute at a time: the clock may be set meanwhile


def test_a_block_that_ends_before_is_left_alone() -> None:
    deadline = Deadline(NOW + timedelta(hours=1))
    with termination_as_interrupt(), stopped_at(deadline, lambda: NOW):
        pass
    assert not deadline.reached
    with stopped_at(never := Deadline(None)):
        assert threading.active_count() == 1 or not [t for t in threading.enumerate() if t.name == "until"]
    assert not never.reached
