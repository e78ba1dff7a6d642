"""Digests of file contents: always those of the content, read again only where a file was touched."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import pytest

from mobilebench.datasets import file_digests
from mobilebench.datasets.file_digests import content_digests

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    made = [tmp_path / f"{number}.bin" for number in range(3)]
    for number, path in enumerate(made):
        path.write_bytes(b"x" * number)
        os.utime(path, (1e9, 1e9))
    return made


def expected(files: list[Path]) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "" for path in files]


def test_they_are_those_of_the_content_whatever_happens(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_digests, "_SETTLED", 0.0)
    cache = tmp_path / "cache.json"
    assert content_digests(files, cache) == content_digests(files, cache) == expected(files)
    files[2].write_bytes(b"yy")  # the same size
    os.utime(files[2], (1e9, 1e9))  # and the same time of content
    assert content_digests(files, cache) == expected(files)
    files[0].unlink()
    assert content_digests(files, cache) == expected(files)
    cache.write_text("{")
    assert content_digests(files, cache) == expected(files)


def test_untouched_files_are_not_read_again(files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_digests, "_SETTLED", -60.0)
    cache = tmp_path / "cache.json"
    first = content_digests(files, cache)
    monkeypatch.setattr(file_digests, "_digest", lambda path: pytest.fail(f"{path} was read again"))
    assert content_digests(files, cache) == first


def test_a_file_touched_just_now_is_not_kept(files: list[Path], tmp_path: Path) -> None:
    cache = tmp_path / "cache.json"
    content_digests(files, cache)
    assert cache.read_text() == "{}"
