"""Bags of forests in an ONNX graph."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tabular_automl.deployment.onnx_columns import Features
from tabular_automl.deployment.onnx_graph import Graph, Value
from tabular_automl.deployment.onnx_trees import Trees, add_trees, check_room
from tabular_automl.models.forest import ExtraTrees, RandomForest
from tabular_automl.models.forest_nodes import Nodes

Forest = ExtraTrees | RandomForest


def add_forests(graph: Graph, models: Sequence[Forest], features: Features) -> list[Value]:
    """Return what each forest predicts."""
    return [_forest(graph, model, features) for model in models]


def _forest(graph: Graph, model: Forest, features: Features) -> Value:
    matrix = graph.cast(_encoded(graph, model, features), np.float64)
    nodes = model.nodes
    n_leaves, n_outputs = np.count_nonzero(nodes.feature < 0), nodes.values.shape[1]
    check_room(graph, len(nodes.feature), n_leaves * n_outputs)  # before their arrays are made
    sums = add_trees(graph, _trees(nodes), matrix, n_outputs)
    if model.setting.task.is_classification:
        total = graph.add("ReduceSum", sums, np.array([1]), keepdims=1)
        return graph.add("Div", sums, total)
    return graph.add("Div", sums, np.float64(nodes.n_trees))


def _encoded(graph: Graph, model: Forest, features: Features) -> Value:
    """Return medians for missing numbers, and categories by their place in line."""
    blocks: list[Value] = []
    if features.numeric is not None:
        missing = graph.add("IsNaN", features.numeric)
        fill = np.asarray(model.fill, dtype=np.float32)
        blocks.append(graph.add("Where", missing, fill, features.numeric))
    for column, values in enumerate(model.levels):
        assert features.codes is not None  # the forest was trained on these features
        code = graph.columns(features.codes, [column])
        blocks.append(graph.add("Gather", np.asarray(values, dtype=np.float32), code))
    return graph.side_by_side(blocks)


def _trees(nodes: Nodes) -> Trees:
    """Return the nodes with children numbered within their trees."""
    tree = np.repeat(np.arange(nodes.n_trees), np.diff(nodes.starts))
    is_leaf = nodes.feature < 0
    first_child = np.where(is_leaf, 0, nodes.child - nodes.starts[tree]).astype(np.int64)
    leaf = np.flatnonzero(is_leaf)
    n_outputs = nodes.values.shape[1]
    return Trees(
        feature=nodes.feature.astype(np.int64),
        threshold=nodes.threshold.astype(np.float64),
        yes=first_child,
        no=first_child + 1,
        missing_yes=np.zeros(len(is_leaf), dtype=bool),
        is_level=np.zeros(len(is_leaf), dtype=bool),
        starts=nodes.starts.astype(np.int64),
        leaf=np.repeat(leaf, n_outputs),
        output=np.tile(np.arange(n_outputs), len(leaf)),
        value=nodes.values[nodes.child[leaf]].astype(np.float64).ravel(),
    )
