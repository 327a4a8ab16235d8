"""Time as an immutable deadline, handed down and asked by every loop that can be long."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, replace
from typing import Self

_LEAST_OVERRUN = 1.0  # seconds that every model may be late; the last iteration can be a long one


@dataclass
class Stop:
    """A wish to end early, seen by every budget that was made from the same one.

    Attributes
    ----------
    signal : int or None
        The signal that asked for it; None while nobody has.
    heeded : bool
        Whether the fit has come so far that it looks; before that there is nothing to keep.
    """

    signal: int | None = None
    heeded: bool = False


@dataclass(frozen=True)
class Budget:
    """A deadline on the monotonic clock.

    Attributes
    ----------
    deadline : float
        Seconds on `time.monotonic`'s clock; infinity for no limit.
    abandon_at : float
        When work that did not stop by itself is given up at the latest.
    stop : Stop or None
        Ends this budget, and those made from it, before the deadline.

    Examples
    --------
    >>> Budget.start(60).share(0.5).remaining() <= 30
    True
    >>> Budget.unlimited().expired()
    False
    """

    deadline: float = math.inf
    abandon_at: float = math.inf
    stop: Stop | None = field(default=None, compare=False, repr=False)

    @classmethod
    def start(cls, seconds: float | None, stop: Stop | None = None) -> Budget:
        """Return a budget that ends ``seconds`` from now; None means no limit."""
        deadline = math.inf if seconds is None else time.monotonic() + seconds
        return cls(deadline, deadline, stop)

    @classmethod
    def unlimited(cls) -> Budget:
        """Return a budget without a deadline."""
        return cls()

    @property
    def stopped(self) -> bool:
        """Whether the work was asked to end early."""
        return self.stop is not None and self.stop.signal is not None

    @property
    def limited(self) -> bool:
        """Whether there is an end to look out for: a deadline, or one asked for just now."""
        return math.isfinite(self.deadline) or self.stopped

    def remaining(self) -> float:
        """Return the seconds left, never below 0; infinity without a deadline."""
        if self.stopped:
            return 0.0
        return max(0.0, self.deadline - time.monotonic()) if self.limited else math.inf

    def expired(self) -> bool:
        """Return whether the deadline has passed."""
        return self.remaining() <= 0.0

    def share(self, fraction: float) -> Self:
        """Return a budget that ends after ``fraction`` of what remains."""
        return self.within(fraction * self.remaining()) if self.limited else self

    def within(self, seconds: float) -> Self:
        """Return this budget, ended ``seconds`` from now at the latest."""
        return replace(self, deadline=min(self.deadline, time.monotonic() + seconds))

    def reserve(self, seconds: float) -> Self:
        """Return this budget, ended ``seconds`` earlier; work may overrun it by half of them."""
        deadline = self.deadline - seconds
        return replace(self, deadline=deadline, abandon_at=deadline + seconds / 2)

    def earlier(self, seconds: float) -> Self:
        """Return this budget with all its ends ``seconds`` earlier."""
        return replace(self, deadline=self.deadline - seconds, abandon_at=self.abandon_at - seconds)

    def tolerant(self) -> Self:
        """Return this budget with the overrun that is put up with before work is abandoned.

        As long again and a second, but never more than `abandon_at`.
        """
        late = self.deadline + self.remaining() + _LEAST_OVERRUN
        return replace(self, deadline=min(late, self.abandon_at))

    def heed_stop(self) -> None:
        """Say that from now on a signal need not end the work at once: `stop` is looked at."""
        if self.stop is not None:
            self.stop.heeded = True

    def unstoppable(self) -> Self:
        """Return this budget without its `stop`, for what must be done in any case."""
        return replace(self, stop=None)
