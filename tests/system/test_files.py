from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from mobilebench.system.files import write_bytes, write_rows, write_text

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file.txt"
    for text in ("first", "ä second"):
        assert write_text(path, text) == path
        assert path.read_bytes() == text.encode()
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("durable", [False, True])
def test_what_is_durable_is_synced_before_and_after_the_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    path, real, seen = tmp_path / "file", os.fsync, []

    def fsync(descriptor: int) -> None:
        seen.append((stat.S_ISDIR(os.fstat(descriptor).st_mode), path.exists()))
        real(descriptor)

    monkeypatch.setattr("mobilebench.system.files.os.fsync", fsync)
    write_bytes(path, b"content", durable=durable)
    assert seen == ([(False, False), (True, True)] if durable else [])


def test_a_private_file_is_private_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes = []

    def fsync(descriptor: int) -> None:
        modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))

    monkeypatch.setattr("mobilebench.system.files.os.fsync", fsync)
    path = write_text(tmp_path / "secret", "word", durable=True, mode=0o600)
    assert modes[0] == 0o600
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(write_text(tmp_path / "public", "word").stat().st_mode) == 0o644


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_text(tmp_path / "file", "old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mobilebench.system.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "new", durable=True)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_rows_keep_full_precision_and_empty_fields(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.csv", ("a", "b"), [{"a": 0.1 + 0.2, "b": None}, {"a": "x, y", "b": 1}])
    assert path.read_text() == 'a,b\n0.30000000000000004,\n"x, y",1\n'
