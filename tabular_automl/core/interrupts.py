"""Ctrl-C and SIGTERM as a wish to end early with what is done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tabular_automl.core.budget import Stop

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stopping_on_signals(stop: Stop) -> Iterator[None]:
    """Let the first Ctrl-C or SIGTERM ask ``stop`` to end the work, and the second end it at once.

    Before the work says that it heeds the stop, the first signal ends it at once too. SIGTERM is
    delivered again on leaving, so that the process still ends as its sender wants. Handlers are
    those from before once the block is left; outside the main thread, which is the only one that
    Python lets handle signals, nothing is done. Signals that are ignored stay so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in _SIGNALS}
    previous = {n: h for n, h in handlers.items() if h not in (None, signal.SIG_IGN)}

    def give_back() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.heeded and stop.signal is None:
            stop.signal = number
            return
        give_back()
        signal.raise_signal(number)

    for number in previous:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        give_back()
        if stop.signal == signal.SIGTERM:
            signal.raise_signal(stop.signal)


@contextmanager
def exiting_on_sigterm(code: int) -> Iterator[None]:
    """Let SIGTERM end a program by an exit code instead of by the signal; clean-ups then run."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(code)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
