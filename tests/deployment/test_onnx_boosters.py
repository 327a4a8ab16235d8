"""LightGBM and XGBoost models answer in a graph as they do themselves."""

import pytest

from tests.deployment.bags import BINARY, FAMILIES, FOUR_CLASSES, REGRESSION, bag_of
from tests.deployment.onnx_runs import assert_converts

TASKS = (BINARY, FOUR_CLASSES, REGRESSION)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.problem_type)
@pytest.mark.parametrize("family", ["lightgbm", "xgboost"])
def test_boosters_answer_as_their_libraries_do(family, task):
    assert_converts(bag_of(family, task, **FAMILIES[family]))


@pytest.mark.parametrize("block", ["numeric", "codes"])
@pytest.mark.parametrize("family", ["lightgbm", "xgboost"])
def test_numbers_only_and_categories_only_will_do(family, block):
    assert_converts(bag_of(family, BINARY, block=block, **FAMILIES[family]), block)


@pytest.mark.parametrize("drop_class", [0, 3])
@pytest.mark.parametrize("family", ["lightgbm", "xgboost"])
def test_a_fold_without_one_of_the_classes_keeps_its_floor(family, drop_class):
    assert_converts(bag_of(family, FOUR_CLASSES, drop_class=drop_class, **FAMILIES[family]))


@pytest.mark.parametrize("family", ["lightgbm", "xgboost"])
def test_a_fold_of_one_class_only_is_a_constant(family):
    assert_converts(bag_of(family, BINARY, drop_class=1, **FAMILIES[family]))


@pytest.mark.parametrize("loss", ["absolute_error", "quantile_0.9"])
@pytest.mark.parametrize("family", ["lightgbm", "xgboost"])
def test_quantiles_are_converted(family, loss):
    assert_converts(bag_of(family, REGRESSION, loss=loss, **FAMILIES[family]))
