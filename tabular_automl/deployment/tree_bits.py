"""Many small trees asked for one row at once: what each value of a feature rules out, as bits.

A tree of at most 64 leaves is one number with a bit for each leaf, from left to right. Every split
whose answer is no rules out the leaves on its left. For a given value of a feature that is one
number for each tree, made in advance; the leaf that a row reaches is the lowest bit that the
numbers of all its values leave [1]_. Nothing is walked, so no step waits for the one before.

References
----------
.. [1] C. Lucchese et al., "QuickScorer: a fast algorithm to rank documents with additive ensembles
   of regression trees", SIGIR 2015. There the splits are looked through in order; here their
   borders are few, as boosters bin their features, and there is a row of numbers between any two.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from tabular_automl.deployment.asked_booster import Answer

Bits = npt.NDArray[np.unsignedinteger[Any]]
Ints = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float32]
Reals = npt.NDArray[np.float64]
Borders = list[float] | int  # of a number, or how many levels of a category are told apart

MOST_BYTES = 32_000_000  # of the numbers of all values
_LEAST_TREES = 1_000  # fewer are walked as soon
_CATEGORICAL, _DEFAULT_LEFT = 1, 2
_ZERO_IS_MISSING, _NAN_IS_MISSING = 1, 2  # of the bits behind those two
_NO_MORE_THAN_0 = np.float32(1e-35)  # LightGBM reads smaller numbers as 0
_EXPONENT, _BIAS = np.int64(52), 1023  # of a float64, whose fraction is 0 for a power of two


class TreeBits:
    """Trees in LightGBM's text format, without linear leaves; any number of threads may ask.

    Parameters
    ----------
    texts : sequence of str
        Without their numbers, by rounds of ``n_outputs`` trees.
    answer : {"raw_score", "pred_leaf"}
        Sums of leaf values, or the leaf of each tree by its number in the text.
    n_outputs, n_features : int

    Raises
    ------
    ValueError
        When the trees are too few or too large for this to pay, or hold what is not read.
    """

    def __init__(
        self, texts: Sequence[str], answer: Answer, n_outputs: int, n_features: int
    ) -> None:
        if len(texts) < _LEAST_TREES:
            raise ValueError(f"fewer than {_LEAST_TREES} trees are walked as soon")
        nodes = _Nodes(texts)
        self._n_outputs = n_outputs if answer == "raw_score" else 0
        self._answers = nodes.values if answer == "raw_score" else nodes.numbers
        self._first_leaf = nodes.first_leaf
        # Of each feature that is asked about: its number, its first row, and its borders.
        self._features: list[tuple[int, int, Borders]] = []
        parts: list[Bits] = []
        n_rows = n_bytes = 0
        for feature in range(n_features):
            borders, part = nodes.ruled_out(feature, MOST_BYTES - n_bytes)
            if len(part):
                self._features.append((feature, n_rows, borders))
                parts.append(part)
                n_rows, n_bytes = n_rows + len(part), n_bytes + part.nbytes
        if not parts:
            raise ValueError("trees must split")
        self._left = np.concatenate(parts)

    def predict(self, matrix: Floats) -> Reals:
        """Return the answers, shape (n_samples, n_outputs) or (n_samples, n_trees)."""
        rows = np.where(np.abs(matrix) <= _NO_MORE_THAN_0, np.float32(0.0), matrix).tolist()
        answers = self._answers[np.stack([self._leaves(row) for row in rows])]
        if not self._n_outputs:
            return answers
        return np.asarray(answers.reshape(len(matrix), -1, self._n_outputs).sum(axis=1))

    def _leaves(self, row: list[float]) -> Ints:
        """Return where among all leaves, from left to right, those are that a row reaches."""
        cells = [first + _cell(borders, row[i]) for i, first, borders in self._features]
        left = np.bitwise_and.reduce(self._left[cells], axis=0)
        lowest = (left & -left).astype(np.float64)
        return np.asarray(self._first_leaf + (lowest.view(np.int64) >> _EXPONENT) - _BIAS)


def _cell(borders: Borders, value: float) -> int:
    """Return which of a feature's rows a value has; the last one is that of missing values."""
    if isinstance(borders, int):
        return int(value) if 0.0 <= value < borders else borders
    return bisect_left(borders, value) if value == value else len(borders) + 1


