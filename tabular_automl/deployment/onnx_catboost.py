"""Bags of CatBoost models in an ONNX graph.

The statistics of categories, which CatBoost looks up by a hash, are looked up in a table of every
combination of the levels and answers that make up the key.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tabular_automl.data.table import FeatureTable
from tabular_automl.deployment.joined_catboost import (
    HASH_FACTOR,
    MASK,
    Columns,
    Projection,
    SymmetricTrees,
    described,
    every_level,
)
from tabular_automl.deployment.onnx_boosters import predictions_of
from tabular_automl.deployment.onnx_columns import Features
from tabular_automl.deployment.onnx_graph import Graph, Value
from tabular_automl.deployment.onnx_trees import Trees, add_trees

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

_MOST_CELLS = 20_000_000  # of all tables of statistics: 80 MB


def add_catboost(graph: Graph, models: Sequence[Any], features: Features) -> list[Value]:
    """Return what each CatBoost model predicts."""

    def sums_of(trained: Sequence[Any]) -> Value:
        columns = Columns(features.n_numeric)
        pool = every_level(_blank(features)) if features.n_levels else None
        folds = [SymmetricTrees(described(model, pool), columns) for model in trained]
        parts, first = [], 0
        for fold in folds:
            parts += _trees(fold, first)
            first += fold.values.shape[1]
        matrix = graph.cast(_add_columns(graph, columns, features), np.float64)
        sums = add_trees(graph, Trees.join(parts), matrix, first)
        scale = np.repeat([fold.scale for fold in folds], [f.values.shape[1] for f in folds])
        bias = np.concatenate([fold.bias for fold in folds])
        return graph.add("Add", graph.add("Mul", sums, scale.astype(np.float64)), bias)

    return predictions_of(graph, models, sums_of)


def _blank(features: Features) -> FeatureTable:
    """Return an empty feature table."""
    n_codes = len(features.n_levels)
    return FeatureTable(
        np.empty((0, features.n_numeric), dtype=np.float32),
        np.empty((0, n_codes), dtype=np.int32),
        tuple(f"n{i}" for i in range(features.n_numeric)),
        tuple(f"c{i}" for i in range(n_codes)),
        features.n_levels,
    )


def _trees(fold: SymmetricTrees, first_output: int) -> list[Trees]:
    """Return the trees of a model, every split of a level written out for each node of it."""
    trees, first_leaf = [], 0
    for splits, n_leaves in zip(fold.splits, fold.n_leaves, strict=True):
        values = fold.values[first_leaf : first_leaf + n_leaves]
        trees.append(_tree(splits, values, first_output))
        first_leaf += n_leaves
    return trees


def _tree(splits: Sequence[tuple[int, float]], values: Any, first_output: int) -> Trees:
    """Return one tree: the n-th split adds 2**n to the number of the leaf where it is exceeded."""
    depth = len(splits)
    level = np.repeat(np.arange(depth + 1), 2 ** np.arange(depth + 1))
    place = np.concatenate([np.arange(2**each) for each in range(depth + 1)])
    is_leaf = level == depth
    columns, borders = np.array([*splits, (-1, 0.0)]).T
    child = 2 ** (level + 1) - 1 + place
    n_leaves, n_outputs = values.shape
    return Trees(
        feature=columns[level].astype(np.int64),
        threshold=borders.astype(np.float32)[level].astype(np.float64),
        yes=np.where(is_leaf, 0, child),
        no=np.where(is_leaf, 0, child + 2**level),
        missing_yes=~is_leaf,  # a missing number exceeds nothing
        is_level=np.zeros(len(level), dtype=bool),
        starts=np.array([0, len(level)]),
        leaf=np.repeat(n_leaves - 1 + np.arange(n_leaves), n_outputs),
        output=np.tile(first_output + np.arange(n_outputs), n_leaves),
        value=np.asarray(values, dtype=np.float64).ravel(),
    )


def _add_columns(graph: Graph, columns: Columns, features: Features) -> Value:
    """Return the numbers that splits ask about, as `Columns.of` does, float32."""
    blocks: list[Value] = [] if features.numeric is None else [features.numeric]
    places = list(range(features.n_numeric))
    if columns.levels:
        pairs = np.array(list(columns.levels))
        codes = graph.columns(_known(features.codes), pairs[:, 0])
        blocks.append(graph.cast(graph.add("Equal", codes, pairs[:, 1]), np.float32))
        places += columns.levels.values()
    if columns.always:
        numbers = graph.columns(_known(features.numeric), list(columns.always))
        missing = graph.add("IsNaN", numbers)
        blocks.append(graph.add("Where", missing, np.float32(np.inf), numbers))
        places += columns.always.values()
    n_cells = 0
    for first, statistics in columns.statistics:
        width = len(statistics.absent)
        n_cells += width * _n_keys(statistics.projection, features)
        if n_cells > _MOST_CELLS:
            raise ValueError(
                f"its statistics of combined categories have more than {_MOST_CELLS:,} values"
            )
        keys = _keys(statistics.projection, features).tolist()
        found, absent = statistics.found, statistics.absent
        table = np.array([found.get(key, absent) for key in keys], dtype=np.float32)
        place = _place_of_key(graph, statistics.projection, features)
        blocks.append(graph.add("Gather", table, place))
        places += range(first, first + width)
    return graph.columns(graph.side_by_side(blocks), np.argsort(places))


def _known(block: Value | None) -> Value:
    assert block is not None  # splits ask about its columns
    return block


def _n_keys(projection: Projection, features: Features) -> int:
    """Return the combinations of levels and answers that make up a key."""
    n_levels = [features.n_levels[feature] for feature, _ in projection.hashes]
    n_answers = len(projection.borders) + len(projection.equals)
    return int(np.prod(n_levels, dtype=object)) * 2**n_answers


def _keys(projection: Projection, features: Features) -> npt.NDArray[np.uint64]:
    """Return CatBoost's hash of each combination, the last part of the key varying fastest."""
    parts = [hashes[: features.n_levels[feature]] for feature, hashes in projection.hashes]
    parts += [[0, 1]] * (len(projection.borders) + len(projection.equals))
    keys, factor = np.zeros(1, dtype=np.uint64), np.uint64(HASH_FACTOR)
    for part in parts:
        values = np.array([value & MASK for value in part], dtype=np.uint64)
        keys = (factor * (keys[:, None] + factor * values[None, :])).ravel()
    return keys


def _place_of_key(graph: Graph, projection: Projection, features: Features) -> Value:
    """Return which of `_keys` each row has, int64, shape (n_rows,)."""
    parts = [
        (graph.column(_known(features.codes), feature), features.n_levels[feature])
        for feature, _ in projection.hashes
    ]
    for feature, border in projection.borders:
        number = graph.column(_known(features.numeric), feature)
        parts.append((graph.cast(graph.add("Greater", number, border), np.int64), 2))
    for feature, level in projection.equals:
        code = graph.column(_known(features.codes), feature)
        parts.append((graph.cast(graph.add("Equal", code, np.int64(level)), np.int64), 2))
    place, _ = parts[0]
    for part, size in parts[1:]:
        place = graph.add("Add", graph.add("Mul", place, np.int64(size)), part)
    return place
