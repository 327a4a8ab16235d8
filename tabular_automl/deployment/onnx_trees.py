"""Trees of any family as one `TreeEnsembleRegressor`, with thresholds and sums in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tabular_automl.deployment.onnx_graph import TREES, Graph, Value

Ints = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_MOST_NODES = 10_000_000  # some 400 MB; a file may have 2 GB
_MOST_VALUES = 20_000_000  # of leaves, each written for each class; as much again


@dataclass(frozen=True)
class Trees:
    """The nodes of trees, each tree's root first, and what its leaves add to which output.

    Attributes
    ----------
    feature : ndarray of int, shape (n_nodes,)
        Feature that a node asks about; -1 for a leaf.
    threshold : ndarray of shape (n_nodes,)
        Rows with a value of at most this, or exactly this where ``is_level``, go to ``yes``.
    yes, no : ndarray of int, shape (n_nodes,)
        Number of the next node within its tree.
    missing_yes : ndarray of bool, shape (n_nodes,)
        Whether missing values go to ``yes``.
    is_level : ndarray of bool, shape (n_nodes,)
    starts : ndarray of int, shape (n_trees + 1,)
        Position of each tree's root, and the number of nodes.
    leaf, output : ndarray of int, shape (n_values,)
        Position of a leaf, and the output to which it adds a value; a leaf may have several.
    value : ndarray of shape (n_values,)
    """

    feature: Ints
    threshold: Reals
    yes: Ints
    no: Ints
    missing_yes: Bools
    is_level: Bools
    starts: Ints
    leaf: Ints
    output: Ints
    value: Reals

    @classmethod
    def join(cls, parts: Sequence[Trees]) -> Trees:
        """Return all trees of several sets as one."""
        first = np.cumsum([0] + [len(part.feature) for part in parts])
        starts = [part.starts[:-1] + at for part, at in zip(parts, first, strict=False)]
        leaves = [part.leaf + at for part, at in zip(parts, first, strict=False)]
        names = ("feature", "threshold", "yes", "no", "missing_yes", "is_level", "output", "value")
        return cls(
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names},
            starts=np.concatenate([*starts, first[-1:]]),
            leaf=np.concatenate(leaves),
        )


def check_room(graph: Graph, n_nodes: int, n_values: int) -> None:
    """Raise ValueError where a file should not hold so many nodes and values of leaves more."""
    if graph.n_tree_nodes + n_nodes > _MOST_NODES:
        raise ValueError(f"with its trees the model has more than {_MOST_NODES:,} nodes")
    if graph.n_tree_values + n_values > _MOST_VALUES:
        raise ValueError(
            f"with its trees the model has more than {_MOST_VALUES:,} values, one for each leaf "
            "and class"
        )


def add_trees(graph: Graph, trees: Trees, matrix: Value, n_outputs: int) -> Value:
    """Return the sums of what the leaves add, float64, shape (n_rows, n_outputs).

    Parameters
    ----------
    graph : Graph
    trees : Trees
    matrix : Value
        float64, shape (n_rows, n_features).
    n_outputs : int

    Raises
    ------
    ValueError
        When there are more nodes, or values of leaves, than a file should hold.
    """
    n_nodes = len(trees.feature)
    check_room(graph, n_nodes, len(trees.value))
    graph.n_tree_nodes += n_nodes
    graph.n_tree_values += len(trees.value)
    tree = np.repeat(np.arange(len(trees.starts) - 1), np.diff(trees.starts))
    number = np.arange(n_nodes) - trees.starts[tree]
    is_leaf = trees.feature < 0
    modes = np.where(trees.is_level, b"BRANCH_EQ", b"BRANCH_LEQ")
    modes = np.where(is_leaf, b"LEAF", modes)
    sums = graph.add(
        "TreeEnsembleRegressor",
        matrix,
        domain=TREES,
        n_targets=n_outputs,
        aggregate_function="SUM",
        post_transform="NONE",
        nodes_treeids=tree,
        nodes_nodeids=number,
        nodes_featureids=np.where(is_leaf, 0, trees.feature),
        nodes_modes=modes.tolist(),
        nodes_values_as_tensor=np.where(is_leaf, 0.0, trees.threshold),
        nodes_truenodeids=np.where(is_leaf, 0, trees.yes),
        nodes_falsenodeids=np.where(is_leaf, 0, trees.no),
        nodes_missing_value_tracks_true=(trees.missing_yes & ~is_leaf).astype(np.int64),
        target_treeids=tree[trees.leaf],
        target_nodeids=number[trees.leaf],
        target_ids=trees.output,
        target_weights_as_tensor=trees.value,
    )
    return graph.cast(sums, np.float64)
