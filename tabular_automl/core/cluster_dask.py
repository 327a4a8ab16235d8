"""The workers of a Dask scheduler."""

from __future__ import annotations

import signal
import sys
import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
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
from tabular_automl.core.errors import CrashedModelError
from tabular_automl.core.imports import import_optional

_CONNECT_SECONDS = 10.0
_ASK_EVERY = 0.5  # seconds between a job's questions whether it is still wanted


class DaskCluster(Cluster):
    """The workers of a Dask scheduler.

    Values are placed on one worker at a time, and jobs sent to the worker that has them: Dask would
    thin out copies, and then send the jobs to whoever has the last one. What runs cannot be ended
    from outside: each job asks now and then whether it is still wanted.

    Parameters
    ----------
    address : str
        Of the scheduler; empty for the client of this process.
    """

    def __init__(self, address: str) -> None:
        self._dask = import_optional("distributed", extra="dask", purpose="A Dask cluster")
        self._is_ours = bool(address)
        self._stops: dict[str, str] = {}  # the name of each job's event, by the job's key
        try:
            self._client = self._connect(address)
        except (OSError, ValueError) as error:
            raise unreachable("dask", address, error) from error
        expected: Errors = (ImportError, *self.errors)
        try:
            self._client.run(check_library)
            super().__init__()
        except expected as error:
            self._part()
            raise unreachable("dask", address, error) from error

    def _connect(self, address: str) -> Any:
        if address:
            return self._dask.Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
        client = self._dask.default_client()
        if client.asynchronous:
            raise ValueError("the client of this process is an asynchronous one")
        return client

    def _look(self) -> Sequence[Place]:
        try:
            known = self._client.scheduler_info(n_workers=-1)["workers"]
        except TypeError:  # older versions tell of all workers without being asked
            known = self._client.scheduler_info()["workers"]
        return [
            Place(name, worker["nthreads"], worker["memory_limit"] or sys.maxsize)
            for name, worker in known.items()
            if worker.get("status", "running") == "running"
        ]

    def _part(self) -> None:
        if self._is_ours:
            self._client.close()

    def _place(self, value: object, place: Place) -> Any:
        expected: Errors = (KeyError, *self.errors)  # a KeyError where the worker is not known
        try:
            return self._client.scatter([value], workers=[place.name], hash=False)[0]
        except expected as error:
            raise WorkerLostError(f"{type(error).__name__}: {error}") from error

    def _is_lost(self, handle: Any) -> bool:
        return bool(handle.status in ("lost", "cancelled", "error"))

    def _start(self, work: Work, place: Place) -> Any:
        name = f"tabular-automl-stop-{uuid.uuid4().hex}"
        # It goes where its values are, as the only worker that has them.
        job = self._client.submit(_call, name, work.function, *work.handles, work.order, pure=False)
        self._stops[job.key] = name
        return job

    def _is_done(self, job: Any) -> bool:
        return bool(job.done())

    def _result(self, job: Any) -> Any:
        self._stops.pop(job.key, None)
        try:
            return job.result()
        except self._dask.KilledWorker as error:
            raise CrashedModelError(f"it killed its workers: {error}") from error
        except self._dask.CancelledError as error:
            raise WorkerLostError(str(error)) from error

    def _cancel(self, job: Any) -> None:
        name = self._stops.pop(job.key, None)
        with suppress(*self.errors):  # what matters is why it is cancelled
            if name is not None:
                self._dask.Event(name, client=self._client).set()
            job.cancel()


def _call(stop_name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function on a worker; the event of the given name stops it."""
    import distributed

    stop, ended = Stop(), threading.Event()
    event = distributed.Event(stop_name, client=distributed.get_client())

    def watch() -> None:
        while not ended.wait(_ASK_EVERY):
            if event.is_set():
                stop.signal = signal.SIGINT
                event.clear()  # the scheduler forgets it then
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        return function(*arguments, stop)
    finally:
        ended.set()
