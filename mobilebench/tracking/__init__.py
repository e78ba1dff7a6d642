"""MLflow behind one class: deliver journals to runs, read runs back as records. Only this package imports MLflow."""

from __future__ import annotations

import os

# Before MLflow is imported, which reads them. Telemetry off: a benchmark reports to its user only. Few and short HTTP
# retries: training must not stand still while a server is away, the journal delivers again later.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")

from mobilebench.errors import TrackingError
from mobilebench.runs.journal import now_ms
from mobilebench.tracking.address import DEFAULT_URI, shown, uri
from mobilebench.tracking.client import Tracker
from mobilebench.tracking.reader import Details, record_of

__all__ = ["DEFAULT_URI", "Details", "Tracker", "TrackingError", "now_ms", "record_of", "shown", "uri"]
