"""A project whose cells are trained and delivered, made once and copied: its store then lies in another folder."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING

import grids
import pytest
from click.testing import CliRunner

from mobilebench.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory, _empty_store: Path) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    with contextlib.chdir(folder):
        grids.write(folder, per_class=8)
        shutil.copy(_empty_store, folder / "mlflow.db")
        done = CliRunner().invoke(main, ["train", "blobs"])
        assert done.exit_code == 0, done.output
    return folder


def _new_process() -> None:
    """Forget where MLflow found the artifacts of each run: it keeps that for as long as a process lives."""
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.clear()


@pytest.fixture
def trained(_trained: Path, project: Path) -> Path:
    """A project folder with two finished cells and their store; it is the current folder."""
    shutil.copytree(_trained, project, dirs_exist_ok=True)
    _new_process()
    return project


@pytest.fixture
def new_process() -> Callable[[], None]:
    """Return what makes MLflow look for artifacts anew, as another process would."""
    return _new_process


@pytest.fixture
def empty_store(_empty_store: Path) -> Path:
    """The sqlite file of an empty store, to be copied."""
    return _empty_store
