"""What all clusters share, on one made of threads: who gets a job, and what becomes of it."""

from __future__ import annotations

import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tabular_automl.core.budget import Budget, Stop
from tabular_automl.core.cluster import Cluster, Place, WorkerLostError
from tabular_automl.core.errors import CrashedModelError, OutOfTimeError
from tabular_automl.core.parallel import Machine

UNLIMITED = Budget.unlimited()


class Threads(Cluster):
    """Workers that are names; their jobs run in threads of this process."""

    def __init__(self, *places: Place) -> None:
        self.there = list(places)
        self.sent: list[tuple[object, str]] = []  # value and place
        self.begun: list[tuple[str, int]] = []  # place and threads
        self.dying: set[str] = set()
        self.cancelled: list[object] = []
        self.parted = False
        self._pool = ThreadPoolExecutor(8)
        super().__init__()

    def _look(self):
        return self.there

    def _place(self, value, place):
        self.sent.append((value, place.name))
        return value, place.name

    def _is_lost(self, handle):
        return handle[1] not in {place.name for place in self.there}

    def _start(self, work, place):
        self.begun.append((place.name, work.n_threads))
        if place.name in self.dying:
            self.there = [each for each in self.there if each.name != place.name]
            return self._pool.submit(self._die)
        return self._pool.submit(
            work.function, *(value for value, _ in work.handles), work.order, Stop()
        )

    def _die(self):
        raise WorkerLostError("it is gone")

    def _is_done(self, job):
        return job.done() or job in self.cancelled

    def _result(self, job):
        if job in self.cancelled:
            raise WorkerLostError("cancelled")
        return job.result()

    def _cancel(self, job):
        self.cancelled.append(job)

    def _part(self):
        self.parted = True
        self._pool.shutdown(wait=False)


def cluster_of(*n_cores: int, n_bytes: int = 100) -> Threads:
    return Threads(*(Place(f"w{i}", n, n_bytes) for i, n in enumerate(n_cores)))


def total(value, order, stop):
    return value + order


@pytest.mark.parametrize(
    ("n_cores", "n_items", "expected"),
    [
        ((1, 1), 8, (2, 1)),
        ((1, 1), 1, (1, 1)),
        ((4, 4), 1, (1, 4)),
        ((4, 4), 8, (8, 1)),
        ((8, 8, 8), 8, (8, 2)),  # three threads each would leave two jobs waiting
        ((8, 8), 5, (5, 2)),
        ((1, 16), 4, (4, 4)),
        ((16,), 8, (8, 2)),
        ((), 4, (1, 1)),
    ],
)
def test_all_jobs_fit_at_once_and_none_is_spread_over_workers(n_cores, n_items, expected):
    cluster = cluster_of(*n_cores)
    assert cluster.split(n_items) == expected
    assert Machine(n_cores=2, n_bytes=1, cluster=cluster).split(n_items) == expected


def test_a_machine_counts_the_cores_that_a_bag_keeps_busy():
    machine = Machine(n_cores=2, n_bytes=7, cluster=cluster_of(32, 32))
    assert machine.fold_cores(8) == 64
    assert Machine(n_cores=2, n_bytes=7, cluster=cluster_of(3)).fold_cores(8) == 3
    assert Machine(n_cores=2, n_bytes=7).fold_cores(8) == 2


def test_each_job_gets_its_share_of_the_fullest_workers_memory():
    assert cluster_of(4, 4, n_bytes=100).bytes_each(8) == 25
    assert cluster_of(4, 4, n_bytes=100).bytes_each(1) == 100
    assert Threads(Place("a", 2, 100), Place("b", 2, 30)).bytes_each(4) == 15
    assert Threads(Place("large", 8, 100), Place("small", 1, 5)).bytes_each(2) == 50
    assert cluster_of().bytes_each(4) == sys.maxsize  # it waits for a worker
    assert Machine(n_cores=2, n_bytes=100).bytes_each(8) == 50


def test_a_value_is_sent_to_each_worker_once():
    cluster, value = cluster_of(1, 1), 40
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(cluster.run, total, [value], lambda n: 2, UNLIMITED) for _ in range(8)]
        assert [job.result() for job in jobs] == [42] * 8
    assert len(cluster.sent) == len(set(cluster.sent)) <= 2


def test_only_the_latest_values_stay_placed():
    cluster, values = cluster_of(1), [1000 + i for i in range(9)]
    for value in (*values, values[0]):
        cluster.run(total, [value], lambda n: 0, UNLIMITED)
    assert [value for value, _ in cluster.sent].count(values[0]) == 2
    assert len(cluster._placed) <= 4


