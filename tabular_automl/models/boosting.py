"""What the boosted families share: what their outputs mean, when to stop, how fast to learn."""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt

from tabular_automl.artifacts.state import State
from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import DataError, OutOfTimeError
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.data.task import Task
from tabular_automl.models.base import Prediction

MAX_LEARNING_RATE = 0.3
# Rounds times learning rate after which boosting has usually converged.
_CONVERGED = 50.0
# Times the first learning rate, from which slower learning would clearly be better.
HURRIED = 1.3
# Rounds after which the pace is looked at, and the part of the time that so many must not take.
_FIRST_LOOK, _EARLY_LOOK, _MUCH_TIME = 8, 3, 0.1
# Rounds after which the end of a fit is rehearsed: early, when the trees are typical, and when they
# no longer fit into the processor's caches, which makes each of them slower to ask.
_REHEARSALS = (16, 128, 512)
_ROWS_REHEARSED = 2_000
_ROWS_TO_SEE_THAT_IT_VARIES = 1_000  # nearly always: those of all need not be cut out then
_MORE_IN_EARNEST = 1.3  # times what was rehearsed, with other folds ending at the same time
_ONE_THREAD_VALUES = 10_000  # rows times features, up to which several threads gain little
# To find out whether several threads pay: rows from which they do, rounds to try, seconds of one
# beside which waiting is short, and the part of the time with several that one has to stay below.
_WORTH_ALL_THREADS, _TRIAL_ROUNDS, _LONG_ROUND, _CLEARLY = 100_000, 4, 0.1, 0.8


@dataclass(frozen=True)
class Outputs:
    """The classes that a booster is trained on, and the way from its output to a prediction.

    A fold may lack rare classes. The booster then knows the others only, and the absent ones get
    the probability that one imagined row, spread over all classes, would give them.

    Attributes
    ----------
    n_outputs : int
        Columns of the prediction.
    known : tuple of int
        Codes of the classes with training rows; empty for regression.
    floor : float
        Probability of each absent class.
    value : float or None
        The target of every training row, where it is one and the same number.
    """

    n_outputs: int
    known: tuple[int, ...] = ()
    floor: float = 0.0
    value: float | None = None

    @classmethod
    def of(cls, samples: Samples, task: Task) -> Self:
        """Look up which classes occur in ``samples``."""
        if not task.is_classification:
            same = bool(np.all(samples.y == samples.y[0]))
            return cls(task.n_outputs, value=float(samples.y[0]) if same else None)
        known = tuple(int(code) for code in np.unique(samples.y))
        return cls(task.n_outputs, known, 1.0 / (task.n_classes * (len(samples) + 1.0)))

    @classmethod
    def from_state(cls, state: State, task: Task) -> Self:
        """Build from a state whose meta is what `dataclasses.asdict` gave, json in between."""
        n_outputs = state.integer("n_outputs", task.n_outputs, task.n_outputs)
        known = tuple(int(code) for code in state.meta["known"])
        codes = range(n_outputs if task.is_classification else 0)
        sound = all(code in codes for code in known) and known == tuple(sorted(set(known)))
        sound = sound and bool(known) == task.is_classification
        state.require(sound, "known", f"be class codes from 0 to {len(codes) - 1}, in order")
        value = None if state.meta["value"] is None else state.number("value")
        return cls(n_outputs, known, state.number("floor", 0.0, 1.0), value)

    @property
    def is_constant(self) -> bool:
        """Whether all targets are the same, so that there is nothing to learn."""
        return len(self.known) == 1 or self.value is not None

    def encode(self, samples: Samples) -> Samples:
        """Drop rows of absent classes and number the known classes from 0."""
        if not self.known:
            return samples
        if len(self.known) < self.n_outputs:
            samples = samples.take(np.flatnonzero(np.isin(samples.y, self.known)))
        return Samples(samples.table, np.searchsorted(self.known, samples.y), samples.weight)

    def held_out(self, valid: Samples | None) -> Samples | None:
        """Return the encoded rows to stop early on, or None if there are none."""
        encoded = None if valid is None else self.encode(valid)
        return encoded if encoded is not None and len(encoded) else None

    def decode(self, raw: npt.NDArray[Any], n_samples: int) -> Prediction:
        """Return a prediction of shape (n_samples, n_outputs) from a booster's output.

        Parameters
        ----------
        raw : ndarray
            One value or the probability of the second class, shape (n_samples,), or the
            probabilities of the known classes, shape (n_samples, n_known).
        n_samples : int
        """
        if self.value is not None:
            return np.full((n_samples, 1), self.value)
        if not self.known:
            return np.asarray(raw, dtype=np.float64).reshape(n_samples, 1)
        known = self._probabilities(raw, n_samples)
        if len(self.known) == self.n_outputs:
            return known
        complete = np.full((n_samples, self.n_outputs), self.floor)
        absent = self.n_outputs - len(self.known)
        complete[:, self.known] = known * (1.0 - self.floor * absent)
        return complete

    def _probabilities(self, raw: npt.NDArray[Any], n_samples: int) -> Prediction:
        """Return the probabilities of the known classes in double precision, rows summing to 1."""
        if self.is_constant or not n_samples:
            return np.ones((n_samples, len(self.known)))
        values = np.asarray(raw, dtype=np.float64)
        if values.ndim == 1:
            return np.column_stack([1.0 - values, values])
        return values / values.sum(axis=1, keepdims=True)


