"""Whether a database can be had at all, asked once: MLflow asks ten times and takes minutes to say no."""

from __future__ import annotations

from sqlalchemy import create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

from mobilebench.tracking.address import sqlite_path

_PATIENCE = 10  # seconds for a database to answer
_WAITS = ("postgresql", "mysql")  # whose drivers know `connect_timeout`


def raise_if_unreachable(address: str) -> None:
    """Connect once to a database, nothing for any other kind of store.

    Raises whatever its driver does, ImportError without one, ValueError for an address that is none.
    """
    name = address.partition(":")[0]
    if sqlite_path(address) is None and not name.startswith((*_WAITS, "mssql")):
        return
    options = {"connect_timeout": _PATIENCE} if name.startswith(_WAITS) else {}
    engine = create_engine(make_url(address), poolclass=NullPool, connect_args=options)
    with engine.connect():
        pass