class _Nodes:
    """The splits of all trees, side by side.

    Attributes
    ----------
    first_leaf : ndarray of int, shape (n_trees,)
    values : ndarray of float64, shape (n_leaves,)
        Of the leaves of each tree from left to right.
    numbers : ndarray of float64, shape (n_leaves,)
        Which they are in the text.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        fields = [dict(line.split("=", 1) for line in t.splitlines() if "=" in line) for t in texts]
        if any(tree.get("is_linear", "0") != "0" for tree in fields):
            raise ValueError("leaves must be numbers, not linear models")
        self._n_leaves = np.array([int(tree["num_leaves"]) for tree in fields])
        most = int(self._n_leaves.max())
        if most > 64:
            raise ValueError(f"trees must have at most 64 leaves, got {most}")
        self._word = np.uint32 if most <= 32 else np.uint64
        self._sets = [_level_sets(tree) for tree in fields]
        self._tree = np.repeat(np.arange(len(fields)), self._n_leaves - 1)
        self._feature = _numbers(fields, "split_feature", np.intp)
        self._threshold = _numbers(fields, "threshold", np.float64)
        self._kind = _numbers(fields, "decision_type", np.int64)
        self._is_set = (self._kind & _CATEGORICAL) > 0
        self.first_leaf = np.cumsum([0, *self._n_leaves])[:-1]
        left, right = (_numbers(fields, f"{side}_child", np.intp) for side in ("left", "right"))
        self._mask, order = self._left_to_right(left, right)
        self.values = _numbers(fields, "leaf_value", np.float64)[order]
        first = np.repeat(self.first_leaf, self._n_leaves)
        self.numbers = (order - first).astype(np.float64)

    def ruled_out(self, feature: int, most_bytes: int) -> tuple[Borders, Bits]:
        """Return a feature's borders, or its number of levels, and what each value leaves.

        The latter has a row for each value between two borders, or each level, and one for missing
        ones, and a column for each tree; it has no rows where no tree asks about the feature.
        """
        nodes = np.flatnonzero(self._feature == feature)
        if not len(nodes):
            return [], self._all_leaves(0, most_bytes)
        if self._is_set[nodes].all():
            return self._ruled_out_by_level(nodes, most_bytes)
        if self._is_set[nodes].any():
            raise ValueError(f"feature {feature} must be a number or a category, not both")
        borders, position = np.unique(self._threshold[nodes], return_inverse=True)
        left = self._all_leaves(len(borders) + 2, most_bytes)
        tree, mask = self._tree[nodes], self._mask[nodes]
        np.bitwise_and.at(left, (position + 1, tree), mask)  # above a border, the answer is no
        np.bitwise_and.accumulate(left[:-1], axis=0, out=left[:-1])
        goes_right = ~self._missing_goes_left(nodes)
        np.bitwise_and.at(left[-1], tree[goes_right], mask[goes_right])
        return borders.tolist(), left

    def _ruled_out_by_level(self, nodes: Ints, most_bytes: int) -> tuple[int, Bits]:
        sets = [self._sets[self._tree[node]][int(self._threshold[node])] for node in nodes]
        n_levels = max(map(len, sets))
        left = self._all_leaves(n_levels + 1, most_bytes)
        for node, members in zip(nodes, sets, strict=True):
            outside = np.ones(n_levels + 1, dtype=bool)
            outside[: len(members)] = ~members
            left[outside, self._tree[node]] &= self._mask[node]
        return n_levels, left

    def _all_leaves(self, n_rows: int, most_bytes: int) -> Bits:
        n_trees = len(self._n_leaves)
        if n_rows * n_trees * np.dtype(self._word).itemsize > most_bytes:
            raise ValueError(f"the numbers of all values must take at most {MOST_BYTES:,} bytes")
        return np.full((n_rows, n_trees), np.iinfo(self._word).max, dtype=self._word)

    def _missing_goes_left(self, nodes: Ints) -> npt.NDArray[np.bool_]:
        """Return where missing numbers go: LightGBM takes them for 0 where training had none."""
        kind = self._kind[nodes]
        missing = kind >> 2 & 3
        if (missing == _ZERO_IS_MISSING).any():
            raise ValueError("zeros must not stand for missing numbers")
        default_left = (kind & _DEFAULT_LEFT) > 0
        return np.where(missing == _NAN_IS_MISSING, default_left, self._threshold[nodes] >= 0.0)

    def _left_to_right(self, left: Ints, right: Ints) -> tuple[Bits, Ints]:
        """Return for each split all leaves but those on its left, and the leaves' order.

        The k-th splits of all trees are looked at together. A child has a larger number than its
        parent: from the last to the first the leaves below each are counted, and from the first to
        the last they get their places.
        """
        n_inner = self._n_leaves - 1
        first = np.cumsum([0, *n_inner])[:-1]
        turns = [first[n_inner > k] + k for k in range(int(n_inner.max(initial=0)))]
        below = np.zeros(len(left), dtype=np.intp)
        for at in reversed(turns):
            below[at] = self._below(at, left, first, below) + self._below(at, right, first, below)
        place = np.zeros(len(left), dtype=np.intp)
        order = np.zeros(int(self._n_leaves.sum()), dtype=np.intp)
        order[self.first_leaf] = self.first_leaf  # of trees without a split
        mask = np.zeros(len(left), dtype=np.uint64)
        one = np.uint64(1)
        for at in turns:
            n_left = self._below(at, left, first, below)
            ones = (one << n_left.astype(np.uint64)) - one
            mask[at] = ~(ones << place[at].astype(np.uint64))
            for child, shift in ((left[at], 0), (right[at], n_left)):
                tree, where = self._tree[at], place[at] + shift
                inner = child >= 0
                if (child[inner] <= (at - first[tree])[inner]).any():
                    raise ValueError("a split must have a smaller number than those below it")
                place[(first[tree] + child)[inner]] = where[inner]
                leaf = self.first_leaf[tree]
                order[(leaf + where)[~inner]] = (leaf - child - 1)[~inner]
        return mask.astype(self._word), order

    def _below(self, at: Ints, child: Ints, first: Ints, below: Ints) -> Ints:
        """Return how many leaves there are below one child of each of the splits ``at``."""
        child = child[at]
        number = first[self._tree[at]] + np.maximum(child, 0)
        return np.where(child < 0, 1, below[number])


def _level_sets(tree: dict[str, str]) -> list[npt.NDArray[np.bool_]]:
    """Return for each of a tree's sets which levels it holds."""
    if not int(tree.get("num_cat", "0")):
        return []
    bounds = [int(word) for word in tree["cat_boundaries"].split()]
    words = np.array([int(word) for word in tree["cat_threshold"].split()], dtype="<u4")
    flags = np.unpackbits(words.view(np.uint8), bitorder="little").astype(bool)
    return [flags[32 * a : 32 * b] for a, b in pairwise(bounds)]


def _numbers(fields: Sequence[dict[str, str]], name: str, dtype: Any) -> npt.NDArray[Any]:
    """Return the numbers of one line of all trees."""
    words = " ".join(tree.get(name, "") for tree in fields).split()
    return np.array(words, dtype=np.float64).astype(dtype)
