"""A cluster that exists already: functions are called on its workers, on data placed there once."""

from __future__ import annotations

import sys
import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import CrashedModelError, OutOfTimeError, OverrunError

Errors = tuple[type[Exception], ...]

_LOOK_EVERY = 0.02  # seconds between looks at a job
_RETURN_EVERY = 1.0  # seconds between looks for workers, while there are none
_ALONE_SECONDS = 300.0  # without any worker, before a job is given up
_CLOSE_SECONDS = 5.0  # for calls to notice that they are over
_TRIES = 3  # of a job whose worker died
_KEPT = 4  # values that stay placed: samples, folds, and those of a look at the first folds


class WorkerLostError(CrashedModelError):
    """A worker died, and with it a job, or what was placed there."""


@dataclass(frozen=True)
class Place:
    """Where jobs run: a worker or a node, with its cores and the memory that is meant for it."""

    name: str
    n_cores: int
    n_bytes: int


@dataclass(frozen=True)
class Work:
    """A function to call, what stands for its placed arguments, its order, and its cores."""

    function: Callable[..., Any]
    handles: Sequence[Any]
    order: object
    n_threads: int


@dataclass(frozen=True)
class _Call:
    """One call of `Cluster.run`: its time, its tolerance, and the calls that it belongs to."""

    budget: Budget
    patience: Budget
    number: int


