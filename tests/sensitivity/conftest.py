"""An empty study database, made once: creating Optuna's tables takes seconds."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def _empty_studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mobilebench.sensitivity.study import Studies

    path = tmp_path_factory.mktemp("studies") / "sensitivity.db"
    Studies(f"sqlite:///{path}")
    return path


@pytest.fixture
def studies_file(project: Path, _empty_studies: Path) -> Path:
    """An empty study database in the project folder, where the default address finds it."""
    (project / ".mobilebench").mkdir()
    return shutil.copy(_empty_studies, project / ".mobilebench/sensitivity.db")
