"""What the machine gives us, and how a list of jobs shares it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from tabular_automl.core import containers, memory

if TYPE_CHECKING:
    from tabular_automl.core.cluster import Cluster

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Machine:
    """The cores and the memory that this process may use, container limits respected.

    Attributes
    ----------
    n_cores : int
        Cores to keep busy; never more than this many threads compute here at once.
    n_bytes : int
        Memory that is free for this process.
    cluster : Cluster or None
        Where folds are fitted instead, if not here.
    """

    n_cores: int
    n_bytes: int
    cluster: Cluster | None = None

    @classmethod
    def detect(cls, n_jobs: int | None = None, cluster: Cluster | None = None) -> Machine:
        """Look at affinity, container limits and ``n_jobs`` (None or -1: all cores)."""
        import joblib  # knows affinity and LOKY_MAX_CPU_COUNT

        limits = (joblib.cpu_count(), containers.n_cores())
        available = min(limit for limit in limits if limit is not None)
        wanted = available if n_jobs is None or n_jobs < 0 else n_jobs
        return cls(max(1, min(available, wanted)), memory.free_bytes(), cluster)

    def by_now(self) -> Machine:
        """Return the machine with the memory that is left of what was free, if folds run here."""
        if self.cluster is not None:
            return self
        return replace(self, n_bytes=min(self.n_bytes, memory.free_bytes()))

    def fold_cores(self, n_folds: int) -> int:
        """Return the cores for so many folds: those that they keep busy, where it is a cluster."""
        if self.cluster is None:
            return self.n_cores
        n_jobs, n_threads = self.cluster.split(n_folds)
        return n_jobs * n_threads

    def split(self, n_items: int) -> tuple[int, int]:
        """Return (n_workers, n_threads per worker) for ``n_items`` equal jobs of fitting."""
        if self.cluster is not None:
            return self.cluster.split(n_items)
        n_workers = max(1, min(self.n_cores, n_items))
        return n_workers, max(1, self.n_cores // n_workers)

    def bytes_each(self, n_items: int) -> int:
        """Return the memory that is free for each of so many equal jobs of fitting."""
        if self.cluster is not None:
            return self.cluster.bytes_each(n_items)
        return self.n_bytes // self.split(n_items)[0]


def run_parallel(
    function: Callable[[Item], Result], items: Iterable[Item], n_workers: int
) -> list[Result]:
    """Apply ``function`` to every item, results in the items' order.

    In threads: the model families compute outside the interpreter lock, and threads share the
    feature arrays instead of copying them.
    """
    jobs = list(items)
    if n_workers <= 1 or len(jobs) <= 1:
        return [function(job) for job in jobs]
    import joblib

    parallel = joblib.Parallel(n_jobs=n_workers, require="sharedmem")
    return list(parallel(joblib.delayed(function)(job) for job in jobs))


def in_own_thread(function: Callable[[], Result]) -> Result:
    """Return what ``function`` returns, called in a thread that ends with it.

    libgomp keeps a pool for every thread that has used more than one core. Where the pools of all
    threads outnumber the cores, none of them spins any more, and boosting with two threads takes
    six times as long (decision 6): so the thread that predicts must not keep one.
    """
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(function).result()
