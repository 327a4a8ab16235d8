"""Small bags of any family on numbers, some missing, and categories of few and many levels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tabular_automl.core.budget import Budget
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.data.task import ProblemType, Task
from tabular_automl.ensemble.bagging import Bag
from tabular_automl.models.base import MODELS, FittedSpec, ModelSpec, Setting

BINARY = Task(ProblemType.BINARY, 2)
FOUR_CLASSES = Task(ProblemType.MULTICLASS, 4)
REGRESSION = Task(ProblemType.REGRESSION)
FAMILIES = {
    "lightgbm": {"n_rounds": 15, "min_data_per_group": 2, "max_cat_to_onehot": 4},
    "xgboost": {"n_rounds": 15},
    "catboost": {"n_rounds": 15, "one_hot_max_size": 4},
    "extra_trees": {"n_trees": 7},
    "random_forest": {"n_trees": 1},
    "linear": {"regularization": 1.0, "n_knots": 4},
    "neighbors": {},
}


def features(n_rows, seed=0):
    """Return numbers, some missing, and categories of 3, 30 and 90 levels."""
    rng = np.random.default_rng(seed)
    numeric = rng.normal(size=(n_rows, 4)).astype(np.float32)
    numeric[:, 3] = np.round(numeric[:, 3])
    numeric[rng.random((n_rows, 4)) < 0.1] = np.nan
    n_levels = (3, 30, 90)
    codes = np.column_stack([rng.integers(0, n, n_rows) for n in n_levels]).astype(np.int32)
    return FeatureTable(numeric, codes, ("a", "b", "c", "d"), ("x", "y", "z"), n_levels)


def samples_of(task, n_rows=240):
    table = features(n_rows)
    signal = np.nan_to_num(table.numeric[:, 0]) + table.codes[:, 1] % 5 - (table.codes[:, 2] > 40)
    if not task.is_classification:
        return Samples(table, (signal - signal.mean()) / signal.std())
    cuts = np.quantile(signal, np.linspace(0, 1, task.n_classes + 1)[1:-1])
    return Samples(table, np.searchsorted(cuts, signal).astype(np.int64))


def only(table, block):
    """Return a table with the other of its blocks empty; all of it for None."""
    n_rows = len(table)
    if block is None:
        return table
    if block == "numeric":
        return FeatureTable(table.numeric, np.empty((n_rows, 0), np.int32), table.numeric_names)
    none = np.empty((n_rows, 0), np.float32)
    return FeatureTable(none, table.codes, (), table.code_names, table.n_levels)


def bag_of(family, task, loss=None, drop_class=None, block=None, **params):
    samples = samples_of(task)
    samples = replace(samples, table=only(samples.table, block))
    loss = loss or ("log_loss" if task.is_classification else "squared_error")
    models = []
    for fold in range(3):
        rows = np.flatnonzero(np.arange(len(samples)) % 3 != fold)
        if drop_class is not None and fold == 1:
            rows = rows[samples.y[rows] != drop_class]
        spec = ModelSpec.make(family, **params)
        model = MODELS.get(family)(spec.params, Setting(task, loss, seed=fold))
        model.fit(samples.take(rows), None, Budget.unlimited())
        models.append(FittedSpec(family, model))
    return Bag(family, 1, tuple(models))
