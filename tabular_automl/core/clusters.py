"""Connecting to a cluster by its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from tabular_automl.core.cluster import Cluster
from tabular_automl.core.cluster_dask import DaskCluster
from tabular_automl.core.cluster_names import parse_cluster, unreachable
from tabular_automl.core.cluster_ray import RayCluster

_CLUSTERS: Mapping[str, Callable[[str], Cluster]] = {"dask": DaskCluster, "ray": RayCluster}


@contextmanager
def connected(name: str | None) -> Iterator[Cluster | None]:
    """Connect to a cluster, and part from it afterwards; None without a name.

    Parameters
    ----------
    name : str or None
        ``"dask"`` or ``"ray"``, with an address behind a colon unless this process is connected
        already: ``"dask:tcp://10.0.0.5:8786"``.

    Raises
    ------
    InvalidOptionError
        When there is no such cluster, or nobody in it.
    MissingDependencyError
        When the extra of that kind of cluster is not installed.
    """
    if name is None:
        yield None
        return
    kind, address = parse_cluster(name)
    cluster = _CLUSTERS[kind](address)
    try:
        if not cluster.n_cores:
            raise unreachable(kind, address, RuntimeError("it has no workers"))
        yield cluster
    finally:
        cluster.close()
