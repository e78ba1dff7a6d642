"""Result files are written beside and renamed: a reader sees the old file or the new one, never a half."""

from __future__ import annotations

import os
import secrets
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from mobilebench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas import DataFrame


def write_bytes(path: str | Path, content: bytes, *, durable: bool = False, mode: int = 0o666) -> Path:
    """Replace `path` by `content` in one step, making its folder, and return it as a Path.

    durable: the file and its name are on the disk, not only with the system, when this returns. mode: who may read it,
    at any moment, less what the user's umask takes away.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        beside.replace(target)
        if durable:
            sync_folder(target.parent)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return target


def write_text(path: str | Path, content: str, *, durable: bool = False, mode: int = 0o666) -> Path:
    """Replace `path` by the UTF-8 text `content` as `write_bytes` does, and return it as a Path."""
    return write_bytes(path, content.encode(), durable=durable, mode=mode)


def sync_folder(folder: Path) -> None:
    """Put the names in a folder on the disk: a rename is not there before."""
    if os.name != "posix":  # elsewhere a folder cannot be opened, and the rename is durable enough
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_csv(path: str | Path, frame: DataFrame) -> Path:
    """Replace `path` by a CSV with a header line; an absent value is an empty field, a float keeps full precision."""
    return write_text(path, frame.to_csv(index=False, lineterminator="\n"))


def read_csv(path: str | Path, required: Sequence[str] = ()) -> DataFrame:
    """Return a CSV as a frame of strings, an empty field as an empty string.

    Raises UserError if the file or a required column is absent, or if it is no CSV.
    """
    import pandas as pd

    source = Path(path)
    if not source.is_file():
        raise UserError(f"no file {source}; expected a CSV with the columns {', '.join(required)}")
    try:
        with warnings.catch_warnings():
            # By default pandas drops fields beyond the header with no more than a warning.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(source, dtype=str, na_filter=False, index_col=False, encoding="utf-8")
    except pd.errors.EmptyDataError:
        frame = pd.DataFrame()
    except (pd.errors.ParserError, pd.errors.ParserWarning, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{source} cannot be read as a CSV with as many fields as its header: {reason}") from None
    require_columns(frame, required, str(source))
    return frame


def require_columns(frame: DataFrame, required: Sequence[str], name: str) -> None:
    """Raise UserError, naming what is missing and what `name` has instead, unless every required column is there."""
    missing = [column for column in required if column not in frame.columns]
    if missing:
        found = ", ".join(map(str, frame.columns)) or "nothing"
        raise UserError(f"{name}: no column {', '.join(missing)}; its header has {found}")
