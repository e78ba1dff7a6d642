"""A copy of cells' folders elsewhere: what is put there is what another machine takes, whole and in order."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from mobilebench.runs.attempts import Attempt, SupersededError, issue, newest
from mobilebench.runs.events import Epoch
from mobilebench.runs.journal import Journal, epochs_done
from mobilebench.runs.mirror import Mirror, MirrorError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder, and a store of objects as a bucket is."""
    return f"file://{tmp_path}/bucket" if request.param == "file" else f"memory://{tmp_path.name}"


def train(folder: Path, epochs: int) -> None:
    journal = Journal(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for step in range(epochs_done(journal) + 1, epochs + 1):
        (folder / "checkpoint.pt").write_bytes(f"after {step}".encode())
        journal.append(Epoch(step=step, metrics={}))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_another_machine_goes_on_where_this_one_was(url: str, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    one, two = Mirror(url, here), Mirror(url, there)
    one.issue(here / "cell", 1)
    one.begin(here / "cell", Attempt(1))
    train(here / "cell", 2)
    (here / "cell/artifacts/predictions").mkdir(parents=True)
    (here / "cell/artifacts/predictions/test.npz").write_bytes(b"numbers")
    (here / "cell/chosen-1.pt").write_bytes(b"weights")
    one.put(here / "cell")
    (here / "cell/chosen-1.pt").unlink()
    one.put(here / "cell")

    one.issue(here / "cell", 2)
    two.begin(there / "cell", Attempt(2))
    assert epochs_done(Journal(there / "cell")) == 2
    assert newest(there / "cell") == 2
    kept = {name: content for name, content in files(here / "cell").items() if name != "lease.json"}
    assert {name: content for name, content in files(there / "cell").items() if name != "lease.json"} == kept
    train(there / "cell", 3)
    two.put(there / "cell")
    one.fetch_journal(here / "cell")
    assert epochs_done(Journal(here / "cell")) == 3
    assert (here / "cell/checkpoint.pt").read_bytes() == b"after 2"
    one.fetch(here / "cell")
    assert (here / "cell/checkpoint.pt").read_bytes() == b"after 3"


def test_what_the_directing_call_has_is_offered_and_nothing_there_is_lost(url: str, tmp_path: Path) -> None:
    directing, worker = Mirror(url, tmp_path / "call"), Mirror(url, tmp_path / "node")
    train(tmp_path / "call/cell/trials/1", 2)
    train(tmp_path / "call/cell", 1)  # of a tuned cell the call writes the journal
    directing.offer(tmp_path / "call/cell")
    directing.issue(tmp_path / "call/cell", 1)
    worker.begin(tmp_path / "node/cell", Attempt(1))
    assert epochs_done(Journal(tmp_path / "node/cell").trial(1)) == 2
    train(tmp_path / "node/cell", 3)
    worker.put(tmp_path / "node/cell")
    (tmp_path / "call/cell/checkpoint.pt").unlink()
    directing.offer(tmp_path / "call/cell")  # it knows less than lies there
    Mirror(url, tmp_path / "elsewhere").offer(tmp_path / "elsewhere/cell")  # or nothing
    directing.fetch(tmp_path / "call/cell")
    assert (tmp_path / "call/cell/checkpoint.pt").read_bytes() == b"after 3"


def test_what_is_here_and_newer_is_not_written_over(url: str, tmp_path: Path) -> None:
    mirror = Mirror(url, tmp_path)
    mirror.issue(tmp_path / "cell", 1)
    train(tmp_path / "cell", 2)
    mirror.put(tmp_path / "cell")
    train(tmp_path / "cell", 4)
    mirror.begin(tmp_path / "cell", Attempt(1))
    mirror.fetch_journal(tmp_path / "cell")
    assert (tmp_path / "cell/checkpoint.pt").read_bytes() == b"after 4"
    assert epochs_done(Journal(tmp_path / "cell")) == 4


def test_an_older_attempt_is_told_and_one_nobody_issued_too(url: str, tmp_path: Path) -> None:
    mirror = Mirror(url, tmp_path)
    with pytest.raises(SupersededError):
        mirror.begin(tmp_path / "cell", Attempt(1))
    assert mirror.issue(tmp_path / "cell", 2) == 2
    with pytest.raises(SupersededError, match="attempt 1 at cell stops: attempt 2 was started in its place"):
        mirror.raise_if_superseded(tmp_path / "cell", Attempt(1))
    mirror.raise_if_superseded(tmp_path / "cell", Attempt(2))
    assert mirror.issue(tmp_path / "cell", 1) == 3  # the machine of the call is another one


def test_a_journal_is_put_after_what_it_tells_of(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror, order = Mirror(url, tmp_path), list[str]()
    real = mirror._write

    def write(path: str, content: bytes) -> None:
        order.append(path.rpartition("/")[2])
        real(path, content)

    monkeypatch.setattr(mirror, "_write", write)
    train(tmp_path / "cell", 1)
    train(tmp_path / "cell/trials/1", 1)
    mirror.put(tmp_path / "cell")
    assert order[-1] == "journal.jsonl"
    assert order.index("checkpoint.pt") < order.index("journal.jsonl")
    order.clear()
    mirror.put(tmp_path / "cell")
    assert order == []  # nothing is new


def test_addresses_of_no_kind_and_places_that_refuse_are_named(tmp_path: Path) -> None:
    with pytest.raises(MirrorError, match=r"--mirror nosuch://x: .*expected an address as s3://BUCKET/FOLDER"):
        Mirror("nosuch://x", tmp_path)
    (tmp_path / "file").write_text("in the way")
    mirror = Mirror(f"file://{tmp_path}/file", tmp_path)
    with pytest.raises(MirrorError, match="See that every node may read and write there"):
        mirror.issue(tmp_path / "cell", 1)


def test_attempts_are_counted_over_all_calls_and_a_damaged_file_begins_anew(tmp_path: Path) -> None:
    assert [issue(tmp_path / "cell") for _ in range(3)] == [1, 2, 3]
    (tmp_path / "cell/lease.json").write_text("{")
    assert newest(tmp_path / "cell") == 0
    assert issue(tmp_path / "cell") == 1
    assert json.loads((tmp_path / "cell/lease.json").read_text()) == {"attempt": 1}


def test_only_the_newest_attempt_writes_a_journal(tmp_path: Path) -> None:
    number = issue(tmp_path / "cell")
    old = Journal(tmp_path / "cell", Attempt(number))
    with old.locked():
        old.append(Epoch(step=1, metrics={}))
    assert not (tmp_path / "cell/lock").exists()  # one that a dead machine held would keep the next one out
    new = Journal(tmp_path / "cell", Attempt(issue(tmp_path / "cell")))
    with pytest.raises(SupersededError), old.locked():
        pass
    with pytest.raises(SupersededError):
        old.append(Epoch(step=2, metrics={}))
    assert old.trial(1).attempt == Attempt(number)
    new.append(Epoch(step=2, metrics={}))
    assert epochs_done(new) == 2
