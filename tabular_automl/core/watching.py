"""Work that is waited for no longer than its budget allows."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import OutOfTimeError, OverrunError

Result = TypeVar("Result")

_LOOK_EVERY = 0.05  # seconds between looks at the clock while work goes on
_AFTER_STOP = 2.0  # seconds for work to end by itself once the user asked for the end


def run_until(function: Callable[[], Result], budget: Budget) -> Result:
    """Return what ``function`` returns, or give up on it once it is too late for its budget.

    A thread cannot be killed. Work that hangs is left behind in a daemon thread, which goes on
    using what it uses but holds nothing up; code that must really end belongs in a process of its
    own.

    Raises
    ------
    OverrunError
        When the work did not end in time.
    OutOfTimeError
        When the budget was stopped: what ends after a stop may be cut short, and is not a result.
    """
    task = _Task(function)
    task.start()
    patience = budget.tolerant()
    while not task.wait(_LOOK_EVERY):
        if budget.stopped:
            task.wait(_AFTER_STOP)
            break
        if patience.expired():
            raise OverrunError("did not stop at the end of its share, and was left behind")
    if budget.stopped:
        raise OutOfTimeError("interrupted")
    return task.result()


class _Task(threading.Thread, Generic[Result]):
    """One call in a thread that the end of the program does not wait for."""

    def __init__(self, function: Callable[[], Result]) -> None:
        super().__init__(daemon=True)
        self._function = function
        self._context = contextvars.copy_context()
        self._results: list[Result] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._results.append(self._context.run(self._function))
        except BaseException as error:  # not handled here: `result` raises it where it is awaited
            self._error = error

    def wait(self, seconds: float) -> bool:
        """Wait, and return whether the call has ended."""
        self.join(seconds)
        return not self.is_alive()

    def result(self) -> Result:
        """Return what the call returned, or raise what it raised."""
        if self._error is not None:
            raise self._error
        return self._results[0]
