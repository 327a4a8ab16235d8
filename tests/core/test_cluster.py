"""Jobs on the workers of a cluster. What they call is nested, and so travels as code."""

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
from tabular_automl.core.cluster import Cluster, connected
from tabular_automl.core.errors import CrashedModelError, InvalidOptionError, OutOfTimeError
from tabular_automl.core.parallel import Machine

UNLIMITED = Budget.unlimited()


@pytest.fixture
def cluster(cluster_name: str) -> Iterator[Cluster]:
    with connected(cluster_name) as cluster:
        assert cluster is not None
        yield cluster


def test_a_job_runs_elsewhere_on_what_was_placed(cluster: Cluster) -> None:
    def add(numbers, more, stop):
        return os.getpid(), numbers + more

    numbers = np.arange(5)
    pid, total = cluster.run(add, [numbers], 10, UNLIMITED)
    assert pid != os.getpid()
    assert total.tolist() == [10, 11, 12, 13, 14]


def test_a_value_is_placed_once(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    placed = []
    place = cluster._place

    def counted(value):
        placed.append(value)
        return place(value)

    monkeypatch.setattr(cluster, "_place", counted)

    def size(numbers, order, stop):
        return len(numbers)

    numbers = np.arange(7)
    assert [cluster.run(size, [numbers], None, UNLIMITED) for _ in range(3)] == [7, 7, 7]
    assert len(placed) == 1


def test_an_error_of_a_job_is_raised_here(cluster: Cluster) -> None:
    def fail(order, stop):
        raise OutOfTimeError("no time for a tree")

    with pytest.raises(OutOfTimeError, match="no time for a tree"):
        cluster.run(fail, [], None, UNLIMITED)


def test_a_job_that_does_not_end_is_given_up(cluster: Cluster) -> None:
    def sleep(order, stop):
        time.sleep(3)

    with pytest.raises(OutOfTimeError, match="did not stop"):
        cluster.run(sleep, [], None, Budget(*[time.monotonic() + 0.2] * 2))


def test_who_is_stopped_does_not_wait_and_the_job_learns_of_it(
    cluster_name: str, tmp_path: Path
) -> None:
    def wait(path, stop):
        Path(path).write_text("begun")
        while stop.signal is None:
            time.sleep(0.05)
        Path(path).write_text("stopped")

    path, stop = tmp_path / "job", Stop()

    def interrupt() -> None:
        while not path.exists():
            time.sleep(0.05)
        stop.signal = signal.SIGINT

    threading.Thread(target=interrupt).start()
    with connected(cluster_name) as cluster:
        assert cluster is not None
        with pytest.raises(OutOfTimeError, match="interrupted"):
            cluster.run(wait, [], str(path), Budget.start(None, stop))
        if cluster_name.startswith("dask"):  # Ray has ended the process
            deadline = time.monotonic() + 60
            while path.read_text() != "stopped" and time.monotonic() < deadline:
                time.sleep(0.05)
            assert path.read_text() == "stopped"


def test_a_job_whose_worker_dies_is_begun_again(cluster: Cluster, tmp_path: Path) -> None:
    def die_once(numbers, path, stop):
        if not Path(path).exists():
            Path(path).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return int(numbers.sum())

    numbers = np.arange(4)
    assert cluster.run(die_once, [numbers], str(tmp_path / "died"), UNLIMITED) == 6


def test_a_job_that_kills_its_workers_has_crashed(cluster: Cluster) -> None:
    def die(order, stop):
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(CrashedModelError, match="workers were lost"):
        cluster.run(die, [], None, UNLIMITED)


def test_folds_are_split_over_the_cores_of_the_cluster(cluster: Cluster) -> None:
    assert cluster.n_cores == 2  # Dask's on two workers, Ray's on one node
    assert cluster.n_bytes > 0
    machine = Machine(n_cores=16, n_bytes=1, cluster=cluster)
    assert machine.split(8) == (2, 1)
    assert machine.split(1) == (1, cluster.n_threads)
    assert (machine.fold_cores, machine.fold_bytes) == (2, cluster.n_bytes)


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
    monkeypatch.setattr("tabular_automl.core.cluster._CONNECT_SECONDS", 0.5)
    with (
        pytest.raises(InvalidOptionError, match=r"address of a dask cluster that runs.*1:1"),
        connected("dask:tcp://127.0.0.1:1"),
    ):
        pass


def test_without_an_address_this_process_must_be_connected() -> None:
    with (
        pytest.raises(InvalidOptionError, match="'dask:' and an address"),
        connected("dask"),
    ):
        pass
