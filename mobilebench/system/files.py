"""Result files are written beside and renamed: a reader sees the old file or the new one, never a half."""

from __future__ import annotations

import codecs
import io
import os
import secrets
import warnings
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from mobilebench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pandas import DataFrame


_keeps_caches = ContextVar("_keeps_caches", default=True)


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


def write_cache(path: Path, content: str) -> None:
    """Write what can be found again at any time; a disk that does not take it costs speed alone."""
    if _keeps_caches.get():
        with suppress(OSError):
            write_text(path, content)


@contextmanager
def no_caches_written() -> Iterator[None]:
    """Leave the folder as it is while the block looks at it: what it finds is not kept, what is kept is read."""
    token = _keeps_caches.set(False)
    try:
        yield
    finally:
        _keeps_caches.reset(token)


def read_text(path: str | Path, expected: str) -> str:
    """Return a text file, with plain line ends: UTF-8, with a byte order mark or without, whatever the locale.

    expected: what the file should be, for messages. Raises FileNotFoundError where there is none, and UserError, which
    says what was found, for another encoding, for a folder in its place and for a file that may not be read.
    """
    return io.StringIO(decoded(_content(Path(path), expected), str(path), expected), newline=None).read()


def decoded(content: bytes, name: str, expected: str) -> str:
    """Return UTF-8 bytes as text, without a byte order mark; messages call them `name`. Raises UserError otherwise."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(
            f"{name} cannot be read as {expected}: it is UTF-16 text, as PowerShell's > writes it. Save it as UTF-8, "
            "or use `iconv -f UTF-16 -t UTF-8`"
        )
    if b"\0" in content:
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise UserError(
            f"{name} cannot be read as {expected}: it holds {content.count(0)} NUL bytes, the first in line {line}, so "
            "it is damaged or no text. It should be UTF-8"
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{name} cannot be read as {expected}: it is not UTF-8: byte 0x{content[error.start]:02x} in line {line} "
            "is of another encoding, such as Latin-1. Save it as UTF-8"
        ) from None


def _content(path: Path, expected: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except IsADirectoryError:
        raise UserError(f"{path} is a folder; expected {expected}. Move the folder away") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}; expected {expected} that you may read") from None


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

    source, expected = Path(path), f"a CSV with the columns {', '.join(required)}"
    try:
        text = decoded(_content(source, expected), str(source), expected)
    except FileNotFoundError:
        raise UserError(f"no file {source}; expected {expected}") from None
    try:
        with warnings.catch_warnings():
            # By default pandas drops fields beyond the header with no more than a warning.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(io.StringIO(text, newline=""), dtype=str, na_filter=False, index_col=False)
    except pd.errors.EmptyDataError:
        frame = pd.DataFrame()
    except (pd.errors.ParserError, pd.errors.ParserWarning, ValueError) as error:
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
