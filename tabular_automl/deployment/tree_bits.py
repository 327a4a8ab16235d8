"""Many small trees asked for one row at once: what each value of a feature rules out, as bits.

A tree of at most 64 leaves is one number with a bit for each leaf, from left to right. A split
leads to the left where it is answered with yes; one that is answered with no rules out the leaves
on its left. For a given value of a feature that is one number for each tree, made in advance; the
leaf that a row reaches is the lowest bit that the numbers of all its values leave [1]_. Nothing is
walked, so no step waits for the one before.

References
----------
.. [1] C. Lucchese et al., "QuickScorer: a fast algorithm to rank documents with additive ensembles
   of regression trees", SIGIR 2015. There the splits are looked through in order; here their
   borders are few, as LightGBM bins features, and there is a row of numbers between any two.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from tabular_automl.deployment.asked_booster import Answer

Bits = npt.NDArray[np.unsignedinteger[Any]]
Ints = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float32]
Reals = npt.NDArray[np.float64]

LEAST_TREES = 1_000  # fewer are walked as quickly
MOST_BYTES = 32_000_000  # of the numbers of all values
# Of the numbers of one tree that a row reads: walking a tree takes as long as to read so many.
_MOST_BYTES_OF_TREE = 400
_MOST_LEAVES = 64
_CATEGORICAL, _DEFAULT_LEFT = 1, 2
_ZERO_IS_MISSING, _NAN_IS_MISSING = 1, 2  # in the two bits above those
_READ_AS_ZERO = np.float32(1e-35)  # LightGBM takes no smaller number for more than 0
_EXPONENT, _BIAS = np.int64(52), 1023  # of a float64, whose fraction is 0 for a power of two


class NotAsBitsError(Exception):
    """Trees are answered sooner, or only, by walking them."""


@dataclass(frozen=True)
class _Asked:
    """A feature that trees split.

    Attributes
    ----------
    number : int
    nodes : ndarray of int
        The splits.
    borders : list of float or int
        Of a number; of a category, how many levels are told apart.
    n_rows : int
        One for each interval between borders, or each level, and one for missing values.
    """

    number: int
    nodes: Ints
    borders: list[float] | int
    n_rows: int

    def row_of(self, value: float) -> int:
        """Return which of the feature's rows a value has."""
        if isinstance(self.borders, int):
            return int(value) if 0.0 <= value < self.borders else self.borders
        is_known = value == value  # NaN is not equal to itself
        return bisect_left(self.borders, value) if is_known else self.n_rows - 1


class TreeBits:
    """Trees in LightGBM's text format; any number of threads may ask.

    Parameters
    ----------
    texts : sequence of str
        Without their numbers, by rounds of ``n_outputs`` trees.
    answer : {"raw_score", "pred_leaf"}
        Sums of leaf values, or the leaf of each tree by its number in the text.
    n_outputs, n_features : int

    Raises
    ------
    NotAsBitsError
        When the trees are too few, too large or ask about too many features for this to pay, or
        their leaves are linear models.
    ValueError
        When the text contradicts itself.
    """

    def __init__(
        self, texts: Sequence[str], answer: Answer, n_outputs: int, n_features: int
    ) -> None:
        if len(texts) < LEAST_TREES:
            raise NotAsBitsError(f"fewer than {LEAST_TREES} trees are walked as quickly")
        nodes = _Nodes(texts, n_features)
        sums = answer == "raw_score"
        self._n_outputs = n_outputs if sums else 0
        self._answers = nodes.values if sums else nodes.numbers
        self._first_leaf = nodes.first_leaf
        self._asked = nodes.asked
        self._starts = np.cumsum([0, *(each.n_rows for each in nodes.asked)])[:-1].tolist()
        self._remaining = np.concatenate([nodes.remaining(each) for each in nodes.asked])

    def predict(self, matrix: Floats) -> Reals:
        """Return the answers of a row at least, shape (n_samples, n_outputs or n_trees)."""
        rows = np.where(np.abs(matrix) <= _READ_AS_ZERO, np.float32(0.0), matrix).tolist()
        answers = self._answers[np.stack([self._leaves(row) for row in rows])]
        if not self._n_outputs:
            return answers
        return np.asarray(answers.reshape(len(matrix), -1, self._n_outputs).sum(axis=1))

    def _leaves(self, row: list[float]) -> Ints:
        """Return where among all leaves, from left to right, those are that a row reaches."""
        asked = zip(self._starts, self._asked, strict=True)
        rows = [start + each.row_of(row[each.number]) for start, each in asked]
        remaining = np.bitwise_and.reduce(self._remaining[rows], axis=0)
        lowest = (remaining & -remaining).astype(np.float64)
        return np.asarray(self._first_leaf + (lowest.view(np.int64) >> _EXPONENT) - _BIAS)


