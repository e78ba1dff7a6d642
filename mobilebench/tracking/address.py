"""Where the tracking store is: its address, how it is shown, and names made safe for its folders and queries."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import nullcontext
from pathlib import Path

from filelock import FileLock

from mobilebench.errors import TrackingError

DEFAULT_URI = "sqlite:///mlflow.db"
_SQLITE = "sqlite:///"
_PLAIN = re.compile(r"[A-Za-z0-9_.-]{1,200}")


def uri() -> str:
    """Return the tracking URI: MLFLOW_TRACKING_URI, else the sqlite file in this folder.

    A sqlite file's path is made absolute: MLflow keeps one open store per URI, whatever the folder is by then.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    if given.startswith(_SQLITE) and not given.startswith(f"{_SQLITE}/"):
        return f"{_SQLITE}{Path(given.removeprefix(_SQLITE)).resolve()}"
    return given


def shown(address: str) -> str:
    """Return a tracking URI without its user and password, for messages."""
    scheme, separator, rest = address.partition("://")
    return scheme + separator + rest.rpartition("@")[2]


def sqlite_path(address: str) -> Path | None:
    """Return the file of a sqlite store, None for any other."""
    return Path(address.removeprefix(_SQLITE)) if address.startswith(_SQLITE) else None


def first_contact(address: str) -> FileLock | nullcontext[None]:
    """Lock a sqlite file's first opening: processes creating its tables at the same time break each other."""
    path = sqlite_path(address)
    if path is None:
        return nullcontext()
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(f"{path}.lock")


def folder_name(experiment: str) -> str:
    """Return a folder's name for an experiment: the name itself where it is plain, else made from it with a digest."""
    if re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_. -]{0,99}", experiment):
        return experiment
    readable = re.sub(r"[^A-Za-z0-9_-]+", "_", experiment).strip("_")[:80]
    return f"{readable}_{hashlib.sha256(experiment.encode()).hexdigest()[:8]}"


def tagged(**tags: str) -> str:
    """Return the filter for runs with these tags.

    MLflow has no way to quote a value, so only plain words are let into a filter. Raises TrackingError for any other.
    """
    for key, value in tags.items():
        if not _PLAIN.fullmatch(value):
            raise TrackingError(f"{key} is {value[:60]!r}; expected letters, digits, '_', '.' and '-' only")
    return " and ".join(f"tags.{key} = '{value}'" for key, value in tags.items())
