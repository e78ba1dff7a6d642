"""Fixtures every part shares. Nothing here imports torch or MLflow at its top: many tests need neither."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

# Before anything imports them: no telemetry, no address of the machine's own tracking server, and few threads, because
# several test processes share the cores.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ.pop("MLFLOW_TRACKING_URI", None)
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"

# How long an example takes says how busy the machine is, not whether the code is right; pytest-timeout ends what hangs.
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# The same examples each time, so that a change is judged by what it changed; `make fuzz` draws new ones.
settings.register_profile("repeatable", settings.get_profile("explore"), derandomize=True)
settings.load_profile("repeatable")


# Folders and modules that take more than about three seconds: `make check` leaves them out, `make test` does not.
SLOW = (
    "analysis/test_reproduce.py",
    "cli/test_claims.py",
    "cli/test_grid.py",
    "cli/test_models.py",
    "cli/test_sensitivity.py",
    "datasets/packing/test_packed.py",
    "datasets/test_contract.py",
    "evaluation/test_log_loss.py",
    "execution",
    "faults",
    "models",
    "notebooks",
    "report",
    "runs/test_earlier_version.py",
    "scoring/test_coverage.py",
    "search/test_studies.py",
    "sensitivity/test_run.py",
    "studies/beyond_imagenet/test_built.py",
    "studies/beyond_imagenet/test_elements.py",
    "studies/beyond_imagenet/test_verdict_rates.py",
    "test_fuzz.py",
    "test_readme.py",
    "tracking",
    "training",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of the slow folders and modules."""
    here = Path(__file__).parent
    for item in items:
        if item.path.relative_to(here).as_posix().startswith(SLOW):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def _no_store_of_an_earlier_test() -> Iterator[None]:
    """MLflow's own functions set the address for the whole process, and for the processes it starts."""
    _forget_addresses()
    yield
    _forget_addresses()


def _forget_addresses() -> None:
    if "mlflow.tracking" in sys.modules:
        import mlflow

        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # as before the first call
        mlflow.set_registry_uri(None)  # type: ignore[arg-type]
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        os.environ.pop(name, None)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project folder that is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def _empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated sqlite store, made once: creating MLflow's tables takes seconds."""
    from mobilebench.tracking import Tracker

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    Tracker(f"sqlite:///{path}")
    return path


@pytest.fixture
def store(project: Path, _empty_store: Path) -> Path:
    """An empty tracking store in the project folder, where the default address finds it."""
    return shutil.copy(_empty_store, project / "mlflow.db")


@pytest.fixture
def ctrl_c_raises() -> Iterator[None]:
    """Ctrl-C as Python hears it, though a shell that started this in the background may have it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def _empty_studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mobilebench.search.studies import Studies

    path = tmp_path_factory.mktemp("studies") / "sensitivity.db"
    Studies(f"sqlite:///{path}")
    return path


@pytest.fixture
def studies_file(project: Path, _empty_studies: Path) -> Path:
    """An empty study database in the project folder, where the default address finds it."""
    (project / ".mobilebench").mkdir()
    return shutil.copy(_empty_studies, project / ".mobilebench/sensitivity.db")


@cache
def _built(model_id: str, seed: int = 0) -> nn.Module:
    import torch

    from mobilebench import models

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return models.create(model_id, 10)


@pytest.fixture(scope="session")
def built() -> Callable[..., nn.Module]:
    """Return a model with 10 classes by id (and seed), built once: tests read it and leave it as it was."""
    return _built
