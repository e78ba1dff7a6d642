"""MLflow's own server as a child process: the UI on one's own store, or a tracking server for many.

The tracking server keeps its runs in PostgreSQL and its artifacts in a folder, hands both out over HTTP, and asks for
an account (MLflow's basic auth). Passwords are drawn at the first start and kept in files only its user can read.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
import webbrowser
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from mobilebench.errors import TrackingError, UserError
from mobilebench.system.extras import require
from mobilebench.system.files import write_text
from mobilebench.system.locks import LockedError, locked
from mobilebench.tracking.address import DEFAULT_URI, artifact_root, first_contact, shown, sqlite_path
from mobilebench.tracking.moved import follow_artifacts
from mobilebench.tracking.postgres import Cluster, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

ADMIN = "admin"
RUNS, ACCOUNTS = "mlflow", "mlflow_auth"  # the databases
_QUIET = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
_PRIVATE = 0o600  # a file that nobody else may read
_READY = 120  # seconds; MLflow imports for 10 to 30


class ServerError(UserError):
    """The server cannot be started; the message says why and what to do."""


@contextmanager
def ui_running(address: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run MLflow's UI on a store of one's own for the block, ready when the block begins.

    One worker and no job runner: half the memory, and quick answers (several workers keep small replies waiting).
    Raises ServerError, and TrackingError for a store whose file cannot be read.
    """
    path, root = sqlite_path(address), artifact_root(address)
    require("mlflow")
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)]
    if path is None or root is None:
        store, folder = address, Path()
    else:
        with first_contact(address):  # a folder that was moved is followed before MLflow looks
            try:
                follow_artifacts(address)
            except sqlite3.Error as error:
                raise TrackingError(f"cannot read the tracking store {shown(address)}: {error}") from None
        # In its folder, and by its name alone: MLflow makes folders of an address's quoted characters.
        store, folder = f"{DEFAULT_URI[: DEFAULT_URI.rindex('/') + 1]}{quote(path.name)}", path.resolve().parent
        command += ["--default-artifact-root", root.as_uri()]
    # The address goes by the environment: arguments are seen by everybody, and it may have a password in it.
    environment = os.environ | _QUIET | {"MLFLOW_BACKEND_STORE_URI": store}
    with _guarded(command, environment, folder) as child:
        _wait(child, f"http://127.0.0.1:{port}", port)
        yield child


def open_in_browser(address: str) -> None:
    """Show an address in the person's browser, where there is a person."""
    if sys.stdout.isatty():
        webbrowser.open(address)


