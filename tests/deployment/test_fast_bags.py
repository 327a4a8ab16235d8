"""Joined bags equal the ordinary ones, and what does not equal them is not used."""

from dataclasses import replace

import numpy as np
import pytest

from tabular_automl.deployment import fast_bags, tree_bits
from tabular_automl.deployment.fast_bags import FEW_ROWS, fast_bag, probe_table
from tabular_automl.ensemble.bagging import Bag
from tests.deployment.bags import BINARY, FAMILIES, FOUR_CLASSES, REGRESSION, bag_of, features, only


def assert_joined_and_equal(bag, block=None):
    table = probe_table(only(features(0), block), [bag])
    fast = fast_bag(bag, table, 1)
    assert fast.reason == ""
    others = only(features(FEW_ROWS, seed=5), block)
    np.testing.assert_allclose(fast.predict(others), bag.predict(others), rtol=1e-6, atol=1e-6)
    assert not fast.predict(others.take([])).size


@pytest.mark.parametrize("task", [BINARY, FOUR_CLASSES, REGRESSION], ids=lambda t: t.problem_type)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_joined_bag_predicts_what_its_folds_do(family, task):
    assert_joined_and_equal(bag_of(family, task, **FAMILIES[family]))


@pytest.mark.parametrize("block", ["numeric", "codes"])
@pytest.mark.parametrize("family", ["lightgbm", "xgboost", "catboost"])
def test_numbers_only_and_categories_only_are_joined_too(family, block):
    assert_joined_and_equal(bag_of(family, BINARY, block=block, **FAMILIES[family]), block)


@pytest.mark.parametrize("drop_class", [0, 3])
@pytest.mark.parametrize("family", ["lightgbm", "xgboost", "catboost"])
def test_a_fold_without_one_of_the_classes_is_joined_too(family, drop_class):
    params = FAMILIES[family]
    assert_joined_and_equal(bag_of(family, FOUR_CLASSES, drop_class=drop_class, **params))


@pytest.mark.parametrize("loss", ["absolute_error", "quantile_0.9"])
@pytest.mark.parametrize("family", ["lightgbm", "xgboost", "catboost", "neighbors"])
def test_quantiles_are_joined(family, loss):
    assert_joined_and_equal(bag_of(family, REGRESSION, loss=loss, **FAMILIES[family]))


@pytest.mark.parametrize("task", [BINARY, FOUR_CLASSES, REGRESSION], ids=lambda t: t.problem_type)
@pytest.mark.parametrize("family", ["lightgbm", "xgboost"])
def test_many_trees_are_joined_as_bits(family, task, monkeypatch):
    monkeypatch.setattr(tree_bits, "LEAST_TREES", 1)
    bag = bag_of(family, task, **FAMILIES[family])
    assert_joined_and_equal(bag)
    assert isinstance(fast_bag(bag, features(0), 1).joined._asked, tree_bits.TreeBits)
    if task == FOUR_CLASSES:
        assert_joined_and_equal(bag_of(family, task, drop_class=3, **FAMILIES[family]))
    longer = bag_of(family, task, **FAMILIES[family] | {"n_rounds": 22})
    assert_joined_and_equal(Bag("mixed", 1, bag.models[:2] + longer.models[2:]))


@pytest.mark.parametrize("family", ["lightgbm", "catboost"])
def test_models_with_features_of_their_own_answer_one_by_one(family):
    bag = bag_of(family, REGRESSION, **FAMILIES[family], n_pairs=6)
    fast = fast_bag(bag, features(5), 1)
    assert fast.reason == "each of its models reads features that it made of others"
    np.testing.assert_array_equal(fast.predict(features(3)), bag.predict(features(3)))


@pytest.mark.parametrize("task", [BINARY, FOUR_CLASSES, REGRESSION], ids=lambda t: t.problem_type)
@pytest.mark.parametrize("family", ["lightgbm", "catboost"])
def test_a_single_model_with_features_of_its_own_is_joined(family, task):
    bag = bag_of(family, task, **FAMILIES[family], n_pairs=6)
    assert_joined_and_equal(replace(bag, models=bag.models[:1]))


def test_linear_leaves_are_joined():
    bag = bag_of("lightgbm", REGRESSION, n_rounds=15, linear_tree=True, num_leaves=6)
    assert_joined_and_equal(bag)


@pytest.mark.parametrize("n_frequencies", [0, 4])
def test_networks_of_pieces_are_joined(n_frequencies):
    params = {"n_epochs": 2, "width": 16, "n_members": 2, "n_knots": 6}
    assert_joined_and_equal(bag_of("neural", REGRESSION, n_frequencies=n_frequencies, **params))


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
