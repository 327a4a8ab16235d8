"""Features that tell the label alone, as what is only known afterwards does."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tabular_automl.core.budget import Budget
from tabular_automl.core.imports import seconds_to_import
from tabular_automl.data.table import Samples
from tabular_automl.data.task import Task

_FEWEST_ROWS, _MOST_ROWS = 100, 4_000
_MOST_FEATURES = 300
_MOST_LEAVES, _LEAST_ROWS_IN_LEAF = 16, 3
_FEWEST_OTHERS = 10  # rows of other classes than the most frequent one, to tell
_LEFT = 0.01  # of these rows, at most, may be wrong
_LEAST_RANK_CORRELATION = 0.9999
_LEAST_KNOWN = 0.9  # of the values


def giveaways(samples: Samples, task: Task, seed: int, budget: Budget) -> list[str]:
    """Return the names of features each of which tells the label of nearly every row by itself.

    A small tree of one feature is to know the class of rows that it has not seen; a value is to
    have the order of the label.

    Parameters
    ----------
    samples : Samples
        Up to 4,000 rows and 300 features of them are looked at; of fewer than 100 rows, or more
        classes than the tree has leaves (16), nothing is said.
    task : Task
    seed : int
    budget : Budget
        Once it has expired, no more features are looked at.
    """
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(samples))[:_MOST_ROWS]
    few = len(rows) < _FEWEST_ROWS or task.n_classes > _MOST_LEAVES
    if few or budget.remaining() < seconds_to_import(("sklearn",)):
        return []
    table, y = samples.table, samples.y[rows]
    names = [*table.numeric_names, *table.code_names][:_MOST_FEATURES]
    n_numeric = min(len(table.numeric_names), len(names))
    numeric = table.numeric[rows][:, :n_numeric].astype(np.float64)
    codes = table.codes[rows][:, : len(names) - n_numeric].astype(np.float64)
    matrix = np.hstack([numeric, codes])
    tells = _tells_class if task.is_classification else _tells_order
    found = []
    for name, values in zip(names, matrix.T, strict=True):
        if budget.expired():
            break
        if tells(values, y):
            found.append(name)
    return found


def _tells_class(values: npt.NDArray[np.float64], y: npt.NDArray[Any]) -> bool:
    from sklearn.tree import DecisionTreeClassifier

    is_known = ~np.isnan(values)
    below = values[is_known].min(initial=0.0) - 1.0  # a missing value may tell, too
    known = np.where(is_known, values, below)[:, None]
    half = len(y) // 2
    n_others = half - np.unique(y[:half], return_counts=True)[1].max()
    if n_others < _FEWEST_OTHERS:
        return False
    tree = DecisionTreeClassifier(
        max_leaf_nodes=_MOST_LEAVES, min_samples_leaf=_LEAST_ROWS_IN_LEAF, random_state=0
    )
    tree.fit(known[half:], y[half:])
    return bool((tree.predict(known[:half]) != y[:half]).sum() <= _LEFT * n_others)


def _tells_order(values: npt.NDArray[np.float64], y: npt.NDArray[Any]) -> bool:
    from scipy.stats import spearmanr

    known = ~np.isnan(values)
    if known.mean() < _LEAST_KNOWN or np.ptp(values[known]) == 0.0 or np.ptp(y[known]) == 0.0:
        return False
    return bool(abs(spearmanr(values[known], y[known]).statistic) >= _LEAST_RANK_CORRELATION)
