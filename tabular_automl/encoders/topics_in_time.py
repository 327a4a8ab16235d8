"""Topics of the texts of a training table, where there is time to find them in all of its rows."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd

from tabular_automl.core.budget import Budget
from tabular_automl.data.table import FeatureTable
from tabular_automl.encoders.base import ColumnEncoder
from tabular_automl.encoders.storage import distinct_cells

FEW_ROWS = 20_000  # so many texts are read to find topics at all
_ROWS_TIMED = 2_000


def learn_in_time(
    encoder: ColumnEncoder, column: pd.Series, budget: Budget
) -> tuple[FeatureTable, bool]:
    """Fit an encoder, and return the training rows' features and whether topics are left out.

    They are, for good, where to find them would take longer than the budget: a million reviews take
    minutes. What the other features take, and the topics of few rows, is not asked.

    Parameters
    ----------
    encoder : ColumnEncoder
        Not fitted yet.
    column : Series of shape (n_samples,)
    budget : Budget
        One that has ended leaves out what any budget may.
    """
    may_have_topics = type(encoder).topics is not ColumnEncoder.topics
    if not (may_have_topics and budget.limited and len(column) > FEW_ROWS):
        return encoder.fit_transform(column), False
    encoder.fit(column)
    too_slow = len(encoder.topics) > 0 and _seconds(encoder, column) > budget.remaining()
    if too_slow:
        encoder.forget_topics()
    return encoder.transform(column), too_slow


def _seconds(encoder: ColumnEncoder, column: pd.Series) -> float:
    """Return about how long the features of all rows take, each text counted once."""
    _, first_rows = np.unique(distinct_cells(column)[0], return_index=True)
    spread = np.linspace(0, len(first_rows) - 1, min(len(first_rows), _ROWS_TIMED))
    rows = column.iloc[np.sort(first_rows)[spread.astype(np.intp)]]
    start = time.monotonic()
    encoder.transform(rows)
    return (time.monotonic() - start) * len(first_rows) / len(rows)
