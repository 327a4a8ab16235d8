"""A few trees, to learn in a second what features are worth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tabular_automl.core.budget import Budget
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.data.task import Task

if TYPE_CHECKING:
    import lightgbm

ROWS = 20_000  # enough to tell, where a part of them will do
MOST_CLASSES, MOST_FEATURES = 10, 500  # beyond which it would take long
_BINS = 63
_TREES = 150  # in all, for several classes


def boost_quickly(
    samples: Samples,
    task: Task,
    n_rounds: int,
    seed: int,
    *,
    n_threads: int,
    budget: Budget | None = None,
    **options: Any,
) -> lightgbm.Booster:
    """Return a small booster of the samples; it predicts from their `quick_matrix`.

    Parameters
    ----------
    samples : Samples
        The target of a classification may lack classes; the booster knows those that occur.
    task : Task
    n_rounds : int
        Fewer for several classes.
    seed, n_threads : int
    budget : Budget, optional
        Where it ends, so do the rounds.
    **options
        LightGBM's own, instead of those here.
    """
    import lightgbm

    def stop_in_time(environment: Any) -> None:
        if budget is not None and budget.expired():
            raise lightgbm.callback.EarlyStopException(environment.iteration, [])

    y, objective = _target(samples, task)
    bins = {"max_bin": _BINS}
    options = {
        **objective,
        **bins,
        "num_leaves": 31,
        "learning_rate": 0.1,
        "feature_fraction": 0.7,
        "seed": seed,
        "num_threads": n_threads,
        "deterministic": True,
        "force_col_wise": True,
        "verbosity": -1,
        **options,
    }
    n_rounds = min(n_rounds, max(1, _TREES // objective.get("num_class", 1)))
    data = lightgbm.Dataset(quick_matrix(samples.table), y, weight=samples.weight, params=bins)
    return lightgbm.train(options, data, n_rounds, callbacks=[stop_in_time])


def quick_matrix(table: FeatureTable) -> npt.NDArray[np.float32]:
    """Return both blocks side by side, levels as numbers: few rows, so not kept at the root."""
    return np.hstack([table.numeric, table.codes.astype(np.float32)])


def some_rows(n_rows: int, seed: int) -> npt.NDArray[np.intp]:
    """Return all rows or, of more than are needed, some drawn at random, in order."""
    if n_rows <= ROWS:
        return np.arange(n_rows)
    return np.sort(np.random.default_rng(seed).choice(n_rows, ROWS, replace=False))


def _target(samples: Samples, task: Task) -> tuple[npt.NDArray[Any], dict[str, Any]]:
    """Return the target and the objective of the classes that occur."""
    if not task.is_classification:
        return samples.y, {"objective": "regression"}
    classes, y = np.unique(samples.y, return_inverse=True)
    if len(classes) > 2:
        return y, {"objective": "multiclass", "num_class": len(classes)}
    return y, {"objective": "binary"}
