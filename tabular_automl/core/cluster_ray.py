"""The nodes of a Ray cluster."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

from tabular_automl.core.budget import Stop
from tabular_automl.core.cluster import (
    Cluster,
    Errors,
    Place,
    Work,
    WorkerLostError,
    check_library,
)
from tabular_automl.core.cluster_names import unreachable
from tabular_automl.core.errors import CrashedModelError, OutOfMemoryError
from tabular_automl.core.imports import import_optional

_KEPT = 4  # values that a worker's process keeps as objects
_kept: dict[Any, Any] = {}  # in a worker: placed values by reference, so that folds share bins


class RayCluster(Cluster):
    """The nodes of a Ray cluster.

    A job that is no longer wanted is ended with its process.

    Parameters
    ----------
    address : str
        Of the cluster; empty for the one that this process is connected to, or the one on this
        machine.
    """

    def __init__(self, address: str) -> None:
        self._ray = import_optional("ray", extra="ray", purpose="A Ray cluster")
        strategies = import_module("ray.util.scheduling_strategies")
        self._near = strategies.NodeAffinitySchedulingStrategy
        self._is_ours = not self._ray.is_initialized()
        if address and not self._is_ours:
            connected = ValueError("this process is connected to a Ray already: name no address")
            raise unreachable("ray", address, connected)
        self._raised = self._ray.exceptions
        self.errors = (*Cluster.errors, self._raised.RayError)
        expected: Errors = (ImportError, *self.errors)
        try:
            if self._is_ours:
                self._ray.init(address or "auto", logging_level="error", log_to_driver=False)
            self._ray.get(self._ray.remote(check_library).remote())
            super().__init__()
        except expected as error:
            self._part()
            raise unreachable("ray", address, error) from error
        self._call = self._ray.remote(_call)

    def _look(self) -> Sequence[Place]:
        found = []
        for node in self._ray.nodes():
            resources = node["Resources"] if node["Alive"] else {}
            if resources.get("CPU", 0) >= 1:
                n_bytes = int(resources.get("memory", 0))
                found.append(Place(node["NodeID"], int(resources["CPU"]), n_bytes))
        return found

    def _part(self) -> None:
        if self._is_ours and self._ray.is_initialized():
            self._ray.shutdown()

    def _place(self, value: object, place: Place) -> Any:
        _, handles = self._placed[id(value)]
        for handle in handles.values():
            return handle  # each node fetches it once from the one where it lies
        try:
            return self._ray.put(value)
        except self._raised.RayError as error:
            raise CrashedModelError(f"its data could not be placed: {error}") from error

    def _start(self, work: Work, place: Place) -> Any:
        near = self._near(node_id=place.name, soft=True)
        call = self._call.options(num_cpus=work.n_threads, max_retries=0, scheduling_strategy=near)
        # In a list, references stay references.
        return call.remote(work.function, list(work.handles), work.order)

    def _is_done(self, job: Any) -> bool:
        return bool(self._ray.wait([job], timeout=0)[0])

    def _result(self, job: Any) -> Any:
        raised = self._raised
        try:
            # Arrays come as views of Ray's store, which they would fill for the whole fit.
            return copy.deepcopy(self._ray.get(job))
        except raised.RayTaskError as error:
            if isinstance(error.cause, raised.RayError):  # what was placed could not be fetched
                raise WorkerLostError(str(error.cause)) from error
            raise error.cause from error
        except raised.OutOfMemoryError as error:
            raise OutOfMemoryError(f"its process was ended to free memory: {error}") from error
        except (raised.WorkerCrashedError, raised.NodeDiedError, raised.ObjectLostError) as error:
            raise WorkerLostError(str(error)) from error
        except raised.RayError as error:
            raise CrashedModelError(f"{type(error).__name__}: {error}") from error

    def _cancel(self, job: Any) -> None:
        with suppress(*self.errors):  # what matters is why it is cancelled
            self._ray.cancel(job, force=True)


def _call(function: Callable[..., Any], references: list[Any], order: object) -> Any:
    """Call a function in a worker's process."""
    return function(*map(_object_of, references), order, Stop())


def _object_of(reference: Any) -> Any:
    """Return a placed value as the object that the process has of it already."""
    import ray

    if reference not in _kept:
        while len(_kept) >= _KEPT:
            del _kept[next(iter(_kept))]
        _kept[reference] = ray.get(reference)
    return _kept[reference]
