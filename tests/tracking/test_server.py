"""MLflow on a real PostgreSQL, with accounts, and several workers that write at once.

The cluster is made from the PostgreSQL installed on this machine and thrown away; without one these tests are skipped.
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mobilebench.runs.events import DatasetInput, Epoch, Finish, Start
from mobilebench.runs.journal import Journal
from mobilebench.tracking.postgres import PostgresError, _owner, binaries, free_port
from mobilebench.tracking.server import RUNS, Server, ServerError, load_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator

try:
    _owner(), binaries()
except PostgresError as error:
    pytest.skip(str(error), allow_module_level=True)

pytestmark = pytest.mark.server

WORKER = """
import pathlib, sys
from mobilebench.runs.journal import Journal
from mobilebench.tracking import Tracker
tracker = Tracker(sys.argv[1])
for path in sorted(pathlib.Path(sys.argv[2]).iterdir()):
    tracker.deliver(Journal(path))
"""
EPOCHS = 5


class Hosted:
    """A server that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.server = Server(folder / "server", port=free_port())
        self.secret = load_secrets(self.server.folder)
        self.address = self.server.address
        self.start()

    def start(self) -> None:
        self._open = ExitStack()
        self._child = self._open.enter_context(self.server.running())

    def kill(self) -> None:
        os.killpg(self._child.pid, signal.SIGKILL)
        self.stop()

    def stop(self) -> None:
        self._open.close()


@pytest.fixture(scope="module")
def hosted() -> Iterator[Hosted]:
    folder = Path(tempfile.mkdtemp(prefix="mobilebench-"))
    folder.chmod(0o711)  # PostgreSQL's own user may pass
    (folder / "server").mkdir()
    running = Hosted(folder)
    yield running
    running.stop()
    shutil.rmtree(folder)


@contextmanager
def account(name: str, password: str) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MLFLOW_TRACKING_USERNAME", name)
        patched.setenv("MLFLOW_TRACKING_PASSWORD", password)
        yield


def journal(folder: Path, number: int, *, epochs: int = EPOCHS, artifacts: bool = True) -> Journal:
    """A finished cell that waits to be delivered."""
    made = Journal(folder / f"net.data.{number}-{number:012x}")
    tags = {
        "kind": "cell", "cell": f"net.data.{number}", "identity": f"{number:012x}", "journal": f"{number:032x}",
        "model": "net", "dataset": "data", "seed": str(number), "protocol_hash": "0" * 12, "data_digest": "0" * 12,
        "code_version": "1",
    }  # fmt: skip
    data = DatasetInput("data", "0" * 12, "data/packed/data", "{}")
    params = {"lr": "0.1"}
    made.append(Start(experiment=folder.name, run_name=tags["cell"], tags=tags, params=params, dataset=data))
    for step in range(1, epochs + 1):
        made.append(Epoch(step=step, metrics={"train_loss": 1 / step, "lr": 0.1}))
    if artifacts:
        made.artifacts.mkdir()
        (made.artifacts / "model.safetensors").write_bytes(b"weights")
    made.append(Finish(step=epochs, metrics={"final_test_top1": 0.5, "n_test": 10.0}))
    return made


def assert_each_once(address: str, experiment: str, cells: int) -> None:
    from mobilebench.tracking import Tracker

    tracker = Tracker(address)
    records = tracker.records(experiment)
    assert sorted(record.seed for record in records) == list(range(cells))
    assert {record.status for record in records} == {"FINISHED"}
    for record in records:
        points = tracker.curves(record.run_id, ["train_loss"])["train_loss"]
        assert points == [(step, 1 / step) for step in range(1, EPOCHS + 1)]


def test_nobody_comes_in_without_an_account(hosted: Hosted) -> None:
    from mobilebench.tracking import Tracker, TrackingError

    with pytest.raises(TrackingError, match="Set MLFLOW_TRACKING_USERNAME"):
        Tracker(hosted.address)
    for password in ("password1234", "password", "admin"):
        with account("admin", password), pytest.raises(TrackingError, match="401"):
            Tracker(hosted.address)


