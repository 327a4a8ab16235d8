"""CatBoost models answer in a graph as they do themselves, statistics of categories included."""

import pytest

from tabular_automl.core.errors import ExportError
from tabular_automl.deployment import onnx_catboost
from tests.deployment.bags import BINARY, FOUR_CLASSES, REGRESSION, bag_of
from tests.deployment.onnx_runs import assert_converts

TASKS = (BINARY, FOUR_CLASSES, REGRESSION)
STATISTICS = {"n_rounds": 25, "one_hot_max_size": 4}


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.problem_type)
def test_statistics_of_combined_categories_are_looked_up(task):
    bag = bag_of("catboost", task, **STATISTICS)
    assert any("ctr_data" in text(fitted.model) for fitted in bag.models)
    assert_converts(bag)


def text(model):
    import json

    from tabular_automl.deployment.joined_catboost import described, every_level
    from tests.deployment.bags import features

    return json.dumps(described(model, every_level(features(0))))


@pytest.mark.parametrize("block", ["numeric", "codes"])
def test_numbers_only_and_categories_only_will_do(block):
    assert_converts(bag_of("catboost", BINARY, block=block, **STATISTICS), block)


@pytest.mark.parametrize("drop_class", [0, 3])
def test_a_fold_without_one_of_the_classes_keeps_its_floor(drop_class):
    assert_converts(bag_of("catboost", FOUR_CLASSES, drop_class=drop_class, n_rounds=8))


def test_levels_that_are_split_one_from_the_rest_are_converted():
    assert_converts(bag_of("catboost", REGRESSION, n_rounds=15, one_hot_max_size=100))


def test_a_fold_of_one_class_only_is_a_constant():
    assert_converts(bag_of("catboost", BINARY, drop_class=1, n_rounds=8))


def test_trees_that_are_not_symmetric_are_refused():
    bag = bag_of("catboost", BINARY, n_rounds=8, grow_policy="Lossguide")
    with pytest.raises(ExportError, match="'catboost': trees must be symmetric"):
        assert_converts(bag)


def test_statistics_that_are_too_many_are_refused(monkeypatch):
    monkeypatch.setattr(onnx_catboost, "_MOST_CELLS", 10)
    with pytest.raises(ExportError, match="statistics of combined categories have more than 10"):
        assert_converts(bag_of("catboost", BINARY, **STATISTICS))
