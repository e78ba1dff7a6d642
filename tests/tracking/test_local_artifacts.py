"""Artifacts of a store of files: one file on the disk for the journal's weights and the store's."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from mobilebench.execution.delivery import sync_journals
from mobilebench.system.layout import RESULTS, STATE
from mobilebench.tracking import Tracker
from mobilebench.tracking.local_artifacts import lay, local_place


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "from"
    (made / "predictions").mkdir(parents=True)
    (made / "model.safetensors").write_bytes(b"weights")
    (made / "predictions/test.npz").write_bytes(b"logits")
    (made / "suite.json").write_text("{}")
    return made


def files(place: Path) -> dict[str, bytes]:
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def test_weights_and_predictions_are_one_file_and_texts_are_copies(folder: Path, tmp_path: Path) -> None:
    for _ in range(2):  # delivered again: nothing changes
        lay(folder, tmp_path / "to")
        assert files(tmp_path / "to") == files(folder)
        shared = {name for name in files(folder) if (folder / name).samefile(tmp_path / "to" / name)}
        assert shared == {"model.safetensors", "predictions/test.npz"}
    shutil.rmtree(folder)
    assert (tmp_path / "to/model.safetensors").read_bytes() == b"weights"


def test_a_file_of_another_run_is_replaced_and_not_written_into(folder: Path, tmp_path: Path) -> None:
    lay(folder, tmp_path / "to")
    other = shutil.copytree(folder, tmp_path / "other")
    (other / "model.safetensors").write_bytes(b"others")
    lay(other, tmp_path / "to")
    assert (tmp_path / "to/model.safetensors").read_bytes() == b"others"
    assert (folder / "model.safetensors").read_bytes() == b"weights"


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM, errno.EMLINK])
def test_without_hard_links_everything_is_copied(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refused)
    lay(folder, tmp_path / "to")
    assert files(tmp_path / "to") == files(folder)
    assert not (folder / "model.safetensors").samefile(tmp_path / "to/model.safetensors")


def test_only_paths_of_this_machine_are_local() -> None:
    assert local_place("file:///a/b%20c/artifacts") == Path("/a/b c/artifacts")
    assert local_place("/a/artifacts") == Path("/a/artifacts")
    for elsewhere in ("mlflow-artifacts:/1/x/artifacts", "s3://bucket/x", "mlflow-artifacts://host/x"):
        assert local_place(elsewhere) is None


def test_a_store_that_was_lost_gets_everything_again_from_the_journals(trained: Path, empty_store: Path) -> None:
    before = files(trained / "mlartifacts")
    shutil.rmtree(trained / "mlartifacts")
    shutil.copy(empty_store, trained / "mlflow.db")
    assert sync_journals(STATE, RESULTS, Tracker()).delivered == 2
    after = files(trained / "mlartifacts")
    assert sorted(after.values()) == sorted(before.values())
    (weights, *_) = (trained / "mlartifacts").glob("**/model.safetensors")
    assert weights.stat().st_nlink == 2
