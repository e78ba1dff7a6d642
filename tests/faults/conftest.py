"""A small project to break things in, made once and copied."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING

import grids
import pytest

from mobilebench.execution.context import open_context
from mobilebench.execution.suites import open_suite
from mobilebench.tracking import Tracker

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.execution.context import RunContext


@pytest.fixture(scope="session")
def _template(tmp_path_factory: pytest.TempPathFactory, _empty_store: Path) -> Path:
    folder = tmp_path_factory.mktemp("template")
    with contextlib.chdir(folder):
        grids.write(folder)
    shutil.copy(_empty_store, folder / "mlflow.db")
    return folder


@pytest.fixture
def small(_template: Path, project: Path) -> Path:
    """A project folder with a grid of two cells, its packed data and an empty store; it is the current folder."""
    shutil.copytree(_template, project, dirs_exist_ok=True)
    return project


@pytest.fixture
def empty_store(_empty_store: Path) -> Path:
    """The sqlite file of an empty store, to be copied."""
    return _empty_store


@pytest.fixture
def context(small: Path) -> RunContext:
    return open_context(open_suite(), "blobs", Tracker())
