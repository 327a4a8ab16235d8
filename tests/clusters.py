"""Local clusters of two workers, for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Wait = Callable[[], None]  # until both workers are there


@contextmanager
def dask_cluster() -> Iterator[tuple[str, Wait]]:
    """Start two Dask workers of one thread, each a process, and return the cluster's name."""
    from distributed import Client, LocalCluster

    cluster = LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    )
    with cluster, Client(cluster, set_as_default=False) as client:
        yield f"dask:{cluster.scheduler_address}", lambda: client.wait_for_workers(2, timeout=60)


@contextmanager
def ray_cluster() -> Iterator[tuple[str, Wait]]:
    """Start a Ray of two cores in processes of its own, and return the cluster's name."""
    import ray

    ray.init(num_cpus=2, include_dashboard=False, logging_level="error", log_to_driver=False)
    try:
        yield "ray", lambda: None
    finally:
        ray.shutdown()


CLUSTERS = {"dask": dask_cluster, "ray": ray_cluster}
