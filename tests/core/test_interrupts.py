import signal
import threading

import pytest

from tabular_automl.core.budget import Stop
from tabular_automl.core.interrupts import exiting_on_sigterm, stopping_on_signals


@pytest.fixture
def delivered():
    """Return the signals that arrive at the handlers from before."""
    seen = []
    before = {
        number: signal.signal(number, lambda n, frame: seen.append(n))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    yield seen
    for number, handler in before.items():
        signal.signal(number, handler)


def test_first_signal_asks_and_the_second_is_delivered(delivered):
    stop = Stop(heeded=True)
    with stopping_on_signals(stop):
        signal.raise_signal(signal.SIGINT)
        assert (stop.signal, delivered) == (signal.SIGINT, [])
        signal.raise_signal(signal.SIGINT)
        assert delivered == [signal.SIGINT]


def test_a_stop_that_nobody_heeds_yet_lets_signals_through(delivered):
    stop = Stop()
    with stopping_on_signals(stop):
        signal.raise_signal(signal.SIGTERM)
    assert stop.signal is None
    assert delivered == [signal.SIGTERM]


def test_sigterm_is_delivered_at_the_end_and_ctrl_c_is_not(delivered):
    for number in (signal.SIGTERM, signal.SIGINT):
        with stopping_on_signals(Stop(heeded=True)):
            signal.raise_signal(number)
    assert delivered == [signal.SIGTERM]


def test_handlers_are_given_back_after_an_error(delivered):
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def fail():
        seen.append(signal.getsignal(signal.SIGINT))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), stopping_on_signals(Stop()):
        fail()
    assert seen != [before]
    assert signal.getsignal(signal.SIGINT) is before


def test_ignored_signals_stay_ignored(delivered):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop = Stop(heeded=True)
    with stopping_on_signals(stop):
        signal.raise_signal(signal.SIGINT)
    assert stop.signal is None


def test_other_threads_leave_handlers_alone(delivered):
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work():
        with stopping_on_signals(Stop()), exiting_on_sigterm(143):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_sigterm_becomes_an_exit_code(delivered):
    with pytest.raises(SystemExit, match="143"), exiting_on_sigterm(143):
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    assert delivered == [signal.SIGTERM]
