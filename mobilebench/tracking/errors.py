"""Whatever a tracking store raises, as one error that says where and what to do."""

from __future__ import annotations

import re
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from mobilebench.errors import TrackingError
from mobilebench.tracking.address import mlflow_command, shown, without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator

_DO = "Check MLFLOW_TRACKING_URI and that the server runs; `mobilebench train --offline` needs none"
_FULL = "Free some space on its disk; what waits is in the journals, and `mobilebench sync` delivers it then"
_HINTS = {
    "401": "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD to an account of that server",
    "403": "Your account may not do this; ask who runs the server, or the server does not know the name it is called "
    "by (its --allowed-hosts)",
    "Invalid Host": "The server does not know the name it is called by: start it with --allowed-hosts",
    "not found": "Run ids are in MLflow's UI (`mobilebench ui`); MLFLOW_TRACKING_URI says which store is asked",
    "disk is full": _FULL,
    "No space left": _FULL,
    "quota exceeded": _FULL,
}


@contextmanager
def translated(address: str, doing: str) -> Iterator[None]:
    """Turn MLflow's, the network's and the databases' errors of the block into a TrackingError without secrets."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError, sqlite3.Error) as error:
        raise _about(address, doing, error, _hint(str(error))) from error


@contextmanager
def opening(address: str) -> Iterator[None]:
    """Do as `translated` for the first contact with a store, when the address itself may be impossible."""
    try:
        with translated(address, "open"):
            yield
    except ImportError as error:
        hint = (
            "The driver of that database is not installed here: install it, or give the address of a tracking server "
            "(`mobilebench server --database` starts one on a PostgreSQL)"
        )
        raise _about(address, "open", error, hint) from error
    except ValueError as error:
        raise _about(address, "open", error, "Check MLFLOW_TRACKING_URI") from error


def _about(address: str, doing: str, error: Exception, hint: str) -> TrackingError:
    return TrackingError(f"cannot {doing} the tracking store {shown(address)}: {reason_of(error, address)}. {hint}")


def reason_of(error: Exception, address: str) -> str:
    """Return the first line of what a library says, without passwords."""
    lines = without_secrets(str(error), address).splitlines()
    return (lines[0] if lines else type(error).__name__)[:300].rstrip(". ")


def _hint(reason: str) -> str:
    if "active" in reason and "state" in reason:
        runs, experiments = (mlflow_command(what, "restore", "--help") for what in ("runs", "experiments"))
        return f"It was deleted in MLflow: restore it there (`{runs}`, `{experiments}`)"
    return next((text for mark, text in _HINTS.items() if re.search(rf"\b{mark}\b", reason)), _DO)
