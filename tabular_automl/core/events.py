"""What a fit tells about itself while it runs.

A `Reporter` is any callable that takes an `Event`. Workers never print; they return results, and
the one thread that runs the fit reports them. Events hold plain values only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """Base of every event."""


@dataclass(frozen=True)
class Note(Event):
    """A sentence for the user: something was decided or noticed."""

    text: str


@dataclass(frozen=True)
class FitStarted(Event):
    """The plan is made; ``time_limit`` is in seconds, None without a limit.

    Of a metric where smaller is better, the scores of later events are negated figures.
    """

    summary: str
    n_specs: int
    metric: str
    time_limit: float | None
    greater_is_better: bool = True


@dataclass(frozen=True)
class SpecStarted(Event):
    """A spec starts; ``seconds_left`` is what remains for its layer."""

    key: str
    layer: int
    position: int
    n_specs: int
    seconds_left: float


@dataclass(frozen=True)
class SpecFinished(Event):
    """A bag is complete; ``score`` is its out-of-fold score, greater is better."""

    key: str
    layer: int
    score: float
    best_score: float
    fit_seconds: float


@dataclass(frozen=True)
class SpecSkipped(Event):
    """A spec did not give a bag, with the cause."""

    key: str
    layer: int
    reason: str
    failed: bool


@dataclass(frozen=True)
class EnsembleFinished(Event):
    """The ensemble is chosen; ``weights`` maps spec keys to their weight."""

    score: float
    weights: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class FitFinished(Event):
    """The predictor is saved at ``path`` (None when it was not asked to be)."""

    score: float
    fit_seconds: float
    path: str | None


Reporter = Callable[[Event], None]


def silent(event: Event) -> None:
    """Report nothing."""
