"""Fixtures every part shares. Nothing here imports torch or MLflow at its top: many tests need neither."""

from __future__ import annotations

import contextlib
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
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that wait sleep: spinning takes the other process's core
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
# What a test writes has to outlast its process, not a power failure, and a disk's answer takes milliseconds. Tests of
# what is synced when put a function of their own in its place; the processes that tests start do wait.
os.fsync = lambda _: None

# How long an example takes says how busy the machine is, not whether the code is right; pytest-timeout ends what hangs.
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# The same examples each time, so that a change is judged by what it changed; `make fuzz` draws new ones.
settings.register_profile("repeatable", settings.get_profile("explore"), derandomize=True)
settings.load_profile("repeatable")


# Folders and modules that take more than about three seconds with what they import: `make check` leaves them out,
# `make test` does not.
SLOW = (
    "analysis/test_leftovers.py",
    "analysis/test_reproduce.py",
    "analysis/test_trained.py",
    "benchmarks",
    "cli/test_claims.py",
    "cli/test_grid.py",
    "cli/test_json.py",
    "cli/test_metrics.py",
    "cli/test_models.py",
    "cli/test_one_dataset.py",
    "cli/test_run.py",
    "cli/test_sensitivity.py",
    "datasets/packing/test_derive.py",
    "datasets/packing/test_packed.py",
    "datasets/test_contract.py",
    "datasets/test_fuzz.py",
    "datasets/test_less_data.py",
    "evaluation/test_log_loss.py",
    "execution",
    "export",
    "faults",
    "models",
    "notebooks",
    "report",
    "runs/test_earlier_version.py",
    "scoring/test_coverage.py",
    "scoring/test_prediction_rates.py",
    "scoring/test_ranking.py",
    "search/test_studies.py",
    "sensitivity/test_run.py",
    "studies/beyond_imagenet/test_built.py",
    "studies/beyond_imagenet/test_elements.py",
    "studies/beyond_imagenet/test_verdict_rates.py",
    "studies/which_backbone/test_sections.py",
    "studies/which_backbone/test_verdict_rates.py",
    "system/test_energy.py",
    "test_api.py",
    "test_fuzz.py",
    "test_docs.py",
    "test_light_install.py",
    "test_usage.py",
    "tracking",
    "training",
)


def _is_slow(path: Path) -> bool:
    return path.relative_to(Path(__file__).parent).as_posix().startswith(SLOW)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave slow modules unread where nobody asks for their tests: what they import takes longest."""
    return True if config.option.markexpr == "not slow" and _is_slow(collection_path) else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of the slow folders and modules; the longest ones begin first, not last on one core alone.

    Those of Ray stand together there, so that one process has them all, and one cluster.
    """
    items.sort(key=lambda item: (item.path.name != "test_usage.py", item.get_closest_marker("ray") is None))
    for item in items:
        if _is_slow(item.path):
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
def made_once(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, Callable[[Path], None]], Path]:
    """Return what makes a folder of a name once for all test processes, as the current one; its users copy or read it.

    Made under another name and renamed: what failed halfway is made anew by the next who asks.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if hasattr(request.config, "workerinput") else base

    def folder(name: str, make: Callable[[Path], None]) -> Path:
        from filelock import FileLock

        done = shared / f"made-{name}"
        with FileLock(shared / f"made-{name}.lock"):
            if not done.exists():
                begun = tmp_path_factory.mktemp(name)
                with contextlib.chdir(begun):
                    make(begun)
                begun.rename(done)
        return done

    return folder


@pytest.fixture(scope="session")
def empty_store(made_once: Callable[..., Path]) -> Path:
    """A migrated sqlite store, made once: creating MLflow's tables takes seconds."""

    def make(folder: Path) -> None:
        from mobilebench.tracking import Tracker

        Tracker(f"sqlite:///{folder}/mlflow.db")

    return made_once("store", make) / "mlflow.db"


@pytest.fixture
def store(project: Path, empty_store: Path) -> Path:
    """An empty tracking store in the project folder, where the default address finds it."""
    return shutil.copy(empty_store, project / "mlflow.db")


@pytest.fixture
def unknown_model() -> Iterator[Callable[[str], None]]:
    """Return what takes a model out of the registry until the test ends; the order of the others is part of it."""
    from mobilebench.models.registry import MODELS

    before = dict(MODELS)
    yield MODELS.__delitem__
    MODELS.clear()
    MODELS.update(before)


@pytest.fixture
def ctrl_c_raises() -> Iterator[None]:
    """Ctrl-C as Python hears it, though a shell that started this in the background may have it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def _half_trained(made_once: Callable[..., Path], empty_store: Path) -> Path:
    """The grid of tests/grids.py with its first cell finished and delivered."""

    def make(folder: Path) -> None:
        import grids

        grids.write(folder)
        shutil.copy(empty_store, folder / "mlflow.db")
        _train("--model", "shufflenet")

    return made_once("half-trained", make)


@pytest.fixture(scope="session")
def trained_folder(made_once: Callable[..., Path], _half_trained: Path) -> Path:
    """The grid of tests/grids.py with both cells finished and delivered."""

    def make(folder: Path) -> None:
        shutil.copytree(_half_trained, folder, dirs_exist_ok=True)
        _train()

    return made_once("trained", make)


def _train(*options: str) -> None:
    from click.testing import CliRunner

    from mobilebench.cli import main

    _new_process()
    done = CliRunner().invoke(main, ["train", "blobs", *options])
    assert done.exit_code == 0, done.output


def _new_process() -> None:
    """Forget where MLflow found the artifacts of each run: it keeps that for as long as a process lives."""
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.clear()


@pytest.fixture
def half_trained(_half_trained: Path, project: Path) -> Path:
    """A project folder with one finished cell of two and its store, made elsewhere; it is the current folder."""
    shutil.copytree(_half_trained, project, dirs_exist_ok=True)
    _new_process()
    return project


@pytest.fixture
def trained(trained_folder: Path, project: Path) -> Path:
    """A project folder with two finished cells and their store, made elsewhere; it is the current folder."""
    shutil.copytree(trained_folder, project, dirs_exist_ok=True)
    _new_process()
    return project


@pytest.fixture
def new_process() -> Callable[[], None]:
    """Return what makes MLflow look for artifacts anew, as another process would."""
    return _new_process


@pytest.fixture(scope="session")
def _empty_studies(made_once: Callable[..., Path]) -> Path:
    def make(folder: Path) -> None:
        from mobilebench.search.studies import Studies

        Studies(f"sqlite:///{folder}/sensitivity.db")

    return made_once("studies", make) / "sensitivity.db"


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
