"""Time between the date columns of a row, which no single column tells."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from tabular_automl.data.table import FeatureTable

# Pairs grow with the square: tables with more date columns get those of the first ones.
MAX_COLUMNS = 5
DAY = 86_400.0

Instants = dict[Hashable, npt.NDArray[np.float64]]
Pair = tuple[Hashable, Hashable]


def choose_pairs(instants: Instants) -> list[Pair]:
    """Return the pairs of date columns whose distance may tell something, (earlier, later) listed.

    Times of day have no date to count from and are left out.
    """
    dated = [name for name, seconds in instants.items() if _has_dates(seconds)]
    return list(combinations(dated[:MAX_COLUMNS], 2))


def interval_table(instants: Instants, pairs: Sequence[Pair], n_rows: int) -> FeatureTable:
    """Return the days from the first column of each pair to the second, one feature for each.

    Parameters
    ----------
    instants : dict of column name to ndarray of shape (n_samples,)
        Seconds since 1970, NaN where missing.
    """
    block = np.empty((n_rows, len(pairs)), dtype=np.float32)
    for i, (first, second) in enumerate(pairs):
        block[:, i] = (instants[second] - instants[first]) / DAY
    names = tuple(f"{second}:since {first}" for first, second in pairs)
    return FeatureTable(block, np.empty((n_rows, 0), dtype=np.int32), names)


def _has_dates(seconds: npt.NDArray[np.float64]) -> bool:
    known = seconds[~np.isnan(seconds)]
    return bool(len(known) and ((known < 0) | (known >= DAY)).any())
