"""Whatever a tracking store raises, as one error that says where and what to do."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from mobilebench.errors import TrackingError

if TYPE_CHECKING:
    from collections.abc import Iterator

_DO = "Check MLFLOW_TRACKING_URI and that the server runs; `mobilebench train --offline` needs none"
_HINTS = {
    "401": "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to an account of that server",
    "403": "Your account may not do this; ask who runs the server, or the server does not know the name it is called "
    "by (its --allowed-hosts)",
    "Invalid Host": "The server does not know the name it is called by: start it with --allowed-hosts",
    "not found": "Run ids are in MLflow's UI (`mobilebench ui`); MLFLOW_TRACKING_URI says which store is asked",
    "active": "It was deleted in MLflow: restore it there (`mlflow runs restore`, `mlflow experiments restore`), or "
    "train anew with --redo",
}


@contextmanager
def translated(address: str, doing: str) -> Iterator[None]:
    """Turn MLflow's, the network's and the databases' errors of the block into a TrackingError."""
    from mobilebench.tracking.address import shown

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError, sqlite3.Error) as error:
        lines = str(error).replace(address, shown(address)).splitlines()
        reason = (lines[0] if lines else type(error).__name__)[:300]
        hint = next((text for mark, text in _HINTS.items() if mark in reason), _DO)
        raise TrackingError(f"cannot {doing} the tracking store {shown(address)}: {reason}. {hint}") from error
