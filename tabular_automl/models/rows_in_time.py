"""As many rows of a long table as a booster has time to learn from."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from tabular_automl.core.budget import Budget
from tabular_automl.data.drawing import WORTH_DRAWING, draw_rows
from tabular_automl.data.table import Samples
from tabular_automl.models.base import Setting

MANY_ROWS = 200_000  # up to these, all are learned from
ENOUGH_ROUNDS = 100  # of trees with many leaves, below which fewer rows are better
# Rows that a few rounds are timed on: what more rows take follows from both.
_FEWER_TO_TIME, _FEW_TO_TIME = 10_000, 40_000
_SHARE_OF_FEWER_ROWS = 0.5  # of their seconds, that would grow with them, where only they are timed
_ROUNDS_TO_TIME, _SHARE_TO_TIME = 5, 0.05  # and the part of the time left that they may take
# Seconds of a round for each cell and output: boosters take a tenth to a half of it on two cores.
_AMPLE_SECONDS = 2e-8
_SHARE = 0.9  # of the time left; the rest is for what ends a fit
_LEAST_SLOPE = 0.2  # of the seconds of few rows, that grow with them at least: the clock is noisy


@dataclass(frozen=True)
class Timing:
    """What boosting some rows takes.

    Attributes
    ----------
    preparation : float
        Seconds through the first round.
    seconds : float
        Of each later round.
    """

    preparation: float
    seconds: float

    @classmethod
    def of(cls, start: Callable[[], Callable[[], object]], most_seconds: float) -> Timing:
        """Time a few rounds, fewer where they are slow.

        Parameters
        ----------
        start : callable
            Prepares them, and returns what boosts one.
        most_seconds : float
            After which no other round is begun, but for one.
        """
        began = time.monotonic()
        boost = start()
        boost()
        preparation = time.monotonic() - began
        rounds: list[float] = []
        while not rounds or (
            len(rounds) < _ROUNDS_TO_TIME and time.monotonic() - began < most_seconds
        ):
            last = time.monotonic()
            boost()
            rounds.append(time.monotonic() - last)
        return cls(preparation, statistics.median(rounds))

    def of_rounds(self, n_rounds: int) -> float:
        """Return the seconds of so many rounds."""
        return self.preparation + n_rounds * self.seconds


def rows_in_time(
    train: Samples,
    setting: Setting,
    n_rounds: int,
    budget: Budget,
    attempt: Callable[[Samples, float], Timing],
) -> tuple[Samples, int | None]:
    """Return all rows, or as many as there is time for so many rounds on, drawn at random.

    A few dozen rounds on all rows learn less than some hundred on a part of them. Up to 200,000
    rows, with ample time, and without a deadline, all are returned and nothing is timed.

    Parameters
    ----------
    train : Samples
    setting : Setting
    n_rounds : int
        Rounds below which fewer rows are better.
    budget : Budget
    attempt : callable
        Boosts a few rounds on samples, as long as so many seconds are not over, and returns the
        `Timing`.

    Returns
    -------
    (Samples, int or None)
        The second is how many were drawn, where these are not all.

    See Also
    --------
    tabular_automl.data.drawing.draw_rows : what is drawn of rare classes.
    """
    n_samples = len(train)
    if not budget.limited or n_samples <= MANY_ROWS:
        return train, None
    n_values = n_samples * train.table.n_features * max(1, setting.task.n_outputs)
    if budget.remaining() > _AMPLE_SECONDS * n_rounds * n_values:
        return train, None

    def sample_of(n_rows: int) -> Samples:
        return train.of_draw(draw_rows(setting.task, train.y, n_rows, seed=setting.seed))

    some = sample_of(_FEWER_TO_TIME)
    if not _can_be_learned_from(some):
        return train, None
    began, most = time.monotonic(), _SHARE_TO_TIME * budget.remaining()
    fewer = attempt(some, most).of_rounds(n_rounds)
    per_row = _SHARE_OF_FEWER_ROWS * fewer / _FEWER_TO_TIME
    of_no_rows = fewer - per_row * _FEWER_TO_TIME
    if _FEW_TO_TIME / _FEWER_TO_TIME * (time.monotonic() - began) < most:
        few = attempt(sample_of(_FEW_TO_TIME), most).of_rounds(n_rounds)
        slope = (few - fewer) / (_FEW_TO_TIME - _FEWER_TO_TIME)
        per_row = max(slope, _LEAST_SLOPE * few / _FEW_TO_TIME)
        of_no_rows = max(0.0, few - per_row * _FEW_TO_TIME)
    n_rows = int((_SHARE * budget.remaining() - of_no_rows) / per_row)
    if n_rows > WORTH_DRAWING * n_samples:
        return train, None
    drawn = sample_of(max(n_rows, _FEW_TO_TIME))
    return drawn, len(drawn)


def _can_be_learned_from(some: Samples) -> bool:
    """Return whether rows differ in their target, and any of them counts."""
    counts = some.weight is None or some.weight.sum() > 0.0
    return bool(counts and (some.y != some.y[0]).any())
