"""Which texts have topics that tell nothing of the target beyond all other features.

Topics are found without the target. Those of names, say, are dozens of features of noise, which no
model of few rows sees through: leaving them out helps every family of models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tabular_automl.core.parallel import run_parallel
from tabular_automl.data.folds import Folds
from tabular_automl.data.table import Samples
from tabular_automl.data.task import Task
from tabular_automl.models.quick_boosting import MOST_CLASSES, boost_quickly, quick_matrix

N_FOLDS = 5
_ROUNDS = 60
_FEWEST_ROWS, _FEWEST_OF_A_CLASS = 100, 10
_FEWEST_GROUPS, _GROUPS_PER_TOPIC = 30, 4  # of fewer, even what tells all could not show it
_MOST_ROWS = 20_000  # beyond them few rows are not what topics suffer from
_MOST_CELLS = 1_000_000  # one to two seconds of two cores
_PRICE = 2.0  # of a parameter, in Akaike's criterion

Floats = npt.NDArray[np.float64]
Positions = npt.NDArray[np.intp]


def idle_topics(
    samples: Samples,
    task: Task,
    make_folds: Callable[[], Folds],
    topics: Mapping[int, Positions],
    *,
    groups: npt.NDArray[np.intp] | None = None,
    seed: int,
    n_workers: int,
) -> list[int]:
    """Return the keys of the topics that explain no more of the target than chance would.

    A score test [1]_: a quick booster is cross-validated without any topics, and what it leaves
    unexplained is regressed on those of each column. ``k`` topics of noise explain ``k`` times the
    variance of one row on average; they stay if they explain twice as much or more, the price of
    ``k`` parameters in Akaike's criterion [2]_. With several classes the one that is explained best
    counts, and its choice among ``c`` costs ``log(c)`` parameters.

    It does not depend on the clock, nor on the number of workers: a fit that goes on where it was
    must find the same features.

    Parameters
    ----------
    samples : Samples
    task : Task
    make_folds : callable
        Returns `N_FOLDS` of them, or fewer; only validated rows tell.
    topics : mapping of int to ndarray of int
        Positions of each column's topics in the numeric block.
    groups : ndarray of int, shape (n_samples,), optional
        The group of each row: rows of one are no independent witnesses.
    seed, n_workers : int

    Returns
    -------
    list of int
        Empty where a table has too few rows or groups to tell, or too many rows, features or
        classes.

    References
    ----------
    .. [1] C. R. Rao (1948). Large sample tests of statistical hypotheses concerning several
       parameters. Mathematical Proceedings of the Cambridge Philosophical Society 44(1).
    .. [2] H. Akaike (1974). A new look at the statistical model identification. IEEE Transactions
       on Automatic Control 19(6).
    """
    table = samples.table
    of_topics = np.concatenate([*topics.values(), np.empty(0, dtype=np.intp)])
    others = np.setdiff1d(np.arange(len(table.numeric_names)), of_topics)
    n_others = len(others) + len(table.code_names)
    small = len(table) <= _MOST_ROWS and len(table) * n_others <= _MOST_CELLS
    if not (topics and n_others and small and task.n_classes <= MOST_CLASSES):
        return []
    folds = make_folds()
    rows = folds.validated
    rest = Samples(table.of_numeric(others), _even(samples.y, task), samples.weight)
    left = _unexplained(rest, task, folds, seed, n_workers)[rows]
    weight = np.ones(len(rows)) if samples.weight is None else samples.weight[rows]
    counted = weight > 0.0
    if not np.isfinite(left).all() or np.count_nonzero(counted) < _FEWEST_ROWS:
        return []
    groups = np.arange(len(rows)) if groups is None else groups[rows]
    rows, left, weight, groups = rows[counted], left[counted], weight[counted], groups[counted]
    n_groups = len(np.unique(groups))
    return [
        key
        for key, at in topics.items()
        if n_groups >= max(_FEWEST_GROUPS, _GROUPS_PER_TOPIC * len(at))
        and not _tell(np.nan_to_num(table.numeric[:, at][rows]), left, weight, groups)
    ]


def _even(y: npt.NDArray[Any], task: Task) -> npt.NDArray[Any]:
    """Return classes as they are and values by their rank: a few of them must not decide."""
    if task.is_classification:
        return y
    from scipy.stats import rankdata

    ranks: npt.NDArray[Any] = rankdata(y) / len(y)
    return ranks


def _unexplained(samples: Samples, task: Task, folds: Folds, seed: int, n_workers: int) -> Floats:
    """Return what quick boosters of other rows do not explain of each output.

    Those are the value, or the indicators of classes with enough rows to tell; only one of two
    classes, since the other's mirrors it. Shape (n_samples, n_outputs).
    """
    matrix, y = quick_matrix(samples.table), samples.y
    classes, n_rows = np.unique(y, return_counts=True)
    outputs = y[:, None].astype(np.float64)
    if task.is_classification:
        outputs = (y[:, None] == classes).astype(np.float64)

    def expected(fold: int) -> Floats:
        train, valid = folds.train[fold], folds.valid[fold]
        found = np.repeat(outputs[train[:1]], len(valid), axis=0)
        known = np.flatnonzero(np.ptp(outputs[train], axis=0) > 0.0)
        if len(known):  # not all rows of one class
            learned = samples.take(train)
            booster = boost_quickly(
                learned, task, _ROUNDS, seed, n_threads=1, num_leaves=15, min_data_in_leaf=10
            )
            told = np.asarray(booster.predict(matrix[valid], num_threads=1), dtype=np.float64)
            if len(known) == 2:
                told = np.column_stack([1.0 - told, told])
            found[:, known] = told.reshape(len(valid), -1)
        return found

    left = outputs.copy()
    # One thread each: two of one booster wait for each other, and those of other models for them.
    for fold, found in enumerate(run_parallel(expected, range(len(folds)), n_workers)):
        left[folds.valid[fold]] -= found
    if task.is_classification:
        left = left[:, n_rows >= _FEWEST_OF_A_CLASS]
    return left[:, :1] if left.shape[1] == 2 else left


def _tell(
    features: npt.NDArray[np.float32],
    left: Floats,
    weight: Floats,
    groups: npt.NDArray[np.intp],
) -> bool:
    """Return whether the features explain enough of what is left, beyond what noise would.

    The variance of each sum is that of its groups' parts (of its rows' without groups), which holds
    for rows of uneven weight and spread, and for groups whose rows resemble each other.
    """
    centred = [each - np.average(each, axis=0, weights=weight) for each in (features, left)]
    directions, sizes, _ = np.linalg.svd(
        centred[0] * np.sqrt(weight / weight.mean())[:, None], full_matrices=False
    )
    directions = directions[:, sizes > 1e-6 * sizes.max(initial=0.0)]
    directions = directions * np.sqrt(weight)[:, None]
    order = np.argsort(groups, kind="stable")
    starts = np.unique(groups[order], return_index=True)[1]
    explained = []
    for output in centred[1].T:
        parts = np.add.reduceat((directions * output[:, None])[order], starts, axis=0)
        variance = np.sum(parts**2, axis=0)
        varies = variance > 0.0
        explained.append(np.sum(parts.sum(axis=0)[varies] ** 2 / variance[varies]))
    n_parameters = directions.shape[1] + np.log(len(explained))
    return bool(directions.shape[1] and max(explained) >= _PRICE * n_parameters)
