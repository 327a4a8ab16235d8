"""Which texts have topics that tell nothing of the target beyond all other features.

Topics are found without the target. Those of names, say, are dozens of features of noise, which no
model of few rows sees through: leaving them out helps every family of models.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tabular_automl.data.folds import make_folds
from tabular_automl.data.table import Samples
from tabular_automl.data.task import Task
from tabular_automl.models.quick_boosting import (
    MOST_CLASSES,
    MOST_FEATURES,
    ROWS,
    boost_quickly,
    quick_matrix,
)

_N_FOLDS, _ROUNDS = 5, 60
_FEWEST_ROWS = 100
# Akaike's price of a parameter: what does not explain twice what chance would makes a model worse.
_LEAST_BEYOND_CHANCE = 2.0

Floats = npt.NDArray[np.float64]
Positions = npt.NDArray[np.intp]


def idle_topics(
    samples: Samples, task: Task, topics: Mapping[int, Positions], *, seed: int, n_threads: int
) -> list[int]:
    """Return the keys of the topics that explain no more of the target than chance would.

    A score test [1]_: a quick booster is cross-validated without any topics, and what it leaves
    unexplained is regressed on those of each column. Of noise, k topics explain k times the
    variance of one row; fewer than twice as much is not worth their place (as in Akaike's
    criterion).

    Parameters
    ----------
    samples : Samples
    task : Task
    topics : mapping of int to ndarray of int
        Positions of each column's topics in the numeric block.
    seed, n_threads : int

    Returns
    -------
    list of int
        None of tables that are large, wide, of many classes or of very few rows.

    References
    ----------
    .. [1] C. R. Rao (1948). Large sample tests of statistical hypotheses concerning several
       parameters. Mathematical Proceedings of the Cambridge Philosophical Society 44(1).
    """
    table = samples.table
    is_quick = len(samples) <= ROWS and table.n_features <= MOST_FEATURES
    if not (
        topics and is_quick and len(samples) >= _FEWEST_ROWS and task.n_classes <= MOST_CLASSES
    ):
        return []
    every = np.concatenate(list(topics.values()))
    others = np.setdiff1d(np.arange(len(table.numeric_names)), every)
    if not len(others) + len(table.code_names):
        return []
    rest = Samples(table.of_numeric(others), _even(samples.y, task), samples.weight)
    left = _unexplained(rest, task, seed, n_threads)
    weight = np.ones(len(samples)) if samples.weight is None else samples.weight
    return [
        key
        for key, at in topics.items()
        if _beyond_chance(table.numeric[:, at], left, weight) < _LEAST_BEYOND_CHANCE
    ]


def _even(y: npt.NDArray[np.generic], task: Task) -> npt.NDArray[np.generic]:
    """Return classes as they are and values by their rank: a few of them must not decide."""
    if task.is_classification:
        return y
    from scipy.stats import rankdata

    ranks: npt.NDArray[np.generic] = rankdata(y) / len(y)
    return ranks


def _unexplained(samples: Samples, task: Task, seed: int, n_threads: int) -> Floats:
    """Return what a quick booster of other rows does not explain, shape (n_samples, n_outputs)."""
    matrix, y = quick_matrix(samples.table), samples.y
    outputs = y[:, None].astype(np.float64)
    if task.is_classification:
        outputs = (y[:, None] == np.unique(y)).astype(np.float64)
    folds = make_folds(task, y, n_folds=_N_FOLDS, seed=seed)
    left = outputs.copy()
    for train, valid in zip(folds.train, folds.valid, strict=True):
        known = np.ptp(outputs[train], axis=0) > 0
        if not known.any():  # all rows of one class
            left[valid] -= outputs[train[:1]]
            continue
        booster = boost_quickly(
            samples.take(train),
            task,
            n_rounds=_ROUNDS,
            seed=seed,
            n_threads=n_threads,
            num_leaves=15,
            min_data_in_leaf=10,
        )
        found = np.asarray(booster.predict(matrix[valid]), dtype=np.float64)
        if known.sum() == 2:
            found = np.column_stack([1.0 - found, found])
        left[np.ix_(valid, np.flatnonzero(known))] -= found.reshape(len(valid), -1)
    return left


def _beyond_chance(features: npt.NDArray[np.float32], left: Floats, weight: Floats) -> float:
    """Return how many times as much of what is left the features explain as noise would."""
    weight = weight / weight.mean()
    scale = np.sqrt(weight)[:, None]
    centred = [(x - np.average(x, axis=0, weights=weight)) * scale for x in (features, left)]
    directions, sizes, _ = np.linalg.svd(centred[0], full_matrices=False)
    directions = directions[:, sizes > 1e-6 * sizes.max(initial=0.0)]
    # Rows of uneven weight are as few as their weights' square says.
    variance = np.mean(centred[1] ** 2, axis=0) * np.mean(weight**2)
    if not directions.shape[1] or not variance.max() > 0.0:
        return 0.0
    explained = np.sum((directions.T @ centred[1]) ** 2, axis=0)[variance > 0.0]
    return float(np.mean(explained / variance[variance > 0.0]) / directions.shape[1])
