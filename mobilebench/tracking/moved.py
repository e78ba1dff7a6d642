"""A store whose folder was moved, copied or mounted elsewhere: its artifacts are found beside it again.

MLflow keeps absolute places: an experiment's, and below it each run's and each logged model's. A sqlite file and its
artifacts lie in one folder and move together, so the places are written anew when the store is opened. MLflow's own UI
then finds them too.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from mobilebench.system.layout import ARTIFACTS
from mobilebench.tracking.address import artifact_root, sqlite_path

if TYPE_CHECKING:
    from collections.abc import Iterator

_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
_PATIENCE = 20  # seconds that another process may take to write


def follow_artifacts(address: str) -> int:
    """Point a sqlite store at the artifacts beside it, and return how many experiments had another place.

    An experiment is followed when its place is not there or is another folder's, and a folder of its name is here.
    What was never in a folder `mlartifacts` is somebody's own choice and stays. Raises sqlite3.Error.
    """
    path, root = sqlite_path(address), artifact_root(address)
    if path is None or root is None or not path.is_file():
        return 0
    with closing(sqlite3.connect(path, timeout=_PATIENCE)) as connection, connection:
        moved = list(_moved(connection, root))
        for before, now in moved:
            for table, column in _PLACES:
                _rewrite(connection, table, column, before, now)
    return len(moved)


def _moved(connection: sqlite3.Connection, root: Path) -> Iterator[tuple[str, str]]:
    """Yield the place of every experiment that is to be followed, and its new one."""
    if not _columns(connection, "experiments"):
        return
    for (place,) in connection.execute("SELECT artifact_location FROM experiments").fetchall():
        url = urlsplit(place or "")
        if url.scheme not in {"", "file"}:
            continue
        before = Path(unquote(url.path) if url.scheme else place)
        now = root / before.name
        if before.parent.name == ARTIFACTS.name and before.parent != root and now.is_dir():
            yield place, now.as_uri()


def _rewrite(connection: sqlite3.Connection, table: str, column: str, before: str, now: str) -> None:
    if column in _columns(connection, table):
        connection.execute(
            f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE {column} = ? OR substr({column}, 1, ?) = ?",  # noqa: S608 - our own words
            (now, len(before) + 1, before, len(before) + 1, f"{before}/"),
        )


def _columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return {str(row[1]) for row in connection.execute(f"PRAGMA table_info({table})")}
