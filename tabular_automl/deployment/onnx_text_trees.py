"""Trees in LightGBM's text format, which can hold any booster's, as nodes for an ONNX graph."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tabular_automl.deployment.onnx_columns import Features
from tabular_automl.deployment.onnx_graph import Graph, Value
from tabular_automl.deployment.onnx_trees import Trees, add_trees

_CATEGORICAL, _DEFAULT_LEFT = 1, 2
_ZERO_IS_MISSING, _NAN_IS_MISSING = 1, 2  # of the bits behind those two


def tree_of_text(
    text: str,
    features: Features,
    output: int,
    values: Sequence[float] | None = None,
    linear_at: int = 0,
) -> Trees:
    """Return one tree.

    Parameters
    ----------
    text : str
        Without its number.
    features : Features
        What the tree splits.
    output : int
        To which the leaves add.
    values : sequence of float, optional
        Of the leaves, instead of those in the text.
    linear_at : int
        First output of coefficients, where leaves hold linear models: each output before this one
        has a coefficient of each feature.
    """
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    if values is None:
        values = _floats(fields["leaf_value"])
    if fields.get("is_linear", "0") != "0":
        return _TextTree(fields, features, output).with_linear_leaves(values, linear_at)
    return _TextTree(fields, features, output).with_leaves(values)


def linear_outputs(graph: Graph, trees: Trees, features: Features, n_outputs: int) -> Value:
    """Return the sums of trees whose leaves may hold linear models, shape (n_rows, n_outputs).

    The coefficients that a row's leaves hold are summed like values, each feature's as an output of
    its own; then they are multiplied with the row once.
    """
    if not (trees.output >= n_outputs).any():
        return add_trees(graph, trees, features.matrix, n_outputs)
    n_features = features.n_features
    sums = add_trees(graph, trees, features.matrix, n_outputs * (1 + n_features))
    slopes = graph.columns(sums, np.arange(n_outputs, n_outputs * (1 + n_features)))
    slopes = graph.add("Reshape", slopes, np.array([-1, n_outputs, n_features]))
    missing = graph.add("IsNaN", features.matrix)  # no leaf then has a coefficient of it
    known = graph.add("Where", missing, np.float64(0.0), features.matrix)
    known = graph.add("Unsqueeze", known, np.array([2]))
    tilted = graph.add("Squeeze", graph.add("MatMul", slopes, known), np.array([2]))
    return graph.add("Add", graph.columns(sums, np.arange(n_outputs)), tilted)


class _TextTree:
    """The nodes of one tree: those of the text under its numbers, leaves behind, others last."""

    def __init__(self, fields: dict[str, str], features: Features, output: int) -> None:
        self._fields, self._features, self._output = fields, features, output
        n_leaves = int(fields["num_leaves"])
        self._n_inner = n_leaves - 1
        # feature, threshold, yes, no, missing_yes, is_level; leaves ask about feature -1
        self._nodes: list[tuple[Any, ...]] = [(-1, 0.0, 0, 0, False, False)] * (2 * n_leaves - 1)
        self._leaves: list[tuple[int, int, float]] = []
        if self._n_inner:
            self._read_splits()

    def with_leaves(self, values: Iterable[float]) -> Trees:
        """Return the tree with a value in each leaf."""
        for number, value in enumerate(values):
            self._leaves.append((self._n_inner + number, self._output, float(value)))
        return self._trees()

    def with_linear_leaves(self, values: Sequence[float], linear_at: int) -> Trees:
        """Return the tree with linear models in the leaves; values where a number is missing."""
        sizes = _ints(self._fields["num_features"])
        features = iter(_ints(self._fields["leaf_features"]))
        slopes = iter(_floats(self._fields["leaf_coeff"]))
        first = linear_at + self._output * self._features.n_features
        constants = _floats(self._fields["leaf_const"])
        for number, (constant, size) in enumerate(zip(constants, sizes, strict=True)):
            at = self._n_inner + number
            own = [(next(features), next(slopes)) for _ in range(size)]
            for feature, _ in own:  # is the number there?
                following, without = self._new_leaf(), self._new_leaf()
                self._nodes[at] = (feature, math.inf, following, without, False, False)
                self._leaves.append((without, self._output, values[number]))
                at = following
            self._leaves.append((at, self._output, constant))
            self._leaves += [(at, first + feature, slope) for feature, slope in own]
        return self._trees()

    def _read_splits(self) -> None:
        fields = self._fields
        kinds, thresholds = _ints(fields["decision_type"]), _floats(fields["threshold"])
        columns = zip(
            _ints(fields["split_feature"]),
            _ints(fields["left_child"]),
            _ints(fields["right_child"]),
            strict=True,
        )
        for at, (feature, left, right) in enumerate(columns):
            yes, no = self._number(left), self._number(right)
            if kinds[at] & _CATEGORICAL:
                self._split_levels(at, feature, self._levels(int(thresholds[at])), yes, no)
                continue
            missing_yes = _missing_goes_left(kinds[at], thresholds[at])
            self._nodes[at] = (feature, thresholds[at], yes, no, missing_yes, False)

    def _number(self, child: int) -> int:
        """Return a child's number; leaves count down from -1 in the text."""
        return child if child >= 0 else self._n_inner - child - 1

    def _levels(self, number: int) -> set[int]:
        """Return the levels of one of the tree's sets, which are bits."""
        bounds = _ints(self._fields["cat_boundaries"])
        words = _ints(self._fields["cat_threshold"])[bounds[number] : bounds[number + 1]]
        return {
            32 * i + bit for i, word in enumerate(words) for bit in range(32) if word >> bit & 1
        }

    def _split_levels(self, at: int, feature: int, levels: set[int], yes: int, no: int) -> None:
        """Ask for one level of a set after the other: all lead to one child."""
        n_levels = self._features.n_levels[feature - self._features.n_numeric]
        others = set(range(n_levels)) - levels
        levels &= set(range(n_levels))
        if len(others) < len(levels):
            levels, yes, no = others, no, yes
        asked = sorted(levels) or [-1]
        for level in asked[:-1]:
            following = self._new_leaf()
            self._nodes[at] = (feature, float(level), yes, following, False, True)
            at = following
        self._nodes[at] = (feature, float(asked[-1]), yes, no, False, True)

    def _new_leaf(self) -> int:
        self._nodes.append((-1, 0.0, 0, 0, False, False))
        return len(self._nodes) - 1

    def _trees(self) -> Trees:
        feature, threshold, yes, no, missing_yes, is_level = zip(*self._nodes, strict=True)
        leaf, output, value = zip(*self._leaves, strict=True)
        return Trees(
            feature=np.array(feature, dtype=np.int64),
            threshold=np.array(threshold, dtype=np.float64),
            yes=np.array(yes, dtype=np.int64),
            no=np.array(no, dtype=np.int64),
            missing_yes=np.array(missing_yes, dtype=bool),
            is_level=np.array(is_level, dtype=bool),
            starts=np.array([0, len(feature)]),
            leaf=np.array(leaf, dtype=np.int64),
            output=np.array(output, dtype=np.int64),
            value=np.array(value, dtype=np.float64),
        )


def _missing_goes_left(kind: int, threshold: float) -> bool:
    """Return where a missing number goes: LightGBM takes it for 0 where training had none."""
    missing = kind >> 2 & 3
    if missing == _ZERO_IS_MISSING:
        raise ValueError("zeros must not stand for missing numbers")
    return bool(kind & _DEFAULT_LEFT) if missing == _NAN_IS_MISSING else threshold >= 0.0


def _ints(text: str) -> list[int]:
    return [int(word) for word in text.split()]


def _floats(text: str) -> list[float]:
    return [float(word) for word in text.split()]
