"""Forests answer in a graph as they do themselves."""

import pytest

from tabular_automl.core.errors import ExportError
from tabular_automl.deployment import onnx_forest, onnx_trees
from tabular_automl.deployment.onnx_bags import add_bag
from tests.deployment.bags import BINARY, FOUR_CLASSES, REGRESSION, bag_of, features
from tests.deployment.onnx_runs import assert_converts, with_inputs

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


def test_a_forest_of_many_leaves_and_classes_is_refused_before_its_arrays_are_made(monkeypatch):
    bag = bag_of("extra_trees", FOUR_CLASSES, n_trees=7)
    n_leaves = [int((fitted.model.nodes.feature < 0).sum()) for fitted in bag.models]
    monkeypatch.setattr(onnx_trees, "_MOST_VALUES", 4 * n_leaves[0] - 1)
    monkeypatch.setattr(onnx_forest, "_trees", lambda nodes: pytest.fail("made"))
    graph, inputs = with_inputs(features(5))
    with pytest.raises(ExportError, match=r"'extra_trees' must be.*values, one for each leaf"):
        add_bag(graph, bag, inputs)
