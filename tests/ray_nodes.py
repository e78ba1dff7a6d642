"""A Ray cluster of several nodes on this machine, for tests and for the kills of benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

STORE = 80 << 20  # bytes of a node's object store


def head(*, cpus: int = 0) -> Cluster:
    """Return a cluster of a head alone, which trains nothing unless it has CPUs."""
    from ray.cluster_utils import Cluster

    system = {
        # A silent node is dead after some ten seconds, not after a minute.
        "health_check_period_ms": 1000,
        "health_check_timeout_ms": 3000,
        "health_check_failure_threshold": 3,
        # Workers get their turn beside other processes of the machine; Ray gives them what is left over.
        "worker_niceness": 0,
    }
    # Neither the autoscaler nor the reader of logs is used here: two processes less to start.
    settings = {
        "num_cpus": cpus, "include_dashboard": False, "include_log_monitor": False, "no_monitor": True,
        "object_store_memory": STORE, "_system_config": system,
    }  # fmt: skip
    return Cluster(initialize_head=True, head_node_args=settings)
