import contextvars
import threading

import pytest

from tabular_automl.core import watching
from tabular_automl.core.budget import Budget, Stop
from tabular_automl.core.errors import OutOfTimeError
from tabular_automl.core.watching import run_until


def test_what_the_work_returns_comes_back():
    assert run_until(lambda: 7, Budget.unlimited()) == 7


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_what_the_work_raises_is_raised(error):
    def fail():
        raise error("cause")

    with pytest.raises(error, match="cause"):
        run_until(fail, Budget.unlimited())


def test_work_that_hangs_is_left_behind():
    release = threading.Event()
    budget = Budget.start(0.0).reserve(0.0)  # without a reserve there is no tolerance
    with pytest.raises(OutOfTimeError, match="did not stop at the end of its share"):
        run_until(release.wait, budget)
    release.set()


def test_a_stop_ends_the_wait_and_its_late_result_does_not_count(monkeypatch):
    monkeypatch.setattr(watching, "_AFTER_STOP", 0.01)
    stop, release = Stop(), threading.Event()

    def work():
        stop.signal = 2
        release.wait()

    with pytest.raises(OutOfTimeError, match="interrupted"):
        run_until(work, Budget.start(None, stop))
    release.set()


def test_work_that_ends_after_a_stop_may_be_cut_short_and_does_not_count():
    stop = Stop()

    def work():
        stop.signal = 2
        return 7

    with pytest.raises(OutOfTimeError, match="interrupted"):
        run_until(work, Budget.start(None, stop))


def test_work_sees_the_context_of_its_caller():
    variable = contextvars.ContextVar("variable", default=0)
    variable.set(3)
    assert run_until(variable.get, Budget.unlimited()) == 3
