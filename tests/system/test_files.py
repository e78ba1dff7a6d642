"""Files are written whole or not at all; CSV files are read as strings and refused by name when they are none."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pandas as pd
import pytest

from mobilebench.errors import UserError
from mobilebench.system.files import no_caches_written, read_csv, write_bytes, write_cache, write_csv, write_text


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
    umask = os.umask(0)
    os.umask(umask)
    path = write_text(tmp_path / "secret", "word", durable=True, mode=0o600)
    assert modes[0] == 0o600
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(write_text(tmp_path / "public", "word").stat().st_mode) == 0o666 & ~umask


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_text(tmp_path / "file", "old")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mobilebench.system.files.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_text(path, "new", durable=True)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_read_is_text_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name,n\nNA,007\nnan,\nshort\n")
    assert read_csv(tmp_path / "a.csv", ("n",)).to_numpy().tolist() == [["NA", "007"], ["nan", ""], ["short", ""]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "no column n; its header has nothing"),
        (b"a,b\n", "no column n; its header has a, b"),
        (b"n\n1\n1,2\n", "Expected 1 fields in line 3, saw 2"),
        (b"n\n1,2\n", "as many fields as its header"),
        (b"n\n\xff\n", "cannot be read as a CSV"),
    ],
)
def test_what_is_no_such_csv_is_refused_by_name(tmp_path: Path, text: bytes, message: str) -> None:
    (tmp_path / "a.csv").write_bytes(text)
    with pytest.raises(UserError, match=message) as error:
        read_csv(tmp_path / "a.csv", ("n",))
    assert "a.csv" in str(error.value)


def test_an_absent_file_is_named_with_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file .*a\.csv; expected a CSV with the columns n, m"):
        read_csv(tmp_path / "a.csv", ("n", "m"))


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_csv(tmp_path / "a.csv", pd.DataFrame({"n": [0.1, None]}))
    assert path.read_bytes() == b'n\n0.1\n""\n'

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_csv(path, pd.DataFrame({"n": [2]}))
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv"]
    assert path.read_bytes() == b'n\n0.1\n""\n'


def test_caches_are_kept_but_where_the_folder_is_only_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "cache.json"
    with no_caches_written():
        write_cache(path, "1")
    assert not path.parent.exists()
    write_cache(path, "2")
    assert path.read_text() == "2"
    write_cache(path / "below a file", "3")  # an OSError, whoever asks
    assert path.read_text() == "2"
