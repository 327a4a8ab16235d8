"""Jobs on real Dask and Ray workers. What they call is nested, and so travels as code."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tabular_automl.config import FitConfig
from tabular_automl.core.budget import Budget, Stop
from tabular_automl.core.cluster import Cluster, Place
from tabular_automl.core.cluster_dask import DaskCluster
from tabular_automl.core.clusters import connected
from tabular_automl.core.errors import CrashedModelError, InvalidOptionError, OutOfTimeError

UNLIMITED = Budget.unlimited()


@pytest.fixture
def cluster(cluster_name: str) -> Iterator[Cluster]:
    with connected(cluster_name) as cluster:
        assert cluster is not None
        yield cluster


def nothing(n_threads: int) -> None:
    return None


def test_a_job_runs_elsewhere_on_what_was_placed(cluster: Cluster) -> None:
    def add(numbers, more, stop):
        return os.getpid(), numbers + more

    pid, total = cluster.run(add, [np.arange(5)], lambda n: 10, UNLIMITED)
    assert pid != os.getpid()
    assert total.tolist() == [10, 11, 12, 13, 14]
    total += 1  # the array is ours


@pytest.mark.parametrize("value", [[1, 2], (1, 2), {"a": 1}], ids=["list", "tuple", "dict"])
def test_a_collection_is_placed_as_it_is(cluster: Cluster, value: object) -> None:
    def same(value, order, stop):
        return value

    assert cluster.run(same, [value], nothing, UNLIMITED) == value


def test_a_value_is_placed_once_on_each_worker(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed = []
    place = cluster._place

    def counted(value, where):
        placed.append(where.name)
        return place(value, where)

    def size(numbers, order, stop):
        return len(numbers)

    monkeypatch.setattr(cluster, "_place", counted)
    numbers = np.arange(7)
    assert [cluster.run(size, [numbers], nothing, UNLIMITED) for _ in range(5)] == [7] * 5
    assert len(placed) == len(set(placed)) <= 2


def test_an_error_of_a_job_is_raised_here(cluster: Cluster) -> None:
    def fail(order, stop):
        raise OutOfTimeError("no time for a tree")

    with pytest.raises(OutOfTimeError, match=r"^no time for a tree$"):
        cluster.run(fail, [], nothing, UNLIMITED)


def test_who_is_stopped_does_not_wait_and_the_job_ends(cluster_name: str, tmp_path: Path) -> None:
    def work(path, stop):
        while stop.signal is None:
            Path(path).write_text(str(time.time()))
            time.sleep(0.05)

    path, stop = tmp_path / "alive", Stop()

    def interrupt() -> None:
        while not path.exists():
            time.sleep(0.05)
        stop.signal = signal.SIGINT

    threading.Thread(target=interrupt, daemon=True).start()
    with connected(cluster_name) as cluster:
        assert cluster is not None
        with pytest.raises(OutOfTimeError, match="interrupted"):
            cluster.run(work, [], lambda n: str(path), Budget.start(60, stop))
        deadline = time.monotonic() + 60
        while time.time() - path.stat().st_mtime < 2.0 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert time.monotonic() < deadline  # it has not been heard of for two seconds


def test_a_job_whose_worker_dies_is_begun_again(cluster: Cluster, tmp_path: Path) -> None:
    def die_once(numbers, path, stop):
        if not Path(path).exists():
            Path(path).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return int(numbers.sum())

    path = str(tmp_path / "died")
    assert cluster.run(die_once, [np.arange(4)], lambda n: path, UNLIMITED) == 6


def test_a_worker_that_has_gone_is_not_missed(cluster: Cluster) -> None:
    def total(numbers, order, stop):
        return int(numbers.sum())

    if isinstance(cluster, DaskCluster):  # Ray sends nothing to a place
        cluster._places = (Place("tcp://127.0.0.1:9", 8, 1), *cluster._places)
    assert cluster.run(total, [np.arange(4)], nothing, UNLIMITED) == 6


def test_a_job_that_kills_its_workers_has_crashed(cluster: Cluster) -> None:
    def die(order, stop):
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(CrashedModelError, match="its workers"):
        cluster.run(die, [], nothing, UNLIMITED)


def test_cores_and_memory_are_those_of_the_workers(cluster: Cluster) -> None:
    assert cluster.n_cores == 2
    assert cluster.split(8) == (2, 1)
    assert 0 < cluster.bytes_each(8) <= cluster.bytes_each(1)


def test_the_connection_of_this_process_is_used_and_left_open(cluster_name: str) -> None:
    kind, _, address = cluster_name.partition(":")
    if kind == "dask":
        from distributed import Client

        with Client(address) as client:
            with connected("dask") as cluster:
                assert cluster is not None
                assert cluster.n_cores == 2
            assert client.status == "running"
    else:
        import ray

        with connected("ray") as cluster:
            assert cluster is not None
            assert cluster.n_cores == 2
        assert ray.is_initialized()


def test_without_a_name_there_is_none() -> None:
    with connected(None) as cluster:
        assert cluster is None


@pytest.mark.parametrize(
    ("name", "said"),
    [("dusk", "Did you mean 'dask'"), ("spark:7077", "Known: dask, ray"), (8786, "cluster must")],
)
def test_an_unknown_cluster_is_refused_before_any_work(name: object, said: str) -> None:
    with pytest.raises(InvalidOptionError, match=said):
        FitConfig(cluster=name)  # type: ignore[arg-type]


def test_a_cluster_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tabular_automl.core.cluster_dask._CONNECT_SECONDS", 0.5)
    with (
        pytest.raises(
            InvalidOptionError, match=r"a dask cluster that runs.*'dask:tcp://127.0.0.1:1'"
        ),
        connected("dask:tcp://127.0.0.1:1"),
    ):
        pass


def test_without_an_address_this_process_must_be_connected() -> None:
    with (
        pytest.raises(InvalidOptionError, match=r"its address \('dask:ADDRESS'\).*got 'dask'"),
        connected("dask"),
    ):
        pass