@contextmanager
def _guarded(command: list[str], environment: dict[str, str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server for the block. It ends with the block, and with this process however that ends.

    Between the two stands `tracking.guard`, which ends the server when its pipe from this process closes.
    """
    guard = [sys.executable, "-I", str(Path(__file__).with_name("guard.py")), *command]
    # A session of its own: Ctrl-C reaches this process only, which then stops all of the server's.
    child = subprocess.Popen(guard, env=environment, cwd=folder, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603 - our own words
    try:
        yield child
    finally:
        _stop(child)


def _wait(child: subprocess.Popen[bytes], address: str, port: int) -> None:
    """Wait until a server answers. Raises ServerError when it ends first, or does not answer for two minutes."""
    deadline = time.monotonic() + _READY
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise ServerError(
                f"MLflow's server ended with {child.returncode}, see above; is port {port} taken? "
                "Choose another with --port"
            )
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):  # noqa: S310 - our own address
                return
        except OSError:
            time.sleep(0.3)
    raise ServerError(f"MLflow's server did not answer within {_READY} s at {address}")


@dataclass(frozen=True)
class Secrets:
    """What only the server's own user may read, and the port of its cluster, which the addresses of its data name."""

    admin: str
    """Password of the account ADMIN."""

    session: str
    """Key by which the server signs its sessions."""

    database: str
    """Password of the cluster's user."""

    postgres_port: int
    """Port of the cluster on this machine."""


def load_secrets(folder: Path) -> Secrets:
    """Return the server's secrets, drawn at the first call; MLFLOW_AUTH_ADMIN_PASSWORD, if set then, is the admin's.

    Raises ServerError for a password of fewer than 12 characters.
    """
    path = folder / "secrets.json"
    if path.exists():
        return Secrets(**json.loads(path.read_text()))
    admin = os.environ.get("MLFLOW_AUTH_ADMIN_PASSWORD") or secrets.token_urlsafe(18)
    if len(admin) < 12:
        raise ServerError("MLFLOW_AUTH_ADMIN_PASSWORD has fewer than 12 characters; choose a longer one or unset it")
    drawn = Secrets(admin, secrets.token_hex(32), secrets.token_hex(16), free_port())
    write_text(path, json.dumps(asdict(drawn)) + "\n", mode=_PRIVATE)
    return drawn


@dataclass(frozen=True)
class Server:
    """How a tracking server runs."""

    folder: Path
    """Where its secrets, its artifacts and its own cluster are."""

    host: str = "127.0.0.1"
    """The address it listens on."""

    port: int = 5000
    """The port it listens on."""

    hosts: str | None = None
    """Names it is called by, `name:port` with commas between; None for this machine and private addresses."""

    database: str | None = None
    """PostgreSQL without the database's name, `postgresql://user:password@host:5432`; None for its own cluster."""

    cluster: Path | None = None
    """Where its own cluster stays, None for a folder in `folder`."""

    @property
    def address(self) -> str:
        """What MLFLOW_TRACKING_URI is to be on this machine."""
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run it for the block, ready when the block begins; its cluster too.

        Raises ServerError, for a folder that another server runs on too, or PostgresError.
        """
        with self._alone(), self._running() as child:
            yield child

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the folder: two servers would share its cluster, and the first to end would stop it for both."""
        with ExitStack() as held:
            try:
                held.enter_context(locked(self.folder / "server.lock", patience=1))
            except LockedError:
                raise ServerError(
                    f"a tracking server runs on {self.folder} already; use that one, or stop it first. One for other "
                    "runs beside it needs another --folder and --port"
                ) from None
            yield

    @contextmanager
    def _running(self) -> Iterator[subprocess.Popen[bytes]]:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o711)  # its cluster may belong to another user, who passes but does not look
        artifacts = self.folder / "artifacts"
        artifacts.mkdir(exist_ok=True)
        artifacts.chmod(0o700)  # MLflow's own mode would let everybody read weights and patches
        secret = load_secrets(self.folder)
        cluster = None if self.database else self._cluster(secret)
        try:
            if cluster:
                cluster.make()
                cluster.start()
                cluster.create(RUNS, ACCOUNTS)
            base = self.database or (cluster.url("").rstrip("/") if cluster else "")
            with _guarded(self._command(), self._environment(secret, base), Path()) as child:
                _wait(child, self.address, self.port)
                yield child
        finally:
            if cluster:
                cluster.stop()

    def admin_enters(self) -> bool:
        """Return whether ADMIN's password in this folder is the one that the running server knows.

        It is another one where the database of accounts is older than the folder: MLflow never changes a password.
        """
        account = f"{ADMIN}:{load_secrets(self.folder).admin}".encode()
        request = urllib.request.Request(  # noqa: S310 - our own address
            f"{self.address}/api/2.0/mlflow/users/get?username={ADMIN}",
            headers={"Authorization": f"Basic {base64.b64encode(account).decode()}"},
        )
        try:
            with urllib.request.urlopen(request, timeout=20):  # noqa: S310 - likewise
                return True
        except OSError:
            return False

    def _cluster(self, secret: Secrets) -> Cluster:
        return Cluster((self.cluster or self.folder / "postgres").resolve(), secret.database, secret.postgres_port)

    def _command(self) -> list[str]:
        # One worker: uvicorn's replies on a kept connection wait 40 ms each when there are several.
        command = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--workers", "1"]
        command += ["--artifacts-destination", str((self.folder / "artifacts").resolve())]
        command += ["--host", self.host, "--port", str(self.port)]
        return [*command, "--allowed-hosts", self.hosts] if self.hosts else command

    def _environment(self, secret: Secrets, base: str) -> dict[str, str]:
        """Return the child's environment; secrets go by it and by files, never by arguments, which everybody sees."""
        accounts = f"{base}/{ACCOUNTS}".replace("%", "%%")
        auth = self.folder / "auth.ini"
        # Every account may write to every experiment: many workers, one benchmark. Passwords are checked once a minute
        # per account, not once a request, which would cost more than the request.
        write_text(
            auth,
            f"[mlflow]\ndefault_permission = EDIT\ndatabase_uri = {accounts}\nauth_cache_ttl_seconds = 60\n",
            mode=_PRIVATE,
        )
        return (
            os.environ
            | _QUIET
            | {
                "MLFLOW_BACKEND_STORE_URI": f"{base}/{RUNS}",
                "MLFLOW_AUTH_CONFIG_PATH": str(auth.resolve()),
                "MLFLOW_AUTH_ADMIN_USERNAME": ADMIN,
                "MLFLOW_AUTH_ADMIN_PASSWORD": secret.admin,
                "MLFLOW_FLASK_SERVER_SECRET_KEY": secret.session,
            }
        )


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End a process and those it started: politely, then not."""
    if child.stdin:
        with suppress(OSError):
            child.stdin.close()
    for number, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(patience)
