"""A small project to break things in, made once and copied."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import grids
import pytest

from mobilebench.config.suite import Cell
from mobilebench.execution.context import open_context
from mobilebench.execution.grid import run_cells
from mobilebench.execution.progress import NullListener
from mobilebench.execution.suites import open_suite
from mobilebench.tracking import Tracker

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mobilebench.execution.context import RunContext
    from mobilebench.training import EpochResult

SHUFFLENET = Cell("shufflenet", "blobs", 0)


@pytest.fixture(scope="session")
def _template(made_once: Callable[..., Path], empty_store: Path) -> Path:
    def make(folder: Path) -> None:
        grids.write(folder)
        shutil.copy(empty_store, folder / "mlflow.db")

    return made_once("untrained", make)


class Stop(NullListener):
    """Stops after the last epoch, when the checkpoint of each epoch is written and nothing is finished."""

    def epoch(self, cell: Cell, result: EpochResult, epochs: int) -> None:
        if result.epoch == epochs:
            raise KeyboardInterrupt


@pytest.fixture(scope="session")
def _stopped(made_once: Callable[..., Path], _template: Path) -> Path:
    def make(folder: Path) -> None:
        shutil.copytree(_template, folder, dirs_exist_ok=True)
        context = replace(open_context(open_suite(), "blobs", Tracker()), listener=Stop())
        with pytest.raises(KeyboardInterrupt):
            run_cells(context, [SHUFFLENET])

    return made_once("stopped", make)


@pytest.fixture
def stopped(_stopped: Path, project: Path, new_process: Callable[[], None]) -> RunContext:
    """The context of such a project whose first cell was stopped after its last epoch, before its end."""
    shutil.copytree(_stopped, project, dirs_exist_ok=True)
    new_process()
    return open_context(open_suite(), "blobs", Tracker())


@pytest.fixture
def small(_template: Path, project: Path) -> Path:
    """A project folder with a grid of two cells, its packed data and an empty store; it is the current folder."""
    shutil.copytree(_template, project, dirs_exist_ok=True)
    return project


@pytest.fixture
def context(small: Path) -> RunContext:
    return open_context(open_suite(), "blobs", Tracker())
