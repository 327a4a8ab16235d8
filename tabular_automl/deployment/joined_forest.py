"""The trees of all fold models of a forest as one scikit-learn tree, descended in one call.

Every tree gets a row of its own, which ends in the tree's number; a balanced tree over that number
leads each row to the root of its tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tabular_automl.data.table import FeatureTable
from tabular_automl.models.base import Prediction
from tabular_automl.models.forest import ExtraTrees, RandomForest
from tabular_automl.models.forest_nodes import Nodes

Floats = npt.NDArray[np.float32]
Forest = ExtraTrees | RandomForest


class JoinedForest:
    """A bag of forests, for a few rows at once.

    Parameters
    ----------
    models : sequence of ExtraTrees or RandomForest
    """

    def __init__(self, models: Sequence[Forest]) -> None:
        self._is_classification = models[0].setting.task.is_classification
        self._fill = np.stack([model.fill for model in models])
        self._levels = [
            np.stack(tables) for tables in zip(*(m.levels for m in models), strict=True)
        ]
        nodes = _all_nodes([model.nodes for model in models])
        self._n_trees = np.array([model.nodes.n_trees for model in models])
        self._first_tree = np.cumsum([0, *self._n_trees])[:-1]
        self._fold_of = np.repeat(np.arange(len(models)), self._n_trees)
        n_numeric, n_features = self._fill.shape[1], self._fill.shape[1] + len(self._levels)
        self._n_numeric, self._n_features = n_numeric, n_features
        self._tree, self._child = _routed(nodes, n_features)
        self._values = nodes.values

    def predict(self, table: FeatureTable) -> Prediction:
        """Return the mean prediction of the folds, shape (n_samples, n_outputs)."""
        return np.stack([self._predict_row(table, row) for row in range(len(table))])

    def _predict_row(self, table: FeatureTable, row: int) -> npt.NDArray[np.float64]:
        encoded = np.empty((len(self._fill), self._n_features), dtype=np.float32)
        numbers = table.numeric[row]
        encoded[:, : self._n_numeric] = np.where(np.isnan(numbers), self._fill, numbers)
        for column, values in enumerate(self._levels):
            encoded[:, self._n_numeric + column] = values[:, table.codes[row, column]]
        routed = np.empty((len(self._fold_of), self._n_features + 1), dtype=np.float32)
        routed[:, :-1] = encoded[self._fold_of]
        routed[:, -1] = np.arange(len(routed))
        leaves = self._child[self._tree.apply(routed)]
        sums = np.add.reduceat(self._values[leaves].astype(np.float64), self._first_tree, axis=0)
        if self._is_classification:
            return np.asarray((sums / sums.sum(axis=1, keepdims=True)).mean(axis=0))
        return np.asarray((sums / self._n_trees[:, None]).mean(axis=0))


def _all_nodes(forests: list[Nodes]) -> Nodes:
    """Return the nodes of several forests as one, every tree with its own start."""
    joined = Nodes.join(forests)  # which takes each forest for a tree
    starts = [forest.starts[:-1] + at for forest, at in zip(forests, joined.starts, strict=False)]
    return replace(joined, starts=np.concatenate([*starts, joined.starts[-1:]]))


def _routed(nodes: Nodes, n_features: int) -> tuple[Any, npt.NDArray[np.intp]]:
    """Return a scikit-learn tree that holds all trees, and the row of values of each leaf."""
    from sklearn.tree import _tree

    left, right, threshold = _routes(nodes.n_trees)
    n_routes = len(left)
    all_nodes = np.zeros(n_routes + len(nodes.feature), dtype=_tree.NODE_DTYPE)
    inner = nodes.feature >= 0
    first = np.where(inner, nodes.child + n_routes, -1)
    all_nodes["left_child"] = np.concatenate([_placed(left, nodes, n_routes), first])
    second = np.where(inner, first + 1, -1)
    all_nodes["right_child"] = np.concatenate([_placed(right, nodes, n_routes), second])
    feature = np.where(inner, nodes.feature, -2)
    all_nodes["feature"] = np.concatenate([np.full(n_routes, n_features), feature])
    all_nodes["threshold"] = np.concatenate([threshold, nodes.threshold])
    tree = _tree.Tree(n_features + 1, np.ones(1, dtype=np.intp), 1)
    values = np.zeros((len(all_nodes), 1, 1))
    state = {"max_depth": 0, "node_count": len(all_nodes), "nodes": all_nodes, "values": values}
    tree.__setstate__(state)
    return tree, np.concatenate([np.zeros(n_routes, dtype=np.intp), nodes.child])


def _routes(n_trees: int) -> tuple[list[int], list[int], list[float]]:
    """Return the nodes of a balanced tree over tree numbers; child ``-1 - i`` is tree i itself."""
    left: list[int] = []
    right: list[int] = []
    threshold: list[float] = []

    def place(first: int, stop: int) -> int:
        if stop - first == 1:
            return -1 - first
        middle, position = (first + stop) // 2, len(left)
        left.append(0)
        right.append(0)
        threshold.append(middle - 0.5)
        left[position] = place(first, middle)
        right[position] = place(middle, stop)
        return position

    if n_trees == 1:  # sends everything to the one tree
        return [-1], [-1], [0.0]
    place(0, n_trees)
    return left, right, threshold


def _placed(children: list[int], nodes: Nodes, n_routes: int) -> npt.NDArray[np.intp]:
    """Return the positions of the routes' children among all nodes."""
    child = np.array(children, dtype=np.intp)
    tree = np.maximum(-1 - child, 0)
    return np.where(child < 0, nodes.starts[tree] + n_routes, child)
