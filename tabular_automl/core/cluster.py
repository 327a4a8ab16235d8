"""An existing Dask or Ray cluster: functions are called there, on data placed there once."""

from __future__ import annotations

import signal
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from tabular_automl.core.budget import Budget, Stop
from tabular_automl.core.errors import (
    CrashedModelError,
    InvalidOptionError,
    OutOfTimeError,
    must_be,
    unknown_name,
)
from tabular_automl.core.imports import import_optional
from tabular_automl.core.parallel import Machine

_LOOK_EVERY = 0.02  # seconds between looks at a job
_ASK_EVERY = 0.5  # seconds between a Dask worker's questions whether to stop
_CONNECT_SECONDS = 10.0
_RETRIES = 3  # of a job whose worker died


class Cluster(ABC):
    """Workers on other machines, or in other processes of this one.

    Attributes
    ----------
    n_cores : int
        Of all workers together.
    n_threads : int
        Cores of the smallest worker, beyond which no job should ask for threads.
    n_bytes : int
        Memory that is free on all workers together.
    """

    n_cores: int
    n_threads: int
    n_bytes: int

    def __init__(self) -> None:
        self._placed: dict[int, tuple[object, Any]] = {}
        self._placing = threading.Lock()

    def run(
        self,
        function: Callable[..., Any],
        placed: Sequence[object],
        order: object,
        budget: Budget,
        n_threads: int = 1,
    ) -> Any:
        """Return ``function(*placed, order, stop)`` as called on a worker.

        Parameters
        ----------
        function : callable
            Of a module that the workers have, too. Its last argument is a `Stop`.
        placed : sequence of object
            Sent to the workers the first time only.
        order : object
            Sent with the call.
        budget : Budget
            How long to wait, with a little tolerance.
        n_threads : int
            Cores that the job keeps busy.

        Raises
        ------
        OutOfTimeError
            When the job did not end in time, or when the budget was stopped.
        CrashedModelError
            When workers died under it, one after the other.
        """
        patience = budget.tolerant()
        for _ in range(_RETRIES):
            handles = [self._handle(value) for value in placed]
            job = self._start(function, handles, order, n_threads)
            self._wait(job, budget, patience)
            if not any(map(self._is_lost, handles)):
                return self._result(job)
        raise CrashedModelError("its workers were lost, and what was placed on them, too often")

    def _wait(self, job: Any, budget: Budget, patience: Budget) -> None:
        """Wait for a job, or give it up."""
        try:
            while not self._is_done(job):
                if budget.stopped:
                    raise OutOfTimeError("interrupted")
                if patience.expired():
                    raise OutOfTimeError("its worker did not stop at the end of its share")
                time.sleep(_LOOK_EVERY)
        except OutOfTimeError:
            self._cancel(job)
            raise

    def _handle(self, value: object) -> Any:
        """Return what stands for a placed value; threads that need the same one wait for it."""
        with self._placing:
            _, handle = self._placed.get(id(value), (None, None))
            if handle is None or self._is_lost(handle):
                handle = self._place(value)
                self._placed[id(value)] = value, handle  # kept, so that no other gets its id
            return handle

    @abstractmethod
    def close(self) -> None:
        """Let go of what was placed, and of the connection if it was made here."""

    @abstractmethod
    def _place(self, value: object) -> Any: ...

    def _is_lost(self, handle: Any) -> bool:
        return False

    @abstractmethod
    def _start(
        self, function: Callable[..., Any], handles: Sequence[Any], order: object, n_threads: int
    ) -> Any: ...

    @abstractmethod
    def _is_done(self, job: Any) -> bool: ...

    @abstractmethod
    def _result(self, job: Any) -> Any: ...

    @abstractmethod
    def _cancel(self, job: Any) -> None: ...


class DaskCluster(Cluster):
    """The workers of a Dask scheduler.

    A job whose worker dies is begun again on another; what no other worker had is placed again.
    What runs cannot be ended from outside: each job asks now and then whether it is still wanted.

    Parameters
    ----------
    address : str
        Of the scheduler; empty for the client of this process.
    """

    def __init__(self, address: str) -> None:
        super().__init__()
        self._dask = import_optional("distributed", extra="dask", purpose="A Dask cluster")
        self._is_ours = bool(address)
        try:
            self._client = (
                self._dask.Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)
                if address
                else self._dask.default_client()
            )
        except (OSError, ValueError) as error:
            raise _unreachable("dask", address, error) from error
        workers = self._client.nthreads()
        if not workers:
            self.close()
            raise InvalidOptionError(must_be("cluster", "one with at least one worker", address))
        self.n_cores = sum(workers.values())
        self.n_threads = min(workers.values())
        self.n_bytes = sum(self._client.run(_free_bytes).values())
        self._stop_name = f"tabular-automl-stop-{uuid.uuid4().hex}"

    def close(self) -> None:
        """Let go of what was placed, and of the connection if it was made here."""
        self._placed.clear()
        if self._is_ours:
            self._client.close()

    def _place(self, value: object) -> Any:
        return self._client.scatter(value, broadcast=True, hash=False)

    def _is_lost(self, handle: Any) -> bool:
        return bool(handle.status in ("lost", "cancelled", "error"))

    def _start(
        self, function: Callable[..., Any], handles: Sequence[Any], order: object, n_threads: int
    ) -> Any:
        return self._client.submit(
            _call_on_dask, self._stop_name, function, *handles, order, pure=False
        )

    def _is_done(self, job: Any) -> bool:
        return bool(job.done())

    def _result(self, job: Any) -> Any:
        try:
            return job.result()
        except self._dask.KilledWorker as error:
            raise _crashed(error) from error
        except self._dask.CancelledError as error:
            raise _crashed(error) from error

    def _cancel(self, job: Any) -> None:
        self._dask.Event(self._stop_name, client=self._client).set()
        job.cancel()
        # Later jobs are wanted again.
        self._stop_name = f"tabular-automl-stop-{uuid.uuid4().hex}"


