"""A packed dataset on a node's own disk: copied and checked once, and again where it is not what it was."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import grids
import numpy as np
import pytest

from mobilebench.config.data import DerivedData
from mobilebench.datasets.packing import near as module
from mobilebench.datasets.packing.near import near
from mobilebench.datasets.packing.packed import open_packed
from mobilebench.datasets.packing.prepare import prepare
from mobilebench.errors import UserError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    grids.write(tmp_path / "project")
    return tmp_path / "project/data/packed/blobs"


def test_it_is_copied_once_and_anew_where_the_source_changed(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = near(packed, tmp_path / "disk")
    assert target == tmp_path / "disk/blobs"
    assert open_packed(target).meta == open_packed(packed).meta
    np.testing.assert_array_equal(open_packed(target).images, open_packed(packed).images)

    def no_copy(*_: object, **__: object) -> None:
        pytest.fail("it is there already")

    with monkeypatch.context() as patch:
        patch.setattr(module.shutil, "copytree", no_copy)
        assert near(packed, tmp_path / "disk") == target
    for folder in ("source", "data"):
        shutil.rmtree(packed.parents[2] / folder)
    grids.write(packed.parents[2], per_class=8)
    assert open_packed(near(packed, tmp_path / "disk")).meta.digest == open_packed(packed).meta.digest


def test_a_copy_that_was_cut_short_is_made_anew_and_a_damaged_source_leaves_none(packed: Path, tmp_path: Path) -> None:
    (tmp_path / "disk/.blobs.part").mkdir(parents=True)
    (tmp_path / "disk/.blobs.part/images.npy").write_bytes(b"half")
    open_packed(near(packed, tmp_path / "disk")).verify()
    assert not (tmp_path / "disk/.blobs.part").exists()
    images = np.load(packed / "images.npy")
    images[0] += 1
    np.save(packed / "images.npy", images)
    with pytest.raises(UserError):
        near(packed, tmp_path / "other")
    assert not (tmp_path / "other/blobs").exists()


def test_a_derived_one_brings_its_parent(packed: Path, tmp_path: Path) -> None:
    project = packed.parents[2]
    suite = grids.write(project)
    own = dict(suite.data_sources) | {"few": DerivedData(of="blobs", per_class=4)}
    prepare(
        "few",
        policy=suite.protocol.data,
        raw_dir=project / "data/raw",
        out_dir=project / "data/packed",
        workers=1,
        own=own,
    )
    target = near(packed.with_name("few"), tmp_path / "disk")
    assert (tmp_path / "disk/blobs").is_dir()
    open_packed(target).verify()