def test_a_job_waits_for_free_cores_and_is_told_of_its_time_then():
    cluster, release, told = cluster_of(2), threading.Event(), []

    def hold(order, stop):
        release.wait()

    def note(order, stop):
        told.append(order)

    budget = Budget.start(60)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(cluster.run, hold, [], lambda n: None, UNLIMITED, 2)
        while not cluster.begun:
            time.sleep(0.01)
        second = pool.submit(cluster.run, note, [], lambda n: budget.remaining(), budget, 1)
        time.sleep(0.1)
        waited_until = budget.remaining()
        assert cluster.begun == [("w0", 2)]
        release.set()
        first.result()
        second.result()
    assert told[0] <= waited_until


def test_a_job_whose_worker_dies_runs_on_another():
    cluster, value = cluster_of(2, 1), 40
    cluster.dying = {"w0"}
    assert cluster.run(total, [value], lambda n: 2, UNLIMITED) == 42
    assert cluster.begun == [("w0", 1), ("w1", 1)]
    assert cluster.sent == [(value, "w0"), (value, "w1")]


def test_a_job_under_which_workers_die_three_times_has_crashed():
    cluster = cluster_of(4, 3, 2, 1)
    cluster.dying = {"w0", "w1", "w2", "w3"}
    with pytest.raises(CrashedModelError, match="its workers died, 3 times: it is gone"):
        cluster.run(total, [1], lambda n: 2, UNLIMITED)


def test_who_finds_no_worker_waits_for_one(monkeypatch):
    monkeypatch.setattr("tabular_automl.core.cluster._RETURN_EVERY", 0.02)
    cluster = cluster_of()
    threading.Timer(0.1, cluster.there.append, [Place("late", 1, 1)]).start()
    assert cluster.run(total, [1], lambda n: 2, Budget.start(60)) == 3


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (lambda: Budget(*[time.monotonic() + 0.1] * 2), "did not stop"),
        (lambda: Budget.start(None, Stop(signal.SIGINT)), "interrupted"),
    ],
    ids=["late", "stopped"],
)
def test_a_job_that_is_not_waited_for_is_cancelled(budget, said):
    cluster, release = cluster_of(1), threading.Event()

    def hold(order, stop):
        release.wait()

    with pytest.raises(OutOfTimeError, match=said):
        cluster.run(hold, [], lambda n: None, budget())
    release.set()
    assert len(cluster.cancelled) == len(cluster.begun)


def test_closing_ends_what_runs_and_who_waits():
    cluster, release = cluster_of(1), threading.Event()

    def hold(order, stop):
        release.wait()

    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(cluster.run, hold, [], lambda n: None, UNLIMITED) for _ in range(2)]
        while not cluster.begun:
            time.sleep(0.01)
        cluster.close()
        for job in jobs:
            with pytest.raises(OutOfTimeError, match="the fit has ended"):
                job.result()
    release.set()
    assert cluster.cancelled
    assert cluster.parted


def test_calls_that_were_ended_do_not_begin_again():
    cluster, release = cluster_of(1, 1), threading.Event()

    def hold(order, stop):
        release.wait()

    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(cluster.run, hold, [], lambda n: None, UNLIMITED) for _ in range(3)]
        while len(cluster.begun) < 2:
            time.sleep(0.01)
        cluster.end_calls()
        for job in jobs:
            with pytest.raises(OutOfTimeError, match="another fold has failed"):
                job.result()
    assert len(cluster.begun) == 2
    release.set()
    assert cluster.run(total, [1], lambda n: 2, UNLIMITED) == 3  # the next bag has its turn


def test_a_job_never_asks_for_more_cores_than_a_worker_has():
    cluster = cluster_of(2)
    assert cluster.run(lambda order, stop: order, [], lambda n: n, UNLIMITED, 8) == 2
    assert cluster.begun == [("w0", 2)]


def test_workers_that_came_are_used_once_looked_for():
    cluster = cluster_of(1)
    cluster.there.append(Place("new", 4, 1))
    assert cluster.n_cores == 1
    cluster.look_again()
    assert cluster.n_cores == 5
    cluster.run(total, [1], lambda n: 2, UNLIMITED)
    assert cluster.begun == [("new", 1)]


def test_a_cluster_that_no_longer_answers_is_a_crash(monkeypatch):
    def silent():
        raise OSError("connection refused")

    cluster = cluster_of(1)
    monkeypatch.setattr(cluster, "_look", silent)
    with pytest.raises(CrashedModelError, match="does not answer: connection refused"):
        cluster.look_again()


def test_a_job_is_given_up_when_no_worker_comes_back(monkeypatch):
    monkeypatch.setattr("tabular_automl.core.cluster._ALONE_SECONDS", 0.1)
    with pytest.raises(CrashedModelError, match="no worker came back"):
        cluster_of().run(total, [1], lambda n: 2, UNLIMITED)


def test_an_error_of_a_job_is_raised_here_and_its_cores_are_free_again():
    def fail(order, stop):
        raise ZeroDivisionError("the cause")

    cluster = cluster_of(1)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError, match="the cause"):
            cluster.run(fail, [], lambda n: None, UNLIMITED)
