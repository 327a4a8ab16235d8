"""As many rows of a long table as a booster has time to learn from."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from tabular_automl.core.budget import Budget
from tabular_automl.data.drawing import draw_rows
from tabular_automl.data.table import Samples
from tabular_automl.data.task import Task

MANY_ROWS = 200_000  # up to these, all are learned from
ENOUGH_ROUNDS = 100  # of trees with many leaves, below which fewer rows are better
# Rows that a few rounds are timed on: what more rows take follows from both.
_FEWER_TO_TIME, _FEW_TO_TIME = 10_000, 40_000
_ROUNDS_TO_TIME = 5
_SHARE = 0.9  # of the time left; the rest is for what ends a fit
_LEAST_SLOPE = 0.2  # of the seconds of few rows, that grow with them at least: the clock is noisy
_WORTH_DRAWING = 0.8  # of the rows: to leave out less than a fifth of them gains nothing


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
    def of(cls, start: Callable[[], Callable[[], object]]) -> Timing:
        """Time a few rounds; ``start`` prepares them and returns what boosts one."""
        began = time.monotonic()
        boost = start()
        boost()
        preparation = time.monotonic() - began
        rounds = []
        for _ in range(_ROUNDS_TO_TIME):
            began = time.monotonic()
            boost()
            rounds.append(time.monotonic() - began)
        return cls(preparation, statistics.median(rounds))

    def of_rounds(self, n_rounds: int) -> float:
        """Return the seconds of so many rounds."""
        return self.preparation + n_rounds * self.seconds


def rows_in_time(
    train: Samples,
    task: Task,
    seed: int,
    n_rounds: int,
    budget: Budget,
    attempt: Callable[[Samples], Timing],
) -> Samples:
    """Return all rows, or as many as there is time for so many rounds on, drawn at random.

    A few dozen rounds on all rows learn less than some hundred on a part of them. Up to 200,000
    rows, and without a deadline, all are returned and nothing is timed.

    Parameters
    ----------
    train : Samples
    task : Task
    seed : int
    n_rounds : int
        Rounds below which fewer rows are better.
    budget : Budget
    attempt : callable
        Boosts a few rounds on the samples that it is given.

    See Also
    --------
    tabular_automl.data.drawing.draw_rows : what is drawn of rare classes.
    """
    n_samples = len(train)
    if not budget.limited or n_samples <= MANY_ROWS:
        return train

    def drawn(n_rows: int) -> Samples:
        return train.of_draw(draw_rows(task, train.y, n_rows, seed=seed))

    sizes = (_FEWER_TO_TIME, _FEW_TO_TIME)
    fewer, few = (attempt(drawn(size)).of_rounds(n_rounds) for size in sizes)
    per_row = max((few - fewer) / (sizes[1] - sizes[0]), _LEAST_SLOPE * few / sizes[1])
    of_no_rows = max(0.0, few - per_row * sizes[1])
    n_rows = int((_SHARE * budget.remaining() - of_no_rows) / per_row)
    return train if n_rows > _WORTH_DRAWING * n_samples else drawn(max(n_rows, sizes[1]))
