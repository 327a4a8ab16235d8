"""Which columns the predictions rest on: permutation importance by original column."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tabular_automl.core.budget import Budget
from tabular_automl.inspection.evaluation import LabelledRows
from tabular_automl.metrics.base import Metric

Array = npt.NDArray[Any]

_N_ROWS = 2_000
_N_ROWS_AT_LEAST = 200
_N_ROWS_OF_A_CLASS = 2


def permutation_importance(
    predict: Callable[[pd.DataFrame], Array],
    rows: LabelledRows,
    metric: Metric,
    *,
    columns: Sequence[Hashable],
    n_repeats: int = 5,
    budget: Budget | None = None,
) -> pd.DataFrame:
    """Return how much the score drops when a column's values are shuffled [1]_.

    At most 2,000 rows are used, drawn in proportion to the classes, and the same ones at each call.
    All shuffles of a column are predicted in one call. Under a deadline, fewer shuffles of fewer
    rows are made, as many as the time is seen to allow; columns that it still does not reach are
    left out.

    Parameters
    ----------
    predict : callable
        Takes a table and returns predictions of shape (n_samples, n_outputs).
    rows : LabelledRows
    metric : Metric
    columns : sequence of hashable
        The columns to shuffle, one at a time.
    n_repeats : int
        Shuffles of each column.
    budget : Budget, optional

    Returns
    -------
    DataFrame
        Indexed by column, best first: ``importance``, the mean drop of the score; ``stddev``, its
        standard deviation over shuffles; ``n``, their number.

    References
    ----------
    .. [1] Breiman, "Random Forests", Machine Learning 45, 2001.
    """
    deadline = budget or Budget.unlimited()
    rng = np.random.default_rng(0)
    rows = rows.counted()
    judge = _Judge(predict, metric, rows.take(_draw_rows(rows.y, _N_ROWS, rng)))
    start = time.monotonic()
    baseline = judge.score_of_untouched()
    seconds = time.monotonic() - start
    n_repeats, n_kept = _afford(
        deadline.remaining(), seconds * max(len(columns), 1), n_repeats, len(judge.rows.y)
    )
    if n_kept < len(judge.rows.y):
        judge = judge.take(_draw_rows(judge.rows.y, n_kept, rng))
        baseline = judge.score_of_untouched()
    stacked = judge.stack(n_repeats)
    drops: dict[Hashable, Array] = {}
    for column in columns:
        if deadline.expired():
            break
        drops[column] = baseline - judge.scores_when_shuffled(stacked, column, rng)
    return _summary(drops)


@dataclass(frozen=True)
class _Judge:
    """Rows with their target, and the scores that predictions for them get."""

    predict: Callable[[pd.DataFrame], Array]
    metric: Metric
    rows: LabelledRows

    def take(self, positions: Array) -> _Judge:
        """Return a judge of the rows at some positions."""
        return replace(self, rows=self.rows.take(positions))

    def score_of_untouched(self) -> float:
        """Return the score of the rows as they are."""
        return self._score(self.predict(self.rows.table))

    def stack(self, n_repeats: int) -> pd.DataFrame:
        """Return the rows ``n_repeats`` times, one copy below the other."""
        return self.rows.table.take(np.tile(np.arange(len(self.rows.y)), n_repeats))

    def scores_when_shuffled(
        self, stacked: pd.DataFrame, column: Hashable, rng: np.random.Generator
    ) -> Array:
        """Return the score of a shuffle of ``column`` in each copy of the rows, from one call."""
        table = self.rows.table
        n_repeats = len(stacked) // len(table)
        shuffles = np.concatenate([rng.permutation(len(table)) for _ in range(n_repeats)])
        shuffled = stacked.copy(deep=False)  # the other columns are shared, not copied
        shuffled[column] = table[column].array.take(shuffles)
        predictions = np.split(np.asarray(self.predict(shuffled)), n_repeats)
        return np.array([self._score(part) for part in predictions])

    def _score(self, prediction: Array) -> float:
        return self.metric.score(self.rows.y, prediction, self.rows.weight)


def _draw_rows(y: Array, n_rows: int, rng: np.random.Generator) -> Array:
    """Return sorted row positions, every class kept in proportion and by two rows at least."""
    if len(y) <= n_rows:
        return np.arange(len(y))
    if y.dtype.kind not in "iu":
        return np.sort(rng.choice(len(y), n_rows, replace=False))
    parts = []
    for code in np.unique(y):
        rows = np.flatnonzero(y == code)
        share = max(round(n_rows * len(rows) / len(y)), _N_ROWS_OF_A_CLASS)
        parts.append(rng.choice(rows, min(share, len(rows)), replace=False))
    return np.sort(np.concatenate(parts))


def _afford(
    seconds_left: float, seconds_of_all: float, n_repeats: int, n_rows: int
) -> tuple[int, int]:
    """Return how many shuffles of how many rows there is time for.

    ``seconds_of_all`` is what one shuffle of every column would take on ``n_rows`` rows.
    """
    if seconds_of_all * n_repeats <= seconds_left:
        return n_repeats, n_rows
    share = seconds_left / seconds_of_all
    return max(1, int(share)), min(n_rows, max(_N_ROWS_AT_LEAST, int(share * n_rows)))


def _summary(drops: dict[Hashable, Array]) -> pd.DataFrame:
    rows = [
        (drop.mean(), drop.std(ddof=1) if len(drop) > 1 else np.nan, len(drop))
        for drop in drops.values()
    ]
    index = pd.Index(list(drops), dtype=object if not drops else None, tupleize_cols=False)
    summary = pd.DataFrame(rows, columns=["importance", "stddev", "n"], index=index)
    return summary.sort_values("importance", ascending=False, kind="stable")
