"""Result files are written beside and renamed: a reader sees the old file or the new one, never a half."""

from __future__ import annotations

import csv
import io
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from mobilebench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


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


def write_rows(path: str | Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> Path:
    """Replace `path` by a CSV with a header line; a None is an empty field, a float keeps its full precision."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return write_text(path, text.getvalue())


def read_rows(path: str | Path, required: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of a CSV as dictionaries of strings; raises UserError if it or a required column is absent."""
    source = Path(path)
    if not source.is_file():
        raise UserError(f"no file {source}; expected a CSV with the columns {', '.join(required)}")
    with source.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [name for name in required if name not in (reader.fieldnames or ())]
        if missing:
            found = ", ".join(reader.fieldnames or ()) or "nothing"
            raise UserError(f"{source}: no column {', '.join(missing)}; its header has {found}")
        return list(reader)
