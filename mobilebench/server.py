"""MLflow's own server as a child process, on the store that the runs are in."""

from __future__ import annotations

import os
import subprocess
import sys
import webbrowser

from mobilebench.errors import UserError
from mobilebench.paths import ARTIFACTS


def serve_ui(port: int, *, browser: bool = True) -> None:
    """Run MLflow's UI until it is stopped, or open the tracking server's own when runs go to one.

    One worker and no job runner: half the memory, and quick answers (several workers keep small replies waiting).
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    if uri.startswith(("http://", "https://")):
        webbrowser.open(uri)
        return
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--workers", "1"]
    command += ["--default-artifact-root", ARTIFACTS.resolve().as_uri(), "--host", "127.0.0.1", "--port", str(port)]
    if browser and sys.stdout.isatty():
        webbrowser.open(f"http://127.0.0.1:{port}")
    try:
        code = subprocess.run(command, env=environment, check=False).returncode  # noqa: S603 - our own words
    except KeyboardInterrupt:
        return
    if code:
        raise UserError(f"MLflow's server ended with {code}; is port {port} taken? Choose another with --port")
