"""A network that cuts, swallows or delays: after each fault one finished run a cell, and none that runs for ever.

A proxy stands between the program and a real tracking server. `cut` closes the connection before the server has the
request, `swallow` after the server has carried it out, `delay` lets the client give up first and then carries it out.
"""

from __future__ import annotations

import http.client
import os
import shutil
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mobilebench.execution.delivery import SyncReport, sync_journals
from mobilebench.runs.events import DatasetInput, Epoch, Finish, Start
from mobilebench.runs.identity import digest_of_tags
from mobilebench.runs.journal import Journal
from mobilebench.tracking import Tracker
from mobilebench.tracking.postgres import free_port
from mobilebench.tracking.server import _QUIET, _guarded, _wait

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT = 1  # seconds that the client waits here


class Proxy(ThreadingHTTPServer):
    """Passes everything on, but for the first request whose path has `call` in it."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port = port
        self.call, self.fault = "", ""
        self._lock = threading.Lock()

    def next_fault(self, path: str) -> str:
        with self._lock:
            if not self.call or self.call not in path:
                return ""
            self.call = ""
            return self.fault


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _pass_on(self) -> None:
        proxy: Any = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = proxy.next_fault(self.path)
        self.close_connection = bool(fault)
        if fault == "cut":
            return
        if fault == "delay":
            time.sleep(1.5 * TIMEOUT)
        upstream = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=30)
        headers = {key: value for key, value in self.headers.items() if key.lower() not in {"host", "connection"}}
        upstream.request(self.command, self.path, body, headers)
        answer = upstream.getresponse()
        content = answer.read()
        if fault:
            return
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.getheader("Content-Type", "application/json"))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on  # noqa: N815 - names of http.server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[int]:
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    shutil.copy(empty_store, folder / "s.db")
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", "sqlite:///s.db", "--workers", "1"]
    command += ["--artifacts-destination", str(folder / "artifacts"), "--host", "127.0.0.1", "--port", str(port)]
    with _guarded(command, {**os.environ, **_QUIET}, folder) as child:
        _wait(child, f"http://127.0.0.1:{port}", port)
        yield port


@pytest.fixture
def proxy(server: int) -> Iterator[Proxy]:
    with Proxy(server) as made:
        threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
        yield made
        made.shutdown()


def journal(folder: Path, experiment: str) -> Journal:
    made = Journal(folder / "net.data.0-0")
    tags = {
        "kind": "cell", "cell": "net.data.0", "journal": "ab" * 16, "model": "net", "dataset": "data", "seed": "0",
        "protocol_hash": "0" * 12, "data_digest": "0" * 12, "code_version": "1", "recipe_hash": "0" * 12,
        "network": "0" * 12,
    }  # fmt: skip
    tags["identity"] = digest_of_tags(tags)
    data = DatasetInput("data", "0", "data", "{}")
    made.append(Start(experiment=experiment, run_name="r", tags=tags, params={"lr": "1"}, dataset=data))
    for step in (1, 2):
        made.append(Epoch(step=step, metrics={"train_loss": 1 / step}))
    made.artifacts.mkdir()
    (made.artifacts / "model.safetensors").write_bytes(b"weights")
    made.append(Finish(step=2, metrics={"final_test_top1": 0.5, "n_test": 4.0}))
    return made


CALLS = {
    "experiments/get-by-name", "experiments/create", "runs/search", "runs/create", "runs/log-batch", "runs/log-inputs",
    "runs/update", "runs/get", "mlflow-artifacts",
}  # fmt: skip


@pytest.mark.parametrize(
    ("call", "fault", "retries"),
    [(call, fault, 2) for call in sorted(CALLS) for fault in ("cut", "swallow")]
    + [("runs/create", "swallow", 0), ("runs/update", "swallow", 0), ("mlflow-artifacts", "swallow", 0)]
    + [("runs/create", "delay", 2), ("runs/create", "delay", 0), ("runs/update", "delay", 2)],
)
def test_a_fault_of_the_network_leaves_one_run(
    call: str, fault: str, retries: int, server: int, proxy: Proxy, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", str(retries))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    if fault == "delay":
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", str(TIMEOUT))
    experiment = f"{call}-{fault}-{retries}".replace("/", "-")
    journal(project / "cells", experiment)
    tracker = Tracker(f"http://127.0.0.1:{proxy.server_address[1]}")
    proxy.call, proxy.fault = call, fault
    for _ in range(3):
        if not sync_journals(project / "cells", Path("results"), tracker).failed:
            break
    assert proxy.call == "", "the fault never came"
    if fault == "delay":
        time.sleep(TIMEOUT)  # until what was delayed has been carried out; the next sync closes what that made
        assert sync_journals(project / "cells", Path("results"), tracker) == SyncReport()

    from mlflow.tracking import MlflowClient

    direct = MlflowClient(f"http://127.0.0.1:{server}")
    found = direct.get_experiment_by_name(experiment)
    assert found is not None
    runs = direct.search_runs([found.experiment_id])
    assert [run.info.status for run in runs if run.data.tags["kind"] == "cell"] == ["FINISHED"]
    assert [run for run in runs if run.info.status == "RUNNING"] == []
    (run,) = (run for run in runs if run.data.tags["kind"] == "cell")
    points = direct.get_metric_history(run.info.run_id, "train_loss")
    assert [(point.step, point.value) for point in points] == [(1, 1.0), (2, 0.5)]
    assert run.data.params == {"lr": "1"}
    assert [item.path for item in direct.list_artifacts(run.info.run_id)] == ["model.safetensors"]
    assert len(run.inputs.dataset_inputs) == 1