def rounds_at_most(
    n_rounds: int, rate: float, valid: Samples | None, held_out: Samples | None
) -> int:
    """Return the rounds at most: no more than are usual where validation rows cannot say stop.

    Those whose classes were all absent from training cannot.
    """
    if valid is None or held_out is not None:
        return n_rounds
    return min(n_rounds, max(1, round(_CONVERGED / rate)))


Written = TypeVar("Written")


class Progress:
    """Follows boosting round by round: the best round, when to stop, and how fast to learn.

    Parameters
    ----------
    n_rounds : int
        Rounds at most.
    learning_rate : float
        The rate to start with.
    n_samples : int
        Training rows; the patience is longer for small tables, whose validation loss is noisy.
    budget : Budget
    is_refit : bool
        Whether there are no validation rows: the latest round is the best then, and what
        ``n_rounds`` at ``learning_rate`` would learn is the aim.
    enough : float or None
        Rounds times learning rate to hurry to where time is short, if less than is usual.

    Attributes
    ----------
    best_round : int
        Number of rounds to keep.
    learning_rate : float
        The rate of the next round.
    """

    def __init__(
        self,
        n_rounds: int,
        learning_rate: float,
        n_samples: int,
        budget: Budget,
        is_refit: bool,
        enough: float | None = None,
    ) -> None:
        self.n_rounds = n_rounds
        self.learning_rate = learning_rate
        self.best_round = 0
        self._best_loss = np.inf
        self._patience = first_patience(n_samples)
        self._budget = budget
        # What is learned is counted as the sum of the learning rates so far.
        self._learned = [0.0]
        self._aim = n_rounds * learning_rate
        self._enough = _CONVERGED if enough is None else min(enough, _CONVERGED)
        self._is_refit = is_refit
        self._first_rate = learning_rate
        self._pace = Pace()
        self._next_check = _FIRST_LOOK
        self._finish_seconds = 0.0  # for each round done

    @property
    def round(self) -> int:
        """Rounds done."""
        return len(self._learned) - 1

    @property
    def mean_learning_rate(self) -> float:
        """The constant rate that learns as much in the rounds kept; for a refit."""
        return round(self._learned[self.best_round] / max(1, self.best_round), 9)

    @property
    def _no_longer_improves(self) -> bool:
        return self.round - self.best_round >= max(self._patience, 0.3 * self.best_round + 20)

    @property
    def converged_after(self) -> float | None:
        """Rounds times learning rate kept, if boosting ended because the loss no longer fell."""
        return self._learned[self.best_round] if self._no_longer_improves else None

    @property
    def hurried(self) -> bool:
        """Whether the rounds kept learned clearly faster than at the first rate."""
        return self.mean_learning_rate > HURRIED * self._first_rate

    def check_learned(self, family: str) -> None:
        """Raise when the budget left no time for a single round."""
        if not self.best_round:
            raise _out_of_time(family)

    def record(self, loss: float | None) -> None:
        """Count a round with its validation loss, None in a refit."""
        self._pace.tick()
        self._learned.append(self._learned[-1] + self.learning_rate)
        if loss is None or loss < self._best_loss or self.best_round == 0:
            self.best_round = self.round
            self._best_loss = np.inf if loss is None else loss

    def stops(self) -> bool:
        """Return whether to stop: all learned, no better for long, or no time for another round."""
        return (
            self.round >= self.n_rounds
            or self._learned[-1] > self._aim - 0.5 * self.learning_rate
            or self._no_longer_improves
            or self._time_to_boost() <= self._pace.seconds + self._finish_seconds
        )

    def rehearse(
        self,
        write: Callable[[], Written],
        predict: Callable[[Written, FeatureTable], object],
        valid: FeatureTable | None,
    ) -> None:
        """Time what ends the fit, now and then, so that the last round leaves time for it.

        Writing many trees out and validating them can take half of the time of growing them.

        Parameters
        ----------
        write : callable
            Returns the trees as they are kept.
        predict : callable
            Given those and features, does what predicting does.
        valid : FeatureTable or None
            The features that are predicted at the end; a few of their rows are, here.
        """
        if not self._budget.limited or self.round not in _REHEARSALS:
            return
        if self._time_to_boost() < self._pace.seconds * self.round:
            return  # too late for that: the end itself is near
        start = time.monotonic()
        trees = write()
        seconds = time.monotonic() - start
        if valid is not None:
            few = valid.take(np.arange(min(len(valid), _ROWS_REHEARSED)))
            predict(trees, few.take(np.arange(1)))  # reads the trees
            read = time.monotonic() - start
            predict(trees, few)
            per_row = (time.monotonic() - start - read) / len(few)
            seconds = read + per_row * len(valid)
        self._finish_seconds = _MORE_IN_EARNEST * seconds / self.best_round

    def hastens(self) -> bool:
        """Set `learning_rate` to converge in the time left; True if it changed.

        Looks at the measured pace after 8, 16, 32, ... rounds, first after 3 where 8 would be much
        of the time; the rate never falls below the one to start with. Never without a deadline, so
        that the seed alone decides the result then.
        """
        if not self._budget.limited or not self._looks():
            return False
        self._next_check = 2 * self.round
        seconds = max(1e-9, self._pace.seconds + self._finish_seconds)
        affordable = max(1.0, self._time_to_boost() / seconds)
        aim = self._aim if self._is_refit else min(self._aim, self._enough)
        needed = (aim - self._learned[-1]) / affordable
        rate = max(self._first_rate, min(needed, MAX_LEARNING_RATE))
        if 1 / 1.2 < rate / self.learning_rate < 1.2:
            return False
        self.learning_rate = rate
        return True

    def _looks(self) -> bool:
        """Return whether it is time to look at the pace."""
        if self._next_check == _FIRST_LOOK and self.round >= _EARLY_LOOK:
            seconds = _FIRST_LOOK * self._pace.seconds
            return seconds > _MUCH_TIME * self._time_to_boost() or self.round >= _FIRST_LOOK
        return self.round >= self._next_check

    def _time_to_boost(self) -> float:
        """Return the seconds left without those that the rounds done will need at the end."""
        return self._budget.remaining() - self._finish_seconds * self.round


