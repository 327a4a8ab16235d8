"""Forests answer in a graph as they do themselves."""

import pytest

from tests.deployment.bags import BINARY, FOUR_CLASSES, REGRESSION, bag_of
from tests.deployment.onnx_runs import assert_converts

TASKS = (BINARY, FOUR_CLASSES, REGRESSION)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.problem_type)
@pytest.mark.parametrize("family", ["extra_trees", "random_forest"])
def test_forests_answer_as_before(family, task):
    assert_converts(bag_of(family, task, n_trees=7))


@pytest.mark.parametrize("block", ["numeric", "codes"])
def test_numbers_only_and_categories_only_will_do(block):
    assert_converts(bag_of("extra_trees", BINARY, block=block, n_trees=5), block)


def test_trees_of_a_single_leaf_are_converted():
    assert_converts(bag_of("random_forest", BINARY, n_trees=2, min_samples_leaf=100))
