"""MLflow behind a few classes: deliver journals to runs, read runs back as records. Only this room imports MLflow.

Names are resolved on first use, so that a machine that trains offline (`mobilebench.tracking.offline`) needs no MLflow.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# Before MLflow is imported, which reads them. Telemetry off: a benchmark reports to its user only. Few and short HTTP
# retries: training must not stand still while a server is away, the journal delivers again later.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER", "false")  # a server may ask for hours
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"  # with the user and the password of the address

from mobilebench.errors import TrackingError
from mobilebench.tracking.address import DEFAULT_URI, shown, uri
from mobilebench.tracking.offline import CellTracker, OfflineTracker

if TYPE_CHECKING:
    from mobilebench.tracking.client import Tracker
    from mobilebench.tracking.reader import Details

_HOME = {"Tracker": "client", "Details": "reader"}

__all__ = ["DEFAULT_URI", "CellTracker", "Details", "OfflineTracker", "Tracker", "TrackingError", "shown", "uri"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
