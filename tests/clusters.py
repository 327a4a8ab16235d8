"""Local clusters of two workers, for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Wait = Callable[[], None]  # until both workers are there
_TRIES, _SECONDS_OF_A_TRY = 8, 20


@contextmanager
def dask_cluster() -> Iterator[tuple[str, Wait]]:
    """Start two Dask workers of one thread, each a process, and return the cluster's name."""
    from distributed import Client, LocalCluster

    cluster = LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    )
    with cluster, Client(cluster, set_as_default=False) as client:

        def wait() -> None:
            for _ in range(_TRIES):
                # A worker that was killed begins again by itself, but a cluster that has missed it
                # for some seconds, as on a busy machine, gives it up until it is asked for again.
                cluster.scale(2)
                with suppress(TimeoutError):
                    client.wait_for_workers(2, timeout=_SECONDS_OF_A_TRY)
                    return
            raise TimeoutError("The cluster's workers did not come back.")

        yield f"dask:{cluster.scheduler_address}", wait


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
