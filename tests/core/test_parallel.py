import threading

import pytest

from tabular_automl.core import containers
from tabular_automl.core.parallel import Machine, in_own_thread, run_parallel


@pytest.mark.parametrize(("n_jobs", "n_cores"), [(None, 4), (-1, 4), (2, 2), (99, 4), (0, 1)])
def test_jobs_are_bounded_by_the_cores_there_are(monkeypatch, n_jobs, n_cores):
    monkeypatch.setattr("joblib.cpu_count", lambda: 4)
    monkeypatch.setattr(containers, "n_cores", lambda: None)
    machine = Machine.detect(n_jobs)
    assert machine.n_cores == n_cores
    assert machine.n_bytes > 0


@pytest.mark.parametrize(
    ("n_cores", "n_items", "expected"),
    [(8, 2, (2, 4)), (8, 3, (3, 2)), (2, 8, (2, 1)), (4, 1, (1, 4)), (4, 0, (1, 4))],
)
def test_cores_are_shared_out_without_oversubscription(n_cores, n_items, expected):
    n_workers, n_threads = Machine(n_cores, 0).split(n_items)
    assert (n_workers, n_threads) == expected
    assert n_workers * n_threads <= n_cores


@pytest.mark.parametrize("n_workers", [1, 3])
def test_results_keep_the_order_of_the_items(n_workers):
    assert run_parallel(lambda item: item**2, iter(range(20)), n_workers) == [
        item**2 for item in range(20)
    ]
    assert run_parallel(abs, [], n_workers) == []


def test_workers_run_side_by_side():
    barrier = threading.Barrier(2, timeout=20)  # passed only by two at the same time
    assert sorted(run_parallel(lambda item: item + 0 * barrier.wait(), [1, 2], 2)) == [1, 2]


def test_an_error_of_a_job_reaches_the_caller():
    with pytest.raises(ZeroDivisionError, match="division"):
        run_parallel(lambda item: 1 // item, [1, 0], 2)


def test_work_in_a_thread_of_its_own_gives_its_result_or_its_error_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())  # one of another test may end meanwhile
    assert in_own_thread(threading.current_thread) is not threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        in_own_thread(lambda: 1 // 0)
    assert set(threading.enumerate()) <= before


def test_memory_that_was_used_since_is_no_longer_free(monkeypatch):
    monkeypatch.setattr("tabular_automl.core.memory.free_bytes", lambda: 40)
    assert Machine(n_cores=2, n_bytes=100).by_now().n_bytes == 40
    assert Machine(n_cores=2, n_bytes=30).by_now().n_bytes == 30
    elsewhere = Machine(n_cores=2, n_bytes=100, cluster=object())
    assert elsewhere.by_now() is elsewhere