def test_secrets_are_drawn_and_only_the_owner_reads_them(hosted: Hosted) -> None:
    secret = hosted.secret
    assert len(secret.admin) >= 20
    assert load_secrets(hosted.server.folder) == secret
    for name in ("secrets.json", "auth.ini"):
        assert stat.S_IMODE((hosted.server.folder / name).stat().st_mode) == 0o600
    assert stat.S_IMODE((hosted.server.folder / "artifacts").stat().st_mode) == 0o700
    seen = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if _is_there(path)]
    assert not [line for line in seen if secret.admin.encode() in line or secret.database.encode() in line]


def _is_there(path: Path) -> bool:
    with suppress(OSError):
        return bool(path.read_bytes())
    return False


def test_workers_that_write_at_once_lose_and_double_nothing(hosted: Hosted, tmp_path: Path) -> None:
    """Two of them through the server, two on the database itself, which keeps no artifacts."""
    from mobilebench.tracking import Tracker, TrackingError

    through, direct = ([tmp_path / name / kind for name in "ab"] for kind in ("through", "direct"))
    for number in range(6):
        journal(through[number % 2], number)
        journal(direct[number % 2], number, artifacts=False)
    with account("admin", hosted.secret.admin):  # made by the server, which knows where artifacts go
        Tracker(hosted.address).prepare("direct")
    database = hosted.server._cluster(hosted.secret).url(RUNS)
    addresses = [hosted.address] * 2 + [database] * 2
    environment = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": hosted.secret.admin}
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, address, str(folder)], env=os.environ | environment)
        for address, folder in zip(addresses, through + direct, strict=True)
    ]
    assert [worker.wait(200) for worker in workers] == [0] * 4
    with account("admin", hosted.secret.admin):
        assert_each_once(hosted.address, "through", 6)
        assert_each_once(hosted.address, "direct", 6)
    assert len(list((hosted.server.folder / "artifacts").glob("**/model.safetensors"))) == 6
    for experiment in ("direct", "new"):  # through the database no artifact would reach the others
        with pytest.raises(TrackingError, match="is a database, which keeps runs but no artifacts"):
            Tracker(database).prepare(experiment)


def test_a_server_killed_and_started_again_hears_the_rest_in_order(hosted: Hosted, tmp_path: Path) -> None:
    from mobilebench.tracking import Tracker, TrackingError

    waiting = journal(tmp_path / "away", 0)
    lines = waiting.path.read_bytes().splitlines(keepends=True)
    waiting.path.write_bytes(b"".join(lines[:3]))
    with account("admin", hosted.secret.admin):
        tracker = Tracker(hosted.address)
        run_id = tracker.deliver(waiting)
        hosted.kill()
        waiting.path.write_bytes(b"".join(lines))
        with pytest.raises(TrackingError, match="cannot write to the tracking store"):
            tracker.deliver(waiting)
        assert waiting.delivery.events == 3
        hosted.start()
        assert tracker.deliver(waiting) == run_id
        assert_each_once(hosted.address, "away", 1)


def test_a_second_server_on_one_folder_is_refused_and_stops_nothing(hosted: Hosted) -> None:
    from mobilebench.tracking import Tracker

    second = Server(hosted.server.folder, port=free_port())
    with pytest.raises(ServerError, match=r"a tracking server runs on .* already"), second.running():
        pass
    with account("admin", hosted.secret.admin):
        assert "Default" not in Tracker(hosted.address).experiments()


def test_a_database_whose_accounts_are_older_than_the_folder_is_told(hosted: Hosted) -> None:
    base = hosted.server._cluster(hosted.secret).url("").rstrip("/")
    second = Server(hosted.server.folder.with_name("second"), port=free_port(), database=base)
    with second.running():
        assert not second.admin_enters()
    assert hosted.server.admin_enters()


def test_a_short_password_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_AUTH_ADMIN_PASSWORD", "short")
    with pytest.raises(ServerError, match="fewer than 12"):
        load_secrets(tmp_path)
    assert not (tmp_path / "secrets.json").exists()
