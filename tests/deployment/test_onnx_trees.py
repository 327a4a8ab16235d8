"""Trees as one operation: splits, sets, missing values, several outputs."""

import numpy as np
import pytest

from tabular_automl.deployment import onnx_trees
from tabular_automl.deployment.onnx_graph import Graph
from tabular_automl.deployment.onnx_trees import Trees, add_trees
from tests.deployment.onnx_runs import run


def stump(threshold, values, *, missing_yes=False, is_level=False, output=0):
    return Trees(
        feature=np.array([0, -1, -1]),
        threshold=np.array([threshold, 0.0, 0.0]),
        yes=np.array([1, 0, 0]),
        no=np.array([2, 0, 0]),
        missing_yes=np.array([missing_yes, False, False]),
        is_level=np.array([is_level, False, False]),
        starts=np.array([0, 3]),
        leaf=np.array([1, 2]),
        output=np.full(2, output),
        value=np.array(values),
    )


def answers(trees, x, n_outputs=1):
    graph = Graph()
    matrix = graph.add("Unsqueeze", graph.input("x", np.float64), np.array([1]))
    return run(graph, add_trees(graph, trees, matrix, n_outputs), {"x": np.array(x)})


@pytest.mark.parametrize("missing_yes", [False, True])
def test_a_value_on_the_threshold_goes_one_way_and_the_next_double_the_other(missing_yes):
    border = 0.1
    x = [border, np.nextafter(border, 1.0), np.nan]
    found = answers(stump(border, [1.0, 2.0], missing_yes=missing_yes), x)
    assert found.ravel().tolist() == [1.0, 2.0, 1.0 if missing_yes else 2.0]


def test_a_level_is_met_exactly():
    found = answers(stump(33.0, [1.0, 2.0], is_level=True), [33.0, 1.0, 32.0, 65.0])
    assert found.ravel().tolist() == [1.0, 2.0, 2.0, 2.0]


def test_joined_trees_add_to_their_own_outputs():
    parts = [stump(0.0, [1.0, 2.0]), stump(5.0, [10.0, 20.0], output=1), stump(1.0, [0.5, 0.25])]
    found = answers(Trees.join(parts), [-1.0, 3.0, 9.0], n_outputs=2)
    assert found.tolist() == [[1.5, 10.0], [2.25, 10.0], [2.25, 20.0]]


def test_sums_of_many_small_values_run_in_double_precision():
    trees = Trees.join([stump(0.0, [0.1, 0.1])] * 5000)
    assert answers(trees, [0.0])[0, 0] == pytest.approx(500.0, abs=1e-9 + 500 * 2**-24)


def test_a_tree_that_is_a_single_leaf_is_added():
    leaf = Trees(
        *(np.array(part) for part in ([-1], [0.0], [0], [0], [False], [False])),
        starts=np.array([0, 1]),
        leaf=np.array([0]),
        output=np.array([0]),
        value=np.array([0.5]),
    )
    both = Trees.join([leaf, stump(0.0, [1.0, 2.0])])
    assert answers(both, [-1.0, 1.0]).ravel().tolist() == [1.5, 2.5]


def test_more_nodes_than_a_file_should_hold_are_refused(monkeypatch):
    monkeypatch.setattr(onnx_trees, "_MOST_NODES", 5)
    with pytest.raises(ValueError, match="more than 5 nodes"):
        answers(Trees.join([stump(0.0, [1.0, 2.0])] * 2), [0.0])


def test_more_values_of_leaves_than_a_file_should_hold_are_refused(monkeypatch):
    monkeypatch.setattr(onnx_trees, "_MOST_VALUES", 5)
    graph = Graph()
    matrix = graph.add("Unsqueeze", graph.input("x", np.float64), np.array([1]))
    add_trees(graph, Trees.join([stump(0.0, [1.0, 2.0])] * 2), matrix, 1)
    with pytest.raises(ValueError, match="more than 5 values, one for each leaf and class"):
        add_trees(graph, stump(0.0, [1.0, 2.0]), matrix, 1)
