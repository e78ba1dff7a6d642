"""Where the tracking store is: its address, how it is shown, and names made safe for its folders and queries."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from mobilebench.errors import TrackingError, UserError
from mobilebench.system.layout import ARTIFACTS
from mobilebench.system.locks import locked

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_URI = "sqlite:///mlflow.db"
_SQLITE = "sqlite:///"
_PLAIN = re.compile(r"[A-Za-z0-9_.-]{1,200}")
_SECRET_OPTION = re.compile(r"(?i)([?&;][a-z_]*(?:password|passwd|pwd|token|secret)=)[^&;\s]*")
_ACCOUNT = re.compile(r"(?<=://)[^/\s'\"@]*@")
_SHORTEST_SECRET = 4  # characters; a shorter one is also part of ordinary words


def uri() -> str:
    """Return the tracking URI: MLFLOW_TRACKING_URI, else the sqlite file in this folder.

    A sqlite file's path is made absolute: MLflow keeps one open store per URI, whatever the folder is by then. What
    has a meaning of its own in an address (`?`, `#`, `%`) is quoted in the folders' names.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    path = sqlite_path(given)
    if path is None or path.is_absolute():
        return given
    options = given.partition("?")[1:]
    return _SQLITE + "".join(quote(c) if c in "%?#" else c for c in str(path.resolve())) + "".join(options)


def shown(address: str) -> str:
    """Return a tracking URI without its user and passwords, for messages."""
    if sqlite_path(address) is not None:
        return address  # a file has no account, and an @ in a folder's name is part of the name
    scheme, separator, rest = address.partition("://")
    return _SECRET_OPTION.sub(r"\1...", scheme + separator + rest.rpartition("@")[2])


def without_secrets(text: str, address: str) -> str:
    """Return a text of a library's with nothing in it of the passwords in `address` or in MLflow's variables."""
    text = text.replace(address, shown(address)).replace(address.rstrip("/"), shown(address.rstrip("/")))
    account = "" if sqlite_path(address) is not None else address.partition("://")[2].rpartition("@")[0]
    password = account.partition(":")[2]
    names = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
    for secret in (password, unquote(password), *(os.environ.get(name, "") for name in names)):
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "...")
    return _ACCOUNT.sub("", _SECRET_OPTION.sub(r"\1...", text))


def sqlite_path(address: str) -> Path | None:
    """Return the file of a sqlite store, None for any other."""
    if not address.startswith(_SQLITE):
        return None
    return Path(unquote(address.removeprefix(_SQLITE).partition("?")[0]))


def is_server(address: str) -> bool:
    """Return whether an address is a tracking server's."""
    return address.startswith(("http://", "https://"))


def artifact_root(address: str) -> Path | None:
    """Return where a sqlite store's artifacts lie: beside its file. None for any other store."""
    path = sqlite_path(address)
    return path.resolve().parent / ARTIFACTS if path is not None else None


def mlflow_command(*words: str) -> str:
    """Return a command of MLflow's own on this store, as a person can give it in this folder."""
    store = () if os.environ.get("MLFLOW_TRACKING_URI") else (f"MLFLOW_TRACKING_URI={DEFAULT_URI}",)
    return " ".join([*store, "mlflow", *(shlex.quote(word) for word in words)])


@contextmanager
def first_contact(address: str) -> Iterator[None]:
    """Hold a sqlite file's lock for its first opening: processes creating its tables at once break each other.

    MLflow makes the folder in a sqlite address without reading its quoted characters; such a stray one is removed.
    """
    path = sqlite_path(address)
    if path is None:
        yield
        return
    if path.is_dir():
        raise TrackingError(f"{shown(address)} is a folder; give a file in it, as in sqlite:///{path / 'mlflow.db'}")
    literal = Path(address.removeprefix(_SQLITE)).parent
    strays = [folder for folder in (literal, *literal.parents) if not folder.exists()]
    with ExitStack() as held:
        try:
            held.enter_context(locked(path.with_name(f"{path.name}.lock")))
        except UserError as error:
            raise TrackingError(f"cannot open the tracking store {shown(address)}: {error}") from error
        for folder in reversed(strays):  # the deepest is removed first
            if folder not in path.parents:
                held.callback(_remove_empty, folder)
        yield


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


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
