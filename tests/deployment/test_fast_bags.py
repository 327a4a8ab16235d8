"""Joined bags equal the ordinary ones, and what does not equal them is not used."""

from dataclasses import replace

import numpy as np
import pytest

from tabular_automl.core.budget import Budget
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.data.task import ProblemType, Task
from tabular_automl.deployment import fast_bags
from tabular_automl.deployment.fast_bags import FEW_ROWS, fast_bag, probe_table
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


def bag_of(family, task, loss=None, drop_class=None, **params):
    samples = samples_of(task)
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


def assert_joined_and_equal(bag):
    table = probe_table(features(0), [bag])
    fast = fast_bag(bag, table, 1)
    assert fast.reason == ""
    others = features(FEW_ROWS, seed=5)
    np.testing.assert_allclose(fast.predict(others), bag.predict(others), rtol=1e-6, atol=1e-6)
    assert not fast.predict(others.take([])).size


@pytest.mark.parametrize("task", [BINARY, FOUR_CLASSES, REGRESSION], ids=lambda t: t.problem_type)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_joined_bag_predicts_what_its_folds_do(family, task):
    assert_joined_and_equal(bag_of(family, task, **FAMILIES[family]))


@pytest.mark.parametrize("drop_class", [0, 3])
@pytest.mark.parametrize("family", ["lightgbm", "xgboost", "catboost"])
def test_a_fold_without_one_of_the_classes_is_joined_too(family, drop_class):
    params = FAMILIES[family]
    assert_joined_and_equal(bag_of(family, FOUR_CLASSES, drop_class=drop_class, **params))


@pytest.mark.parametrize("family", ["lightgbm", "xgboost", "catboost", "neighbors"])
def test_absolute_errors_are_joined(family):
    params = FAMILIES[family]
    assert_joined_and_equal(bag_of(family, REGRESSION, loss="absolute_error", **params))


def test_linear_leaves_are_joined():
    bag = bag_of("lightgbm", REGRESSION, n_rounds=15, linear_tree=True, num_leaves=6)
    assert_joined_and_equal(bag)


def test_deep_and_shallow_folds_are_joined():
    bags = [bag_of("catboost", REGRESSION, n_rounds=n, depth=d) for n, d in ((3, 2), (20, 6))]
    assert_joined_and_equal(Bag("mixed", 1, bags[0].models[:2] + bags[1].models[:1]))


def test_trees_that_are_not_symmetric_are_left_to_catboost():
    bag = bag_of("catboost", BINARY, n_rounds=10, grow_policy="Lossguide")
    fast = fast_bag(bag, probe_table(features(0), [bag]), 1)
    assert fast.joined is None
    assert "must be symmetric" in fast.reason
    others = features(20, seed=5)
    np.testing.assert_array_equal(fast.predict(others), bag.predict(others))


@pytest.mark.parametrize(
    ("family", "limit"),
    [("catboost", "joined_catboost._MOST_BYTES"), ("extra_trees", "joined_forest._MOST_NODES")],
)
def test_trees_that_are_too_many_are_left_to_the_models(family, limit, monkeypatch):
    monkeypatch.setattr(f"tabular_automl.deployment.{limit}", 10)
    bag = bag_of(family, BINARY, **FAMILIES[family])
    fast = fast_bag(bag, probe_table(features(0), [bag]), 1)
    assert fast.joined is None
    assert "trees of more than" in fast.reason
    np.testing.assert_array_equal(fast.predict(features(9)), bag.predict(features(9)))


def test_a_fold_of_one_class_only_is_left_to_the_models():
    task = BINARY
    bag = bag_of("lightgbm", task, drop_class=1, n_rounds=5)
    fast = fast_bag(bag, probe_table(features(0), [bag]), 1)
    assert "its target was constant" in fast.reason
    np.testing.assert_array_equal(fast.predict(features(9)), bag.predict(features(9)))


@pytest.mark.parametrize("wrong", ["a little off", "not at all"])
def test_a_joined_form_that_is_wrong_is_never_used(wrong, monkeypatch):
    class Wrong:
        def __init__(self, models, n_features, n_threads):
            if wrong == "not at all":
                raise KeyError("split_indices")
            self.models = models

        def predict(self, table):
            return np.mean([model.predict(table) for model in self.models], axis=0) + 2e-6

    monkeypatch.setattr(fast_bags, "JoinedLightGBM", Wrong)
    bag = bag_of("lightgbm", REGRESSION, n_rounds=5)
    fast = fast_bag(bag, probe_table(features(0), [bag]), 1)
    assert fast.joined is None
    assert "off by 2e-06" in fast.reason or "split_indices" in fast.reason
    np.testing.assert_array_equal(fast.predict(features(9)), bag.predict(features(9)))


def test_many_rows_go_to_the_models_themselves():
    bag = bag_of("lightgbm", REGRESSION, n_rounds=5)
    fast = replace(fast_bag(bag, probe_table(features(0), [bag]), 1), joined=None)
    many = features(FEW_ROWS + 1)
    np.testing.assert_array_equal(fast.predict(many), bag.predict(many))


def test_probe_rows_hold_borders_of_splits_and_missing_values():
    bag = bag_of("extra_trees", REGRESSION, n_trees=5)
    numeric = probe_table(features(0), [bag]).numeric
    nodes = bag.models[0].model.nodes
    borders = nodes.threshold[nodes.feature == 0]
    assert np.isin(numeric[:, 0], borders).any()
    assert np.isnan(numeric).any()