class Cluster(ABC):
    """Workers on other machines, or in other processes of this one.

    Jobs are given to the worker with the most free cores, and wait here while there are not enough:
    their time begins when they do.

    Attributes
    ----------
    errors : tuple of type
        What the cluster's own library raises when something is wrong with the cluster.
    """

    errors: Errors = (OSError, RuntimeError, ValueError)

    def __init__(self) -> None:
        self._places = tuple(self._look())
        self._in_use: dict[str, int] = {}
        self._change = threading.Condition()
        self._placed: OrderedDict[int, tuple[object, dict[str, Any]]] = OrderedDict()
        self._placing = threading.Lock()
        self._jobs: list[Any] = []
        self._n_calls = 0  # that go on
        self._n_ended = 0  # times that all calls were ended

    @property
    def n_cores(self) -> int:
        """Cores of all workers together."""
        return sum(place.n_cores for place in self._places)

    def split(self, n_items: int) -> tuple[int, int]:
        """Return (jobs side by side, threads of each) for ``n_items`` equal jobs.

        As many threads as let all of them run at once, none of them spread over two workers.
        """
        cores = [place.n_cores for place in self._places]
        n_jobs = max(1, min(sum(cores), n_items))
        widest = max(cores, default=0)
        fitting = [t for t in range(1, widest + 1) if sum(c // t for c in cores) >= n_jobs]
        return n_jobs, max(fitting, default=1)

    def bytes_each(self, n_items: int) -> int:
        """Return the memory that is free for each of so many jobs, on the fullest worker.

        Without bounds while there is no worker: jobs wait for one.
        """
        n_jobs, n_threads = self.split(n_items)
        used = [place for place in self._places if place.n_cores >= n_threads]
        shares = (p.n_bytes // min(n_jobs, p.n_cores // n_threads) for p in used)
        return min(shares, default=sys.maxsize)

    def run(
        self,
        function: Callable[..., Any],
        placed: Sequence[object],
        order: Callable[[int], object],
        budget: Budget,
        n_threads: int = 1,
    ) -> Any:
        """Return ``function(*placed, order(n_threads), stop)`` as called on a worker.

        Parameters
        ----------
        function : callable
            Of a module that the workers have, too. Its last argument is a `Stop`.
        placed : sequence of object
            Sent to a worker the first time only, while it is among the latest few.
        order : callable
            Given the cores that the job may keep busy, gives what is sent with the call, as soon as
            a worker is free and what is placed has been sent.
        budget : Budget
            How long to wait, with a little tolerance.
        n_threads : int
            Cores that the job would keep busy.

        Raises
        ------
        OutOfTimeError
            When the job did not end in time, or when the budget was stopped.
        OutOfMemoryError
            When its process was ended to free memory, and the cluster says so.
        CrashedModelError
            When workers died under it, one after the other.
        """
        call = _Call(budget, budget.tolerant(), self._n_ended)
        with self._change:
            self._n_calls += 1
        try:
            for _ in range(_TRIES):
                try:
                    return self._try(function, placed, order, call, n_threads)
                except WorkerLostError as error:
                    lost = error
                self._check_wanted(call)
                self.look_again()
            raise CrashedModelError(f"its workers died, {_TRIES} times: {lost}")
        finally:
            with self._change:
                self._n_calls -= 1
                self._change.notify_all()

    def look_again(self) -> None:
        """See which workers are there: one that has started again has another name.

        Raises
        ------
        CrashedModelError
            When the cluster does not answer.
        """
        try:
            places = tuple(self._look())
        except self.errors as error:
            raise CrashedModelError(f"the cluster does not answer: {error!s:.300}") from error
        with self._change:
            self._places = places

    def end_calls(self) -> None:
        """End the jobs that run, or have them end themselves; nobody waits for them any more."""
        self._n_ended += 1
        for job in tuple(self._jobs):
            self._cancel(job)

    def close(self) -> None:
        """End what runs, and part from the cluster."""
        self.end_calls()
        with self._change:  # who uses the connection still is to see that first
            self._change.wait_for(lambda: self._n_calls == 0, _CLOSE_SECONDS)
        self._placed.clear()
        self._part()

    def _try(
        self,
        function: Callable[..., Any],
        placed: Sequence[object],
        order: Callable[[int], object],
        call: _Call,
        n_threads: int,
    ) -> Any:
        """Do a job on the worker with the most free cores."""
        with self._free_place(n_threads, call) as (place, n_threads):
            handles = [self._handle(value, place) for value in placed]
            work = Work(function, handles, order(n_threads), n_threads)
            job = self._start(work, place)
            self._wait(job, call)
            return self._result(job)

    @contextmanager
    def _free_place(self, n_threads: int, call: _Call) -> Iterator[tuple[Place, int]]:
        """Wait for a worker with so many free cores; return it with the cores that it has.

        Where no worker is so large, with all cores of one that is not.
        """
        alone_since = looked = time.monotonic()
        while True:
            with self._change:
                able = [p for p in self._places if p.n_cores >= n_threads] or self._places
                place = max(able, key=self._n_free, default=None)
                n_taken = 0 if place is None else min(n_threads, place.n_cores)
                if place is not None and self._n_free(place) >= n_taken:
                    self._in_use[place.name] = self._in_use.get(place.name, 0) + n_taken
                    break
                self._change.wait(_LOOK_EVERY)
            self._check_wanted(call)
            now = time.monotonic()
            if place is not None:
                alone_since = now
            elif now - alone_since > _ALONE_SECONDS:
                raise CrashedModelError(f"no worker came back in {_ALONE_SECONDS:.0f} s")
            elif now - looked > _RETURN_EVERY:
                self.look_again()
                looked = now
        try:
            yield place, n_taken
        finally:
            with self._change:
                self._in_use[place.name] -= n_taken
                self._change.notify_all()

    def _n_free(self, place: Place) -> int:
        return place.n_cores - self._in_use.get(place.name, 0)

    def _wait(self, job: Any, call: _Call) -> None:
        """Wait for a job, and cancel it if it is not waited for until it ends."""
        self._jobs.append(job)
        try:
            self._check_wanted(call)
            while not self._is_done(job):
                time.sleep(_LOOK_EVERY)
                self._check_wanted(call)
        except BaseException:
            self._cancel(job)
            raise
        finally:
            self._jobs.remove(job)

    def _check_wanted(self, call: _Call) -> None:
        """Raise where there is nobody to wait for a job any more, or no time."""
        if call.number != self._n_ended:
            raise OutOfTimeError("given up, since another fold has failed or the fit has ended")
        if call.budget.stopped:
            raise OutOfTimeError("interrupted")
        if call.patience.expired():
            raise OverrunError("its worker did not stop at the end of its share")

    def _handle(self, value: object, place: Place) -> Any:
        """Return what stands for a value at a place; threads that need the same one wait for it."""
        with self._placing:
            # The value is kept beside its handles, so that no other gets its id meanwhile.
            _, handles = self._placed.setdefault(id(value), (value, {}))
            self._placed.move_to_end(id(value))
            while len(self._placed) > _KEPT:
                self._placed.popitem(last=False)
            handle = handles.get(place.name)
            if handle is None or self._is_lost(handle):
                handle = handles[place.name] = self._place(value, place)
            return handle

    @abstractmethod
    def _look(self) -> Sequence[Place]:
        """Return the workers that are there."""

    @abstractmethod
    def _place(self, value: object, place: Place) -> Any:
        """Send a value, and return what stands for it."""

    def _is_lost(self, handle: Any) -> bool:
        """Return whether a placed value is gone."""
        return False

    @abstractmethod
    def _start(self, work: Work, place: Place) -> Any:
        """Begin the work at a place, and return the job."""

    @abstractmethod
    def _is_done(self, job: Any) -> bool:
        """Return whether a job has ended, one way or the other."""

    @abstractmethod
    def _result(self, job: Any) -> Any:
        """Return what an ended job returned, or raise what it raised."""

    @abstractmethod
    def _cancel(self, job: Any) -> None:
        """End a job, or have it end itself."""

    @abstractmethod
    def _part(self) -> None:
        """Close the connection, if it was made here."""


def check_library() -> None:
    """Do nothing, where this library is: elsewhere it cannot even be called."""
