"""Stores in odd places: moved, oddly named, impossible, full; and that no password is shown."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from click.testing import CliRunner
from mlflow.tracking import MlflowClient

from mobilebench.cli import main
from mobilebench.runs.records import read_results
from mobilebench.system.layout import RESULTS, STATE
from mobilebench.tracking import Tracker, TrackingError, shown, uri
from mobilebench.tracking.address import sqlite_path, without_secrets
from mobilebench.tracking.postgres import free_port

if TYPE_CHECKING:
    from collections.abc import Callable


def weights(tracker: Tracker, folder: Path) -> list[bytes]:
    """The weights of every run as the store hands them out."""
    found = []
    for record in tracker.records("tiny"):
        folder.mkdir(exist_ok=True)
        path = tracker.artifact(record.run_id, "model.safetensors", folder)
        assert path is not None
        found.append(path.read_bytes())
    return found


@pytest.mark.usefixtures("trained")
def test_a_moved_project_keeps_its_artifacts(
    project: Path, tmp_path_factory: pytest.TempPathFactory, new_process: Callable[[], None]
) -> None:
    """The trained project of these tests was made in one folder and copied to another; here it is moved once more."""
    kept = sorted(path.read_bytes() for path in project.glob("mlartifacts/**/model.safetensors"))
    assert len(kept) == 2
    home = tmp_path_factory.mktemp("new") / "a#b%20c ü @d?e"
    shutil.move(project, home)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(home)
        new_process()
        tracker = Tracker()
        assert sorted(weights(tracker, home / "fetched")) == kept
        for run in tracker.runs("tiny"):
            assert run.artifact_uri.startswith((home / "mlartifacts").as_uri() + "/")
        made = tracker.log_artifacts("tiny", "r", "note", home / "results")
        assert list((home / "mlartifacts").glob(f"tiny/{made}/artifacts/*"))
        assert not project.exists()
        assert [path.name for path in home.parent.iterdir()] == [home.name]  # nothing made beside it
        assert (home / "mlflow.db").is_file()
        assert CliRunner().invoke(main, ["score"]).exit_code == 0
        assert Tracker().records("tiny") == tracker.records("tiny")
    project.mkdir()


@pytest.mark.usefixtures("trained")
def test_a_copy_has_artifacts_of_its_own(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    copy = tmp_path_factory.mktemp("copy") / "p"
    shutil.copytree(project, copy)
    here, there = Tracker(), Tracker(f"sqlite:///{copy}/mlflow.db")
    for tracker, folder in ((here, project), (there, copy)):
        for run in tracker.runs("tiny"):
            assert run.artifact_uri.startswith(f"file://{folder}/mlartifacts/")


@pytest.mark.usefixtures("trained")
def test_a_place_that_somebody_chose_stays(project: Path) -> None:
    client = MlflowClient(Tracker().uri)
    chosen = {"s3": "s3://bucket/mlartifacts/own", "disk": "file:///mnt/disk/own", "away": "file:///gone/mlartifacts/x"}
    for name, place in chosen.items():
        client.create_experiment(name, artifact_location=place)
    Tracker()
    for name, place in chosen.items():
        assert client.get_experiment_by_name(name).artifact_location == place  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["a?b", "a#b", "a%b", "a%20b", "a b", "ü", "a@b", "a&b=c", "?%3F#"])
def test_an_oddly_named_folder_is_found_by_the_default_address(name: str, tmp_path: Path) -> None:
    from sqlalchemy.engine import make_url

    home = tmp_path / name
    home.mkdir()
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(home)
        assert sqlite_path(uri()) == home / "mlflow.db"
        assert make_url(uri()).database == str(home / "mlflow.db")
        assert shown(uri()) == uri()


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("mysql://u:secret@localhost/x", "driver of that database is not installed"),
        ("mssql+pyodbc://u:secret@localhost/x", "driver of that database is not installed"),
        ("postgresql://u:secret@127.0.0.1:9/x", "cannot open the tracking store postgresql://127.0.0.1:9/x"),
        ("postgresql://u:secret@127.0.0.1:port/x", "cannot open the tracking store"),
        ("sqlite:///", "is a folder; give a file in it"),
        ("sqlite:////proc/mlflow.db", "cannot write /proc/mlflow.db.lock"),
        ("http://u:secret@[::1/", "cannot open the tracking store"),
        ("http://u:secret@127.0.0.1:99999", "cannot open the tracking store"),
        ("nonsense://u:secret@host", "cannot open the tracking store nonsense://host"),
    ],
)
def test_an_impossible_address_is_refused_at_once(
    address: str, says: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    began = time.monotonic()
    with pytest.raises(Exception) as caught:  # noqa: PT011 - a UserError, asserted below
        Tracker()
    from mobilebench.errors import UserError

    assert isinstance(caught.value, UserError)
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)
    assert time.monotonic() - began < 60  # MLflow alone tries for minutes


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("API request to http://ada:geheim@h:1/api failed", "http://ada:geheim@h:1"),
        ("API request to http://ada:geheim@h:1/api failed", "http://ada:geheim@h:1/"),
        ("no port 'heim@geheim@h'", "postgresql://ada:geheim@h/x"),
        ("see http://other:geheim1@elsewhere/x", "http://h"),
        ("postgresql://h/x?user=ada&password=geheim", "postgresql://h/x?user=ada&password=geheim"),
        ("ge/heim and ge%2Fheim", "postgresql://ada:ge%2Fheim@h/x"),
    ],
)
def test_no_password_is_left_in_what_a_library_says(text: str, address: str) -> None:
    assert "heim" not in without_secrets(text, address).replace("'heim@", "")
    assert "geheim" not in shown(address)


@pytest.mark.usefixtures("trained")
def test_a_full_artifact_store_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "model.safetensors")

    tracker = Tracker()
    (run, *_) = tracker.records("tiny")
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfile", full)
        patched.setattr(os, "link", full)
        with pytest.raises(TrackingError) as caught:
            tracker.add_artifacts(run.run_id, project / "results")
    assert f"cannot keep the artifacts of run {run.run_id} in file://{project}/mlartifacts/tiny/" in str(caught.value)
    assert "No space left on device" in str(caught.value)
    assert "disk that the artifacts are on" in str(caught.value)


@pytest.mark.usefixtures("trained")
@pytest.mark.parametrize("below", ["", ".mobilebench", ".mobilebench/cells"])
def test_a_read_only_folder_is_delivered(
    below: str,
    project: Path,
    empty_store: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stick = tmp_path_factory.mktemp("stick")
    shutil.move(STATE.parent, stick / STATE.parent)
    numbers = {(record.model, record.value) for record in read_results(RESULTS)}
    shutil.move(project / "results", stick / "results")
    shutil.copy(empty_store, project / "mlflow.db")
    real = os.access

    def read_only(path: Path, mode: int, **rest: bool) -> bool:
        return real(path, mode, **rest) and not (mode == os.W_OK and stick in Path(path).parents)

    monkeypatch.setattr(os, "access", read_only)
    before = {path: path.stat().st_mtime_ns for path in stick.rglob("*")}
    for delivered in (2, 0):
        done = CliRunner().invoke(main, ["sync", str(stick / below)])
        assert done.exit_code == 0
        assert f"{delivered} runs delivered, 0 still in training" in done.output
    assert {path: path.stat().st_mtime_ns for path in stick.rglob("*")} == before
    assert {(record.model, record.value) for record in read_results(RESULTS)} == numbers
    assert len(weights(Tracker(), project / "fetched")) == 2


def test_a_folder_without_journals_is_named(project: Path) -> None:
    (project / "nothing").mkdir()
    done = CliRunner().invoke(main, ["sync", "nothing"])
    assert done.exit_code == 2
    assert "no journals in nothing; expected a project folder" in done.output
    assert CliRunner().invoke(main, ["sync"]).exit_code == 2  # no project here
    (project / "params.yaml").write_text("")
    done = CliRunner().invoke(main, ["sync"])
    assert done.exit_code == 0
    assert "no cell was trained in this folder yet" in done.output
    assert not (project / "mlflow.db").exists()


def test_the_ui_of_runs_on_a_server_is_that_servers(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:geheim@far:5001")
    done = CliRunner().invoke(main, ["ui"])
    assert done.exit_code == 0
    assert "http://far:5001" in done.output
    assert "127.0.0.1" not in done.output
    assert "geheim" not in done.output


def test_the_ui_opens_at_the_runs_of_the_experiment(trained: Path) -> None:
    tracker = Tracker()
    number = MlflowClient(tracker.uri).get_experiment_by_name("tiny").experiment_id
    page = tracker.runs_page("tiny", "http://here:1")
    assert page == f"http://here:1/#/experiments/{number}/runs?workflowType=machine_learning"
    assert tracker.runs_page("none", "http://here:1").startswith("http://here:1/#/experiments?")


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
            return True
    except OSError:
        return False


@pytest.mark.usefixtures("trained", "ctrl_c_raises")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_the_ui_ends_with_its_command_and_shows_moved_artifacts(number: signal.Signals, project: Path) -> None:
    port = free_port()
    command = [sys.executable, "-c", "from mobilebench.cli import main; main()", "ui", "--port", str(port)]
    environment = os.environ | {"COLUMNS": "200"}
    quick = number is not signal.SIGTERM  # one of the three waits until it is up: it takes its time
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True) as ui:
        running: list[psutil.Process] = []
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not (running if quick else _answers(port)):
            time.sleep(0.1)
            running = psutil.Process(ui.pid).children(recursive=True)
            running = running if len(running) > 1 else []
        started = psutil.Process(ui.pid).children(recursive=True)
        if not quick:
            (path, *_) = project.glob("mlartifacts/tiny/*/artifacts/model.safetensors")
            url = f"http://127.0.0.1:{port}/get-artifact?path=model.safetensors&run_uuid={path.parents[1].name}"
            with urllib.request.urlopen(url, timeout=20) as answer:
                assert answer.read() == path.read_bytes()
            assert ui.stdout is not None
            told = next(line for line in ui.stdout if line.startswith("MLflow's UI: "))  # the server says things too
            assert f": http://127.0.0.1:{port}/#/experiments/1/runs?workflowType=machine_learning" in told
        ui.send_signal(number)
        ui.wait(30)
    assert started
    _, alive = psutil.wait_procs(started, timeout=30)
    assert alive == []
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a closed connection may rest there for a minute
        probe.bind(("127.0.0.1", port))