class RayCluster(Cluster):
    """The nodes of a Ray cluster.

    A job whose worker dies is begun again; one that is no longer wanted is ended with its process.

    Parameters
    ----------
    address : str
        Of the head node; empty for the cluster that this process is connected to, or the one on
        this machine.
    """

    def __init__(self, address: str) -> None:
        super().__init__()
        self._ray = import_optional("ray", extra="ray", purpose="A Ray cluster")
        self._is_ours = not self._ray.is_initialized()
        if self._is_ours:
            try:
                self._ray.init(address or "auto", logging_level="error", log_to_driver=False)
            except (OSError, ValueError, RuntimeError) as error:
                raise _unreachable("ray", address, error) from error
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        cores = [int(node["CPU"]) for node in nodes if node.get("CPU", 0) >= 1]
        if not cores:
            self.close()
            raise InvalidOptionError(must_be("cluster", "one with at least one core", address))
        self.n_cores = sum(cores)
        self.n_threads = min(cores)
        self.n_bytes = int(sum(node.get("memory", 0.0) for node in nodes))
        self._call = self._ray.remote(_call_on_ray)

    def close(self) -> None:
        """Let go of what was placed, and of the connection if it was made here."""
        self._placed.clear()
        if self._is_ours:
            self._ray.shutdown()

    def _place(self, value: object) -> Any:
        return self._ray.put(value)

    def _start(
        self, function: Callable[..., Any], handles: Sequence[Any], order: object, n_threads: int
    ) -> Any:
        call = self._call.options(num_cpus=n_threads, max_retries=_RETRIES)
        return call.remote(function, *handles, order)

    def _is_done(self, job: Any) -> bool:
        return bool(self._ray.wait([job], timeout=0)[0])

    def _result(self, job: Any) -> Any:
        try:
            return self._ray.get(job)
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except self._ray.exceptions.RayError as error:
            raise _crashed(error) from error

    def _cancel(self, job: Any) -> None:
        self._ray.cancel(job, force=True)


_KINDS: Mapping[str, Callable[[str], Cluster]] = {"dask": DaskCluster, "ray": RayCluster}


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
    check_cluster(name)
    kind, _, address = name.partition(":")
    cluster = _KINDS[kind](address)
    try:
        yield cluster
    finally:
        cluster.close()


def check_cluster(name: object) -> None:
    """Raise `InvalidOptionError` unless ``name`` names a kind of cluster."""
    if not isinstance(name, str):
        wanted = "'dask' or 'ray', with ':' and an address if need be, or None"
        raise InvalidOptionError(must_be("cluster", wanted, name))
    kind = name.partition(":")[0]
    if kind not in _KINDS:
        raise InvalidOptionError(unknown_name("cluster", kind, _KINDS))


def _unreachable(kind: str, address: str, error: Exception) -> InvalidOptionError:
    wanted = f"the address of a {kind} cluster that runs"
    said = f"{type(error).__name__}: {error}"
    if not address:
        wanted = f"'{kind}:' and an address, unless this process is connected to a cluster"
    return InvalidOptionError(f"{must_be('cluster', wanted, address)} ({said:.300})")


def _crashed(error: Exception) -> CrashedModelError:
    return CrashedModelError(f"its workers were lost: {type(error).__name__}: {error!s:.300}")


def _free_bytes() -> int:
    """Return the memory that is free where this is called."""
    return Machine.detect().n_bytes


def _call_on_ray(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments, Stop())


def _call_on_dask(stop_name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function on a Dask worker; the event of the given name stops it."""
    import distributed

    stop, ended = Stop(), threading.Event()
    event = distributed.Event(stop_name, client=distributed.get_client())

    def watch() -> None:
        while not ended.wait(_ASK_EVERY):
            if event.is_set():
                stop.signal = signal.SIGINT
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        return function(*arguments, stop)
    finally:
        ended.set()
