"""What reaches a tracking store, what is refused on the way, and that names are only names."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mobilebench.config.parsing import ConfigError
from mobilebench.config.suite import parse_suite
from mobilebench.errors import UserError
from mobilebench.execution.delivery import SyncReport, sync_journals
from mobilebench.runs.events import DatasetInput, Epoch, Event, Fail, Finish, Resume, Start
from mobilebench.runs.identity import digest_of_tags
from mobilebench.runs.journal import Delivery, Journal
from mobilebench.runs.records import Record, read_results, write_result
from mobilebench.tracking import Tracker, TrackingError, shown
from mobilebench.tracking.address import folder_name, tagged
from mobilebench.tracking.model_registry import _fluent
from mobilebench.tracking.writer import in_requests

TAGS = {
    "kind": "cell", "cell": "net.data.0", "journal": "0" * 32, "model": "net", "dataset": "data",
    "seed": "0", "protocol_hash": "0" * 12, "data_digest": "0" * 12, "code_version": "1",
    "recipe_hash": "0" * 12, "network": "0" * 12,
}  # fmt: skip
TAGS["identity"] = digest_of_tags(TAGS)
RESULTS = Path("results")


def start(tags: dict[str, str]) -> Start:
    data = DatasetInput("data", "0", "data", "{}")
    return Start(experiment="lab", run_name="r", tags=tags, params={"lr": "1"}, dataset=data)


def journal(folder: Path, *, epochs: int = 3, finish: bool = True, **tags: str) -> Journal:
    made = Journal(folder)
    made.append(start(TAGS | tags))
    for step in range(1, epochs + 1):
        made.append(Epoch(step=step, metrics={"train_loss": 1 / step}))
    if finish:
        made.append(Finish(step=epochs, metrics={"final_test_top1": 0.5, "n_test": 4.0}))
    return made


def test_a_long_journal_is_delivered_in_few_requests_and_in_order() -> None:
    epochs = [Epoch(step=n, metrics=dict.fromkeys("abcdefgh", 0.0)) for n in range(250)]
    events: list[Event] = [start(TAGS), *epochs, Fail(tags={}), Resume(), Epoch(step=250, metrics={})]
    requests = list(in_requests(events))
    assert [event for request in requests for event in request] == events
    assert [len(request) for request in requests] == [1, 112, 112, 26, 1, 1, 1]
    assert max(sum(len(getattr(e, "metrics", {})) for e in request) for request in requests) <= 1000


@pytest.mark.usefixtures("store")
def test_a_start_whose_answer_was_lost_is_completed_not_doubled(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow.tracking import MlflowClient

    tracker, waiting = Tracker(), journal(project / "j")

    def away(*_: object, **__: object) -> None:
        raise ConnectionError("gone")

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "log_inputs", away)  # the run is made, its parameters are told, then silence
        with pytest.raises(TrackingError, match="gone"):
            tracker.deliver(waiting)
    assert waiting.delivery == Delivery()
    run_id = tracker.deliver(waiting)
    (run,) = tracker.runs("lab")
    assert run.record.run_id == run_id
    assert run.params == {"lr": "1"}
    assert len(MlflowClient(tracker.uri).get_run(run_id).inputs.dataset_inputs) == 1


def test_a_store_emptied_under_an_open_tracker_hears_everything_again(store: Path, project: Path) -> None:
    tracker, waiting = Tracker(), journal(project / "j", finish=False)
    tracker.deliver(waiting)
    with closing(sqlite3.connect(store)) as connection, connection:
        tables = ("latest_metrics", "metrics", "params", "tags", "inputs", "runs", "experiments")
        for table in tables:
            connection.execute(f"DELETE FROM {table}" + (" WHERE name = 'lab'" if table == "experiments" else ""))
    waiting.append(Epoch(step=4, metrics={"train_loss": 0.25}))
    run_id = tracker.deliver(waiting)
    assert [step for step, _ in tracker.curves(run_id, ["train_loss"])["train_loss"]] == [1, 2, 3, 4]


@pytest.mark.usefixtures("store")
def test_a_failed_delivery_lets_training_rest_from_trying(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker, waiting = Tracker(), journal(project / "j")
    times = iter([0.0, 20.0, 100.0, 250.0])
    monkeypatch.setattr("mobilebench.tracking.client.time.monotonic", lambda: next(times))
    with monkeypatch.context() as patched:
        patched.setattr(Tracker, "_deliver", lambda *_: (_ for _ in ()).throw(ConnectionError("away")))
        with pytest.raises(TrackingError):
            tracker.deliver(waiting)
    assert tracker.is_backing_off()  # at 100 s: the try took 20, the rest lasts until 220
    assert not tracker.is_backing_off()  # at 250 s


@pytest.mark.usefixtures("store")
def test_two_machines_that_trained_one_cell_end_with_one_run(project: Path) -> None:
    here = journal(project / "a/cell", journal="a" * 32)
    there = journal(project / "b/cell", journal="b" * 32)
    there.rewrite(replace(event, time=event.time + 1) for event in there.events())  # not in one millisecond
    tracker = Tracker()
    tracker.deliver(here)
    tracker.deliver(there)
    assert len(tracker.records("lab")) == 2
    winner = tracker.keep_earliest("lab", TAGS["identity"])
    assert winner is not None
    assert winner.run_id == here.delivery.run_id
    assert tracker.records("lab") == [winner]


@pytest.mark.usefixtures("store")
def test_what_another_machine_brings_is_imported_once(project: Path) -> None:
    journal(project / "stick/.mobilebench/cells/net.data.0-0")
    tracker = Tracker()
    assert sync_journals(project / "stick", RESULTS, tracker) == SyncReport(delivered=1)
    assert sync_journals(project / "stick", RESULTS, tracker) == SyncReport()
    assert (RESULTS / "cells/data/net.data.0.json").exists()
    assert len(tracker.records("lab")) == 1


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    "tags",
    [
        {"identity": "0' or tags.kind = 'cell"},
        {"journal": "' or '1'='1"},
        {"dataset": "../../outside"},
        {"kind": "superseded cell"},
        {"identity": "1" * 12},
        {"network": "1" * 12},
    ],
)
def test_a_journal_with_more_than_ids_is_refused_and_others_go_on(project: Path, tags: dict[str, str]) -> None:
    journal(project / "in/evil", **tags)
    journal(project / "in/good")
    done = sync_journals(project / "in", RESULTS, Tracker())
    assert done.delivered == 1
    ((name, error),) = done.failed
    assert name == "evil"
    assert "no usable identity" in str(error)
    assert [path.name for path in RESULTS.rglob("*.json")] == ["net.data.0.json"]


@pytest.mark.usefixtures("store")
def test_a_foreign_redo_replaces_a_finished_run_only_when_that_is_accepted(project: Path) -> None:
    tracker = Tracker()
    ours = tracker.publish(journal(project / "ours"))
    made = Journal(project / "in/again")
    made.append(replace(start(TAGS | {"journal": "1" * 32}), redo=True))
    made.append(Finish(step=1, metrics={"final_test_top1": 0.1, "n_test": 4.0}))
    done = sync_journals(project / "in", RESULTS, tracker, accept_redo=False)
    ((_, error),) = done.failed
    assert f"take the place of the finished run {ours.run_id}" in str(error)
    assert "add --accept-redo" in str(error)
    assert tracker.records("lab") == [ours]
    assert sync_journals(project / "in", RESULTS, tracker, accept_redo=True).delivered == 1
    assert [record.value for record in tracker.records("lab")] == [0.1]


@pytest.mark.usefixtures("store")
def test_a_start_that_says_no_experiment_stops_no_other(project: Path) -> None:
    bad = journal(project / "in/bad")
    text = bad.path.read_text()
    bad.path.write_text(text.replace('"experiment": "lab", ', ""))
    assert bad.path.read_text() != text
    journal(project / "in/good")
    done = sync_journals(project / "in", RESULTS, Tracker())
    assert done.delivered == 1
    assert "experiment" in str(done.failed[0][1])


@pytest.mark.usefixtures("store")
def test_a_run_deleted_on_the_server_is_brought_back_by_sync(project: Path) -> None:
    from mlflow.tracking import MlflowClient

    tracker, ours = Tracker(), journal(project / "cells/ours")
    sync_journals(project / "cells", RESULTS, tracker)
    (first,) = tracker.records("lab")
    MlflowClient(tracker.uri).delete_run(first.run_id)
    assert sync_journals(project / "cells", RESULTS, tracker).delivered == 1
    (second,) = tracker.records("lab")
    assert second.run_id != first.run_id
    assert ours.delivery.run_id == second.run_id
    assert read_results(RESULTS) == [second]


@pytest.mark.usefixtures("store")
def test_links_in_a_foreign_folder_neither_read_nor_write_this_machines_files(project: Path) -> None:
    secret = project / "secret.txt"
    secret.write_text("key")
    reads = journal(project / "in/reads")
    reads.artifacts.mkdir()
    (reads.artifacts / "model.safetensors").symlink_to(secret)
    writes = journal(project / "in/writes", journal="1" * 32)
    (writes.folder / "holder.txt").symlink_to(secret)
    done = sync_journals(project / "in", RESULTS, Tracker())
    assert done.delivered == 0
    assert [name for name, _ in done.failed] == ["reads", "writes"]
    assert secret.read_text() == "key"


@pytest.mark.usefixtures("store")
def test_a_dataset_in_a_store_cannot_lead_a_result_file_elsewhere(project: Path) -> None:
    tracker = Tracker()
    tracker.deliver(journal(project / "j", dataset="../../../outside"))
    with pytest.raises(TrackingError, match="missing or unreadable"):
        tracker.finished("lab", TAGS["identity"])
    record = Record("r", "net", "../../outside", 0, "p", "d", 1, "FINISHED")
    with pytest.raises(UserError, match="expected lower-case letters"):
        write_result(RESULTS, record)


@given(st.text())
@example("x' OR '1'='1")
@example("0' or tags.kind != '")
def test_only_plain_words_get_into_a_filter(value: str) -> None:
    if re.fullmatch(r"[A-Za-z0-9_.-]{1,200}", value):
        assert tagged(identity=value) == f"tags.identity = '{value}'"
    else:
        with pytest.raises(TrackingError, match="expected letters"):
            tagged(identity=value)


@given(st.text(min_size=1))
@example("..")
@example("../up")
@example("/etc")
def test_an_experiments_folder_stays_in_its_place(name: str) -> None:
    folder = Path("/base") / folder_name(name)
    assert folder.parent == Path("/base")
    assert folder.name not in {".", "..", ""}
    assert "/" not in folder_name(name)
    assert "\0" not in folder_name(name)


def test_two_experiments_do_not_share_a_folder() -> None:
    assert len({folder_name(name) for name in ("a/b", "a_b", "a b", "a:b", "..")}) == 5


@pytest.mark.usefixtures("store")
def test_an_experiment_called_dot_dot_keeps_its_artifacts_below(project: Path) -> None:
    from mlflow.tracking import MlflowClient

    tracker = Tracker()
    (project / "notes").mkdir()
    tracker.log_artifacts("..", "r", "note", project / "notes")
    place = MlflowClient(tracker.uri).get_experiment_by_name("..")
    assert place is not None
    assert place.artifact_location.startswith((project / "mlartifacts").as_uri())


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.mkdir [trap]", "!!python/name:os.system"])
def test_params_cannot_run_code(project: Path, tag: str) -> None:
    with pytest.raises(ConfigError):
        parse_suite(f"suite: {tag}\n", "params.yaml")
    assert list(project.iterdir()) == []


def test_an_address_is_shown_without_its_password() -> None:
    assert shown("http://user:p@ss@host:5000/x") == "http://host:5000/x"
    assert shown("postgresql://u:p@h/db") == "postgresql://h/db"


def test_a_record_of_a_journal_is_json(tmp_path: Path) -> None:
    lines = journal(tmp_path / "j").path.read_text().splitlines()
    assert [json.loads(line)["type"] for line in lines] == ["start", *["epoch"] * 3, "finish"]


def test_mlflows_global_addresses_are_as_before_a_registration(project: Path) -> None:
    """What a notebook does with MLflow after `register` goes where it went before."""
    import mlflow

    addresses = [f"sqlite:///{project}/{name}.db" for name in ("one", "two")]
    for tracking in (None, addresses[0]):
        mlflow.set_tracking_uri(tracking)  # type: ignore[arg-type]
        before = mlflow.get_tracking_uri(), mlflow.get_registry_uri(), dict(os.environ)
        with _fluent(addresses[1]):
            assert (mlflow.get_tracking_uri(), mlflow.get_registry_uri()) == (addresses[1], addresses[1])
        assert (mlflow.get_tracking_uri(), mlflow.get_registry_uri(), dict(os.environ)) == before
        mlflow.set_tracking_uri(addresses[1])
        assert mlflow.get_registry_uri() == addresses[1]