class Pace:
    """Seconds of a round, as the median of the latest ones: a stall tells nothing of the rest.

    Attributes
    ----------
    seconds : float
        0 before the first round.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._last = time.monotonic()
        self._latest: deque[float] = deque(maxlen=15)

    def tick(self) -> None:
        """Note that a round has ended."""
        now = time.monotonic()
        self._latest.append(now - self._last)
        self._last = now
        self.seconds = float(statistics.median(self._latest))


def quickest_threads(
    start: Callable[[int], Callable[[], object]],
    n_threads: int,
    shape: tuple[int, int],
    budget: Budget,
) -> int:
    """Return ``n_threads``, or 1 where the table is small or rounds are clearly quicker with one.

    Threads wait for each other in each round. Where something else computes, or other pools of
    threads exist in the process, that can take many times as long as the work (decision 6).

    Parameters
    ----------
    start : callable
        Given a number of threads, returns what boosts one round with them.
    n_threads : int
    shape : (int, int)
        Training rows and features. Few values are for one thread (decision 40), and with many rows
        threads work longer than they can wait: nothing is tried.
    budget : Budget
        Without a deadline nothing is tried; few values are for one thread all the same.
    """
    n_samples, n_features = shape
    if n_samples * n_features <= _ONE_THREAD_VALUES:
        return 1
    if n_threads == 1 or not budget.limited or n_samples > _WORTH_ALL_THREADS:
        return n_threads
    together = _seconds_of_a_round(start(n_threads), budget)
    if together > _LONG_ROUND:
        return n_threads
    return 1 if _seconds_of_a_round(start(1), budget) < _CLEARLY * together else n_threads


def _seconds_of_a_round(boost: Callable[[], object], budget: Budget) -> float:
    """Return the seconds of a quick round, the first left out unless it is slow."""
    quickest = math.inf
    for number in range(_TRIAL_ROUNDS):
        start = time.monotonic()
        boost()
        seconds = time.monotonic() - start
        if (number == 0 and seconds > _LONG_ROUND) or budget.expired():
            return seconds
        if number > 0:
            quickest = min(quickest, seconds)
    return quickest


def first_patience(n_samples: int) -> int:
    """Return the rounds without improvement to wait for early in training."""
    return int(np.clip(1_000_000 / max(1, n_samples), 20, 100))


def rounds_times_rate(chosen: Mapping[str, Any]) -> float | None:
    """Return rounds times learning rate; None where all targets were the same, nothing chosen."""
    return chosen["n_rounds"] * chosen["learning_rate"] if chosen else None


def default_learning_rate(n_samples: int) -> float:
    """Return a learning rate for a table of ``n_samples`` training rows."""
    return 0.03 if n_samples < 3_000 else 0.05


def check_can_boost(family: str, table: FeatureTable, budget: Budget) -> None:
    """Raise when there is nothing to split on, or no time left to do it."""
    if not _varies(table):
        raise DataError(
            f"{family} needs at least one feature with two different values, got "
            f"{table.n_features} features and none that varies; use the family 'prior'."
        )
    if budget.expired():
        raise _out_of_time(family)


def _out_of_time(family: str) -> OutOfTimeError:
    return OutOfTimeError(
        f"{family} needs time for at least one tree, got a budget that has ended; "
        "raise the time limit."
    )


def _varies(table: FeatureTable) -> bool:
    """Return whether some feature has two different values, missing counted as one."""
    few = table.take(np.arange(min(len(table), _ROWS_TO_SEE_THAT_IT_VARIES)))
    return _differs(few) or (len(few) < len(table) and _differs(table))


def _differs(table: FeatureTable) -> bool:
    for column in (*table.codes.T, *table.numeric.T):
        missing = np.isnan(column)
        present = column[~missing]
        if len(present) and (missing.any() or (present != present[0]).any()):
            return True
    return False
