"""What onnxruntime makes of a graph whose inputs are the features of a table."""

from __future__ import annotations

import numpy as np
import onnxruntime

from tabular_automl.data.table import FeatureTable
from tabular_automl.deployment.onnx_bags import add_bag
from tabular_automl.deployment.onnx_columns import Features
from tabular_automl.deployment.onnx_graph import Graph
from tests.deployment.bags import features, only


def with_inputs(table):
    """Return a graph with an input for each feature of a table, and these side by side."""
    graph = Graph()
    numeric = [graph.input(name, np.float32) for name in table.numeric_names]
    codes = [graph.input(name, np.int64) for name in table.code_names]
    graph.count_rows([*numeric, *codes][0])
    last = np.array([1])
    blocks = [
        graph.side_by_side([graph.add("Unsqueeze", each, last) for each in names])
        if names
        else None
        for names in (numeric, codes)
    ]
    return graph, Features.of(graph, tuple(blocks), len(numeric), table.n_levels)


def feeds_of(table: FeatureTable):
    """Return what such inputs take."""
    numbers = dict(zip(table.numeric_names, table.numeric.T, strict=True))
    return numbers | dict(zip(table.code_names, table.codes.T.astype(np.int64), strict=True))


def run(graph, value, feeds, dtype=np.float64, shape=("n_rows", "width")):
    """Return a value of a graph."""
    name = graph.output("found", value, dtype, shape)
    content = graph.to_bytes({})
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run([name], feeds)[0]


def assert_converts(bag, block=None, atol=1e-6):
    """Run a bag in a graph on rows that it was not trained on, and compare."""
    table = only(features(200, seed=5), block)
    graph, inputs = with_inputs(table)
    found = run(graph, add_bag(graph, bag, inputs), feeds_of(table))
    np.testing.assert_allclose(found, bag.predict(table), rtol=0, atol=atol)
