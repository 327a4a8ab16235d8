"""Time as an immutable deadline, handed down and asked by every loop that can be long."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """A deadline on the monotonic clock.

    Attributes
    ----------
    deadline : float
        Seconds on `time.monotonic`'s clock; infinity for no limit.

    Examples
    --------
    >>> Budget.start(60).share(0.5).remaining() <= 30
    True
    >>> Budget.unlimited().expired()
    False
    """

    deadline: float = math.inf

    @classmethod
    def start(cls, seconds: float | None) -> Budget:
        """Return a budget that ends ``seconds`` from now; None means no limit."""
        return cls() if seconds is None else cls(time.monotonic() + seconds)

    @classmethod
    def unlimited(cls) -> Budget:
        """Return a budget without a deadline."""
        return cls()

    @property
    def limited(self) -> bool:
        """Whether there is a deadline at all."""
        return math.isfinite(self.deadline)

    def remaining(self) -> float:
        """Return the seconds left, never below 0; infinity without a deadline."""
        return max(0.0, self.deadline - time.monotonic()) if self.limited else math.inf

    def expired(self) -> bool:
        """Return whether the deadline has passed."""
        return self.remaining() <= 0.0

    def share(self, fraction: float) -> Budget:
        """Return a budget that ends after ``fraction`` of what remains."""
        return self.within(fraction * self.remaining()) if self.limited else self

    def within(self, seconds: float) -> Budget:
        """Return this budget, ended ``seconds`` from now at the latest."""
        return Budget(min(self.deadline, time.monotonic() + seconds))

    def reserve(self, seconds: float) -> Budget:
        """Return this budget, ended ``seconds`` earlier."""
        return Budget(self.deadline - seconds) if self.limited else self