class _Nodes:
    """The splits of all trees, side by side.

    Attributes
    ----------
    asked : list of _Asked
    first_leaf : ndarray of int, shape (n_trees,)
        Where each tree's leaves begin among all leaves.
    values : ndarray of float64, shape (n_leaves,)
        Of the leaves of each tree from left to right.
    numbers : ndarray of float64, shape (n_leaves,)
        Which they are in the text.
    """

    def __init__(self, texts: Sequence[str], n_features: int) -> None:
        fields = [dict(line.split("=", 1) for line in t.splitlines() if "=" in line) for t in texts]
        if any(tree.get("is_linear", "0") != "0" for tree in fields):
            raise NotAsBitsError("leaves must be numbers, not linear models")
        self._n_leaves = np.array([int(tree["num_leaves"]) for tree in fields])
        most = int(self._n_leaves.max())
        if most > _MOST_LEAVES:
            raise NotAsBitsError(f"trees must have at most {_MOST_LEAVES} leaves, got {most}")
        self._word = np.uint32 if most <= 32 else np.uint64
        n_inner, n_leaves = int((self._n_leaves - 1).sum()), int(self._n_leaves.sum())
        feature = _numbers(fields, "split_feature", n_inner).astype(np.intp)
        self._threshold = _numbers(fields, "threshold", n_inner)
        self._kind = _numbers(fields, "decision_type", n_inner).astype(np.int64)
        self._tree = np.repeat(np.arange(len(fields)), self._n_leaves - 1)
        self._sets = [_level_sets(tree) for tree in fields]
        self.asked = self._features(feature, n_features)
        self._check_size()
        self.first_leaf = np.cumsum([0, *self._n_leaves])[:-1]
        sides = (_numbers(fields, f"{side}_child", n_inner) for side in ("left", "right"))
        self._mask, order = self._left_to_right(*(side.astype(np.intp) for side in sides))
        self.values = _numbers(fields, "leaf_value", n_leaves)[order]
        self.numbers = (order - np.repeat(self.first_leaf, self._n_leaves)).astype(np.float64)

    def remaining(self, asked: _Asked) -> Bits:
        """Return which leaves each value of a feature leaves, shape (n_rows, n_trees)."""
        shape = asked.n_rows, len(self._n_leaves)
        remaining = np.full(shape, np.iinfo(self._word).max, dtype=self._word)
        nodes = asked.nodes
        tree, mask = self._tree[nodes], self._mask[nodes]
        if isinstance(asked.borders, int):
            for node in nodes:
                outside = np.ones(asked.n_rows, dtype=bool)
                members = self._set_of(node)
                outside[: len(members)] = ~members
                remaining[outside, self._tree[node]] &= self._mask[node]
            return remaining
        position = np.searchsorted(asked.borders, self._threshold[nodes])
        np.bitwise_and.at(remaining, (position + 1, tree), mask)  # above a border it is a no
        known = remaining[:-1]
        np.bitwise_and.accumulate(known, axis=0, out=known)
        goes_right = ~self._missing_goes_left(nodes)
        np.bitwise_and.at(remaining[-1], tree[goes_right], mask[goes_right])
        return remaining

    def _features(self, feature: Ints, n_features: int) -> list[_Asked]:
        """Return the features that trees split, with their splits."""
        order = np.argsort(feature, kind="stable")
        numbers, starts = np.unique(feature[order], return_index=True)
        if not len(numbers):
            raise NotAsBitsError("trees must split")
        if numbers[0] < 0 or numbers[-1] >= n_features:
            raise ValueError(f"trees must split features below {n_features}, got {numbers[-1]}")
        asked = []
        for number, nodes in zip(numbers.tolist(), np.split(order, starts[1:]), strict=True):
            is_set = (self._kind[nodes] & _CATEGORICAL) > 0
            if is_set.all():
                n_levels = max(len(self._set_of(node)) for node in nodes)
                asked.append(_Asked(number, nodes, n_levels, n_levels + 1))
            elif is_set.any():
                raise ValueError(f"feature {number} must be a number or a category, not both")
            else:
                borders = np.unique(self._threshold[nodes]).tolist()
                asked.append(_Asked(number, nodes, borders, len(borders) + 2))
        return asked

    def _check_size(self) -> None:
        """Raise where a row, or all that is kept, would read or hold too much."""
        size = np.dtype(self._word).itemsize
        if len(self.asked) * size > _MOST_BYTES_OF_TREE:
            raise NotAsBitsError(f"{len(self.asked)} features take longer than to walk")
        if sum(each.n_rows for each in self.asked) * len(self._n_leaves) * size > MOST_BYTES:
            raise NotAsBitsError(f"all values must take at most {MOST_BYTES:,} bytes")

    def _set_of(self, node: int) -> npt.NDArray[np.bool_]:
        """Return which levels the set of a split holds."""
        return self._sets[self._tree[node]][int(self._threshold[node])]

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


def _numbers(fields: Sequence[dict[str, str]], name: str, n_expected: int) -> Reals:
    """Return the numbers of one line of all trees."""
    words = " ".join(tree.get(name, "") for tree in fields).split()
    if len(words) != n_expected:
        raise ValueError(f"trees must have {n_expected} of {name}, got {len(words)}")
    return np.array(words, dtype=np.float64)
