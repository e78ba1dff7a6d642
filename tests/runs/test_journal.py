from __future__ import annotations

import multiprocessing
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilebench.runs.events import DatasetInput, Epoch, Finish, Resume, Start
from mobilebench.runs.journal import CellBusyError, Delivery, Journal, JournalError

if TYPE_CHECKING:
    from pathlib import Path


START = Start(experiment="e", run_name="r", tags={}, params={}, dataset=DatasetInput("d", "0", "here", "{}"))


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "m.d.0-abc")


def test_events_come_back_in_order(journal: Journal) -> None:
    for step in (1, 2, 3):
        journal.append(Epoch(step=step, metrics={}))
    assert [event.step for event in journal.events() if isinstance(event, Epoch)] == [1, 2, 3]
    assert [e.step for e in [journal.last(Epoch)] if e] == [3]
    assert journal.last(Finish) is None


@settings(max_examples=30)
@given(cut=st.integers(1, 25))
def test_a_line_cut_by_a_kill_is_dropped_and_written_over(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    journal = Journal(tmp_path_factory.mktemp("j"))
    journal.append(START)
    journal.append(Epoch(step=1, metrics={}))
    journal.path.write_bytes(journal.path.read_bytes()[:-cut])
    assert [event.type for event in journal.events()] == ["start"]
    journal.append(Epoch(step=2, metrics={}))
    assert [getattr(event, "step", None) for event in journal.events()] == [None, 2]


def test_a_journal_damaged_in_the_middle_is_refused_by_name(journal: Journal) -> None:
    journal.append(START)
    journal.path.write_bytes(b"{broken\n" + journal.path.read_bytes())
    with pytest.raises(JournalError, match=r"journal\.jsonl is damaged"):
        journal.events()


def test_delivery_is_remembered_and_a_damaged_note_asks_again(journal: Journal) -> None:
    journal.append(START)
    assert not journal.is_delivered()
    journal.delivery = Delivery("run", 1)
    assert Journal(journal.folder).delivery == Delivery("run", 1)
    assert journal.is_delivered()
    (journal.folder / "delivered.json").write_text('{"run_id"')
    assert journal.delivery == Delivery()


def test_clear_forgets_everything(journal: Journal) -> None:
    journal.append(START)
    journal.artifacts.mkdir()
    (journal.folder / "checkpoint.pt").write_bytes(b"x")
    journal.clear()
    assert journal.events() == []
    assert not journal.artifacts.exists()
    assert not (journal.folder / "checkpoint.pt").exists()


def _hold(folder: Path, ready: multiprocessing.synchronize.Event, done: multiprocessing.synchronize.Event) -> None:
    with Journal(folder).locked():
        ready.set()
        done.wait(30)


@pytest.mark.slow
def test_the_second_worker_on_a_cell_is_told_who_has_it(journal: Journal) -> None:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    worker = context.Process(target=_hold, args=(journal.folder, ready, done))
    worker.start()
    try:
        assert ready.wait(30)
        assert journal.is_locked()
        with pytest.raises(CellBusyError, match=re.escape(f"process {worker.pid} on ")), journal.locked():
            pass
    finally:
        done.set()
        worker.join(30)
    assert not journal.is_locked()
    with journal.locked():
        pass


@given(length=st.integers(0, 3 * 2**16), cut=st.integers(0, 40))
@settings(max_examples=30)
def test_appending_reads_the_end_alone_however_long_the_last_line_is(
    tmp_path_factory: pytest.TempPathFactory, length: int, cut: int
) -> None:
    journal = Journal(tmp_path_factory.mktemp("j"))
    journal.append(START)
    journal.append(Finish(step=1, metrics={}, tags={"reason": "x" * length}))
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole[: len(whole) - cut])
    journal.append(Resume())
    kinds = ["start", "resume"] if cut else ["start", "finish", "resume"]
    assert [event.type for event in journal.events()] == kinds


@pytest.mark.parametrize(
    "line",
    [
        b"[]", b"{}", b'{"type": "party", "time": 1}', b'{"type": "resume", "time": "1"}',
        b'{"type": "epoch", "step": "1", "metrics": {}, "time": 1}', b'{"type": "start", "tags": [], "time": 1}',
        b'{"type": "resume", "time": 1, "run": "rm -rf"}', b"\xff\xfe",
    ],
)  # fmt: skip
def test_a_line_that_is_no_event_is_refused_by_name(journal: Journal, line: bytes) -> None:
    journal.folder.mkdir()
    journal.path.write_bytes(line + b"\n")
    with pytest.raises(JournalError, match=r"journal\.jsonl is damaged or of another version"):
        journal.events()
    with pytest.raises(JournalError):
        journal.append(Resume())
