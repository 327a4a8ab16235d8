"""The trees of all fold models of a forest, descended together one level a step.

What a row waits for is memory, not arithmetic: nodes are kept as small as they can be, and a step
looks up one node of every tree at once, which lets the processor wait for all of them together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from tabular_automl.data.table import FeatureTable
from tabular_automl.models.base import Prediction
from tabular_automl.models.forest import ExtraTrees, RandomForest
from tabular_automl.models.forest_nodes import Nodes

Floats = npt.NDArray[np.float32]
Positions = npt.NDArray[np.intp]
Forest = ExtraTrees | RandomForest

# Levels after which trees whose leaf is reached are left behind, the first time and then.
_FIRST_LEVELS, _MORE_LEVELS = 8, 4
_MOST_NODES = 20_000_000  # whose second copy takes some hundreds of megabytes


class JoinedForest:
    """A bag of forests, for a few rows at once.

    Parameters
    ----------
    models : sequence of ExtraTrees or RandomForest
    """

    def __init__(self, models: Sequence[Forest]) -> None:
        if sum(len(model.nodes.feature) for model in models) > _MOST_NODES:
            raise ValueError(f"trees of more than {_MOST_NODES:,} nodes are not joined")
        self._is_classification = models[0].setting.task.is_classification
        self._fill = np.stack([model.fill for model in models])
        tables = zip(*(model.levels for model in models), strict=True)
        self._levels = [np.stack(each) for each in tables]
        self._n_trees = np.array([model.nodes.n_trees for model in models])
        self._first_tree = np.cumsum([0, *self._n_trees])[:-1]
        n_features = self._fill.shape[1] + len(self._levels)
        self._first_value = np.repeat(np.arange(len(models)), self._n_trees) * n_features
        nodes = _all_nodes([model.nodes for model in models])
        leaf = nodes.feature < 0
        # A leaf asks a question whose answer leads back to it.
        small = np.int16 if n_features < 2**15 else np.int32
        self._feature = np.where(leaf, 0, nodes.feature).astype(small)
        self._threshold = np.where(leaf, np.float32(np.inf), nodes.threshold).astype(np.float32)
        self._child = np.where(leaf, np.arange(len(leaf)), nodes.child).astype(np.int32)
        self._roots = nodes.starts[:-1].astype(np.intp)
        self._value_of = np.where(leaf, nodes.child, 0).astype(np.int32)
        self._values = nodes.values

    def predict(self, table: FeatureTable) -> Prediction:
        """Return the mean prediction of the folds, shape (n_samples, n_outputs)."""
        return np.stack([self._predict_row(table, row) for row in range(len(table))])

    def _predict_row(self, table: FeatureTable, row: int) -> npt.NDArray[np.float64]:
        numbers, codes = table.numeric[row], table.codes[row]
        n_numeric = self._fill.shape[1]
        encoded = np.empty((len(self._fill), n_numeric + len(codes)), dtype=np.float32)
        encoded[:, :n_numeric] = np.where(np.isnan(numbers), self._fill, numbers)
        for column, values in enumerate(self._levels):
            encoded[:, n_numeric + column] = values[:, codes[column]]
        leaves = self._value_of[self._leaves(encoded.ravel())]
        sums = np.add.reduceat(self._values[leaves].astype(np.float64), self._first_tree, axis=0)
        if self._is_classification:
            return np.asarray((sums / sums.sum(axis=1, keepdims=True)).mean(axis=0))
        return np.asarray((sums / self._n_trees[:, None]).mean(axis=0))

    def _leaves(self, values: Floats) -> Positions:
        """Return the leaf that is reached in each tree, by the encoded values of all folds."""
        reached = np.empty(len(self._roots), dtype=np.intp)
        trees = np.arange(len(self._roots))
        node, first, level = self._roots, self._first_value, 0
        while len(trees):
            above = values[first + self._feature[node]] > self._threshold[node]
            following, level = self._child[node] + above, level + 1
            if level < _FIRST_LEVELS or (level - _FIRST_LEVELS) % _MORE_LEVELS:
                node = following
                continue
            moved = following != node
            reached[trees[~moved]] = following[~moved]
            trees, node, first = trees[moved], following[moved], first[moved]
        return reached


def _all_nodes(forests: list[Nodes]) -> Nodes:
    """Return the nodes of several forests as one, every tree with its own start."""
    joined = Nodes.join(forests)  # which takes each forest for a tree
    starts = [forest.starts[:-1] + at for forest, at in zip(forests, joined.starts, strict=False)]
    return replace(joined, starts=np.concatenate([*starts, joined.starts[-1:]]))
