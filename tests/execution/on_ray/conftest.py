"""One cluster for every test of Ray: starting one takes as long as several of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import counting
import pytest
from ray_nodes import STORE, head

from mobilebench.execution.executors.ray_cluster import RayExecutor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ray.cluster_utils import Cluster


@pytest.fixture(scope="package")
def cluster() -> Iterator[Cluster]:
    """A head that trains nothing, and a node of two CPUs and two cards that are none."""
    ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")
    ray.cloudpickle.register_pickle_by_value(counting)  # the workers do not have the tests
    made = head()
    made.add_node(num_cpus=2, num_gpus=2, object_store_memory=STORE)
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def connected(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayExecutor]:
    """An executor that is open while the tests of a module run: a process has one connection at a time."""
    made = RayExecutor(cluster.address, tmp_path_factory.mktemp("project"))
    made.open()
    yield made
    made.close()


@pytest.fixture
def notes() -> list[str]:
    """What the executor of a test notes."""
    return []


@pytest.fixture
def executor(connected: RayExecutor, tmp_path: Path, notes: list[str], monkeypatch: pytest.MonkeyPatch) -> RayExecutor:
    """An open executor in the test's own folder; what a test changes of it lasts as long as the test does."""
    for name, value in vars(connected).items():
        monkeypatch.setattr(connected, name, value)
    connected.root, connected.note = tmp_path, notes.append
    return connected
