"""The nodes of trees as arrays: compact to keep, quick to descend for one row or for many."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Reals = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]

_TREES_AT_ONCE = 16


@dataclass(frozen=True)
class Nodes:
    """The nodes of one tree or of many, children behind their parents, siblings side by side.

    Attributes
    ----------
    feature : ndarray of int32, shape (n_nodes,)
        Feature that a node asks about; -1 for a leaf.
    threshold : ndarray of float32, shape (n_nodes,)
        Rows with a value of at most this go to the first child.
    child : ndarray of int32, shape (n_nodes,)
        Position of the first child, the second one follows; for a leaf the row of ``values``.
    values : ndarray of float32, shape (n_values, n_outputs)
        What the leaves predict; leaves that predict the same share a row.
    starts : ndarray of int32, shape (n_trees + 1,)
        Position of each tree's root, and the number of nodes.
    """

    feature: Ints
    threshold: Floats
    child: Ints
    values: Floats
    starts: Ints

    @classmethod
    def join(cls, trees: list[Nodes]) -> Nodes:
        """Return the nodes of several trees as one set of arrays."""
        starts = np.cumsum([0] + [len(tree.feature) for tree in trees])
        first_values = np.cumsum([0] + [len(tree.values) for tree in trees])
        children = [
            tree.child + np.where(tree.feature < 0, first_value, start).astype(np.int32)
            for tree, start, first_value in zip(trees, starts, first_values, strict=False)
        ]
        return cls(
            feature=np.concatenate([tree.feature for tree in trees]),
            threshold=np.concatenate([tree.threshold for tree in trees]),
            child=np.concatenate(children),
            values=np.concatenate([tree.values for tree in trees]),
            starts=starts.astype(np.int32),
        )

    @property
    def n_trees(self) -> int:
        """Number of trees."""
        return len(self.starts) - 1

    def all_end(self) -> bool:
        """Return whether every path through the nodes ends in a leaf, whoever wrote them.

        A node must point behind itself and stay in its tree, a leaf at a row of ``values``.
        """
        n_nodes, starts = len(self.feature), self.starts
        if len(starts) < 2 or starts[0] != 0 or starts[-1] != n_nodes:
            return False
        if not (np.diff(starts) > 0).all():
            return False
        end = np.repeat(starts[1:], np.diff(starts))
        inner = (self.child > np.arange(n_nodes)) & (self.child < end - 1)
        leaf = self.child < len(self.values)
        return bool(np.where(self.feature >= 0, inner, leaf).all())

    def leaves_of_few(self, matrix: Floats) -> Ints:
        """Return the row of ``values`` that each row reaches, shape (n_samples, n_trees).

        All rows descend all trees at once, one level a step: quick for few rows.
        """
        n_samples, n_features = matrix.shape
        flat, first = matrix.ravel(), np.arange(n_samples)[:, None] * n_features
        node = np.repeat(self.starts[None, :-1].astype(np.intp), n_samples, axis=0)
        feature = self.feature[node]
        while (feature >= 0).any():
            below = flat[first + np.maximum(feature, 0)] > self.threshold[node]
            node = np.where(feature >= 0, self.child[node] + below, node)
            feature = self.feature[node]
        return self.child[node]

    def add_up(self, matrix: Floats, n_threads: int) -> Reals:
        """Return the sum over trees of what each row's leaves predict, (n_samples, n_outputs).

        Sums run in the trees' order for each row, whatever the number of threads.
        """
        total = np.zeros((len(matrix), self.values.shape[1]))
        cuts = np.linspace(0, len(matrix), n_threads + 1).astype(int)
        blocks = [slice(a, b) for a, b in pairwise(cuts)]
        with ThreadPoolExecutor(n_threads) as pool:
            for first in range(0, self.n_trees, _TREES_AT_ONCE):
                stop = min(first + _TREES_AT_ONCE, self.n_trees)
                trees = [(self._compiled(i, matrix.shape[1]), i) for i in range(first, stop)]
                list(pool.map(partial(self._add_block, trees, matrix, total), blocks))
        return total

    def _add_block(
        self, trees: list[tuple[Any, int]], matrix: Floats, total: Reals, block: slice
    ) -> None:
        for tree, number in trees:
            leaf = tree.apply(matrix[block])
            total[block] += self.values[self.child[self.starts[number] + leaf]]

    def _compiled(self, number: int, n_features: int) -> Any:
        """Return one tree as scikit-learn's own, whose descent is compiled."""
        from sklearn.tree import _tree

        here = slice(self.starts[number], self.starts[number + 1])
        feature = self.feature[here]
        first_child = self.child[here] - self.starts[number]
        nodes = np.zeros(len(feature), dtype=_tree.NODE_DTYPE)
        inner = feature >= 0
        nodes["left_child"] = np.where(inner, first_child, -1)
        nodes["right_child"] = np.where(inner, first_child + 1, -1)
        nodes["feature"] = np.where(inner, feature, -2)
        nodes["threshold"] = self.threshold[here]
        tree = _tree.Tree(n_features, np.ones(1, dtype=np.intp), 1)
        values = np.zeros((len(nodes), 1, 1))
        tree.__setstate__(
            {"max_depth": 0, "node_count": len(nodes), "nodes": nodes, "values": values}
        )
        return tree


def compact(grown: Any, values: Floats) -> Nodes:
    """Return a scikit-learn tree with siblings side by side, as `Nodes` has them.

    ``values`` are those of all its nodes, shape (n_nodes, n_outputs).
    """
    n_nodes = grown.node_count
    inner = np.flatnonzero(grown.children_left >= 0)
    place = np.zeros(n_nodes, dtype=np.int32)
    first_child = 1 + 2 * np.arange(len(inner), dtype=np.int32)
    place[grown.children_left[inner]] = first_child
    place[grown.children_right[inner]] = first_child + 1
    leaves = np.flatnonzero(grown.children_left < 0)
    distinct, which = _distinct_rows(values[leaves])
    feature = np.full(n_nodes, -1, dtype=np.int32)
    threshold = np.zeros(n_nodes, dtype=np.float32)
    child = np.empty(n_nodes, dtype=np.int32)
    feature[place[inner]] = grown.feature[inner]
    threshold[place[inner]] = _float32_below(grown.threshold[inner])
    child[place[inner]] = first_child
    child[place[leaves]] = which
    return Nodes(feature, threshold, child, distinct, np.array([0, n_nodes], dtype=np.int32))


def _float32_below(threshold: Reals) -> Floats:
    """Round down, so that float32 values fall on the same side as of the exact threshold."""
    rounded = threshold.astype(np.float32)
    lower = np.nextafter(rounded, np.float32(-np.inf))
    return np.where(rounded > threshold, lower, rounded)


def _distinct_rows(rows: Floats) -> tuple[Floats, npt.NDArray[np.intp]]:
    """Return the distinct rows, and which of them each row is.

    Deep trees of classes have thousands of leaves and few distinct predictions. Rows are told
    apart by one random projection, which is much quicker than by sorting them.
    """
    direction = np.random.default_rng(0).normal(size=rows.shape[1])
    _, first, which = np.unique(rows @ direction, return_index=True, return_inverse=True)
    distinct = rows[first]
    if np.array_equal(distinct[which], rows):
        return distinct, which
    return rows, np.arange(len(rows))
