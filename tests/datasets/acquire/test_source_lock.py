"""Two machines of a project notice when the official files they prepared a dataset from are not the same."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from mobilebench.datasets import DataError, registry
from mobilebench.datasets.packing.packed import open_packed, read_meta

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMES = ["TestImages.txt", "TrainImages.txt", "indoorCVPR_09.tar"]


@pytest.fixture
def prepared(
    serve_official: Callable[[str], Any],
    packed_at: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Callable[..., Path]:
    """Prepare Indoor-67, its tiny copy being the complete official set, on a machine of this name in one project."""
    spec = serve_official("indoor67")
    monkeypatch.setitem(registry.DATASETS, "indoor67", replace(spec, counts={"train": 12, "test": 6}))

    def run(machine: str, **more: Any) -> Path:
        here = tmp_path / machine
        lock = tmp_path / "sources.lock"
        return packed_at("indoor67", raw_dir=here / "raw", out_dir=here / "packed", **({"lock": lock} | more))

    return run


def change(server: Any) -> None:
    """Another tar with the same images: only its padding differs."""
    server.files["indoorCVPR_09.tar"] += b"\0" * 512


def test_the_first_files_are_trusted_and_written_down(
    prepared: Callable[..., Path], server: Any, tmp_path: Path
) -> None:
    meta = open_packed(prepared("one")).meta
    expected = {name: hashlib.sha256(server.files[name]).hexdigest() for name in NAMES}
    assert json.loads((tmp_path / "sources.lock").read_text()) == {"indoor67": expected}
    assert meta.official
    assert meta.provenance["files"] == expected
    before = (tmp_path / "sources.lock").read_bytes()
    prepared("two")
    prepared("two")
    assert (tmp_path / "sources.lock").read_bytes() == before


def test_another_machines_other_files_are_refused_by_name(prepared: Callable[..., Path], server: Any) -> None:
    prepared("one")
    change(server)
    for _ in range(2):  # the unpacked files are there the second time
        with pytest.raises(
            DataError, match=r"(?s)other files than .*sources\.lock says: indoorCVPR_09\.tar.*right one"
        ):
            prepared("two")


def test_a_packed_set_is_held_to_a_lock_that_came_later(
    prepared: Callable[..., Path], server: Any, tmp_path: Path
) -> None:
    prepared("one")
    other = tmp_path / "other.lock"
    change(server)
    prepared("two", lock=other)
    with pytest.raises(DataError, match=r"sources\.lock says: indoorCVPR_09\.tar"):
        prepared("two")


def test_given_archives_are_held_to_it_and_incomplete_copies_are_not(
    prepared: Callable[..., Path], server: Any, tmp_path: Path
) -> None:
    prepared("one")
    copy = tmp_path / "copy"
    copy.mkdir()
    change(server)
    for name in NAMES:
        (copy / name).write_bytes(server.files[name])
    with pytest.raises(DataError, match=r"indoorCVPR_09\.tar"):
        prepared("two", source=copy)
    (copy / "TrainImages.txt").write_bytes(b"\n".join(server.files["TrainImages.txt"].splitlines()[1:]))
    before = (tmp_path / "sources.lock").read_bytes()
    meta = read_meta(prepared("two", source=copy, incomplete_ok=True))
    assert Counter(meta.counts) == {"train": 11, "test": 6, "val": 0}
    assert (tmp_path / "sources.lock").read_bytes() == before


def test_a_published_sha256_is_checked_on_arrival_and_of_given_files(
    serve_official: Callable[[str], Any],
    packed_at: Callable[..., Path],
    server: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    spec = replace(serve_official("dogs"), counts={"train": 15, "test": 9})
    monkeypatch.setitem(registry.DATASETS, "dogs", spec)
    assert all(source.sha256 for source in spec.sources)
    server.files["lists.tar"] += b"\0" * 512
    with pytest.raises(DataError, match=r"(?s)lists\.tar arrived damaged and was removed.*sha256"):
        packed_at("dogs", lock=tmp_path / "lock")
    copy = tmp_path / "copy"
    copy.mkdir()
    for source in spec.sources:
        (copy / source.name).write_bytes(server.files[source.name])
    with pytest.raises(DataError, match=r"its publisher says: lists\.tar"):
        packed_at("dogs", source=copy, lock=tmp_path / "lock")
    assert not (tmp_path / "lock").exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"indoor67": "abc"}'])
def test_a_damaged_lock_is_named(content: str, prepared: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "sources.lock").write_text(content)
    with pytest.raises(DataError, match=r"sources\.lock"):
        prepared("one")
