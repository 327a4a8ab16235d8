"""A graph under construction: names, constants, rows."""

import sys

import numpy as np
import onnx
import pytest

from tabular_automl.core.errors import MissingDependencyError
from tabular_automl.deployment.onnx_graph import Graph
from tests.deployment.onnx_runs import run


def test_an_operation_takes_values_arrays_and_numbers():
    graph = Graph()
    x = graph.input("x", np.float64)
    shifted = graph.add("Add", graph.add("Mul", x, np.float64(2.0)), np.array([1.0]))
    found = run(graph, shifted, {"x": np.array([1.0, 3.0])}, shape=["n_rows"])
    assert found.tolist() == [3.0, 7.0]


def test_equal_constants_are_kept_once_and_others_apart():
    graph = Graph()
    first = graph.constant(np.array([1.0, 2.0]))
    assert graph.constant(np.array([1.0, 2.0])) == first
    others = [np.array([1.0, 2.0], np.float32), np.array([[1.0, 2.0]]), np.array([1.0, 3.0])]
    assert len({first, *map(graph.constant, others)}) == 4
    words = [np.array(each, dtype=object) for each in (["a", "b"], ["ab", ""])]
    assert graph.constant(words[0]) != graph.constant(words[1])


def test_columns_may_have_the_names_of_operations_and_outputs():
    graph = Graph()
    names = ["Add_0", "found", "constant_0"]
    for name in names:
        graph.input(name, np.float64)
    value = graph.add("Add", "found", np.float64(1.0))
    assert value not in names
    assert graph.output("found", value, np.float64, ["n_rows"]) == "found_"


def test_a_row_of_numbers_is_repeated_for_each_row():
    graph = Graph()
    graph.count_rows(graph.input("x", np.float64))
    repeated = graph.for_each_row(np.array([0.25, 0.75]))
    assert run(graph, repeated, {"x": np.zeros(3)}).tolist() == [[0.25, 0.75]] * 3


def test_a_graph_that_onnx_does_not_know_is_not_written():
    graph = Graph()
    value = graph.add("NoSuchOperation", graph.input("x", np.float64))
    graph.output("y", value, np.float64, ["n_rows"])
    with pytest.raises(onnx.checker.ValidationError, match="NoSuchOperation"):
        graph.to_bytes({})


def test_without_onnx_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingDependencyError, match=r"tabular-automl\[onnx\]"):
        Graph()
