"""The symmetric trees of all fold models of a CatBoost bag as arrays, for a few rows at once.

Each split is a number above a border; of the numbers, some are derived: whether a category is of
one level, and statistics of categories, looked up by a hash as CatBoost does [1]_. A tree's leaf
is the number that the answers of its splits spell in binary.

References
----------
.. [1] L. Prokhorenkova et al., "CatBoost: unbiased boosting with categorical features", NeurIPS
   2018.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tabular_automl.data.table import FeatureTable
from tabular_automl.deployment.fold_outputs import FoldOutputs
from tabular_automl.models.base import Prediction
from tabular_automl.models.catboost import CatBoost, as_pool

Reals = npt.NDArray[np.float64]

MASK = 2**64 - 1
HASH_FACTOR = 0x4906BA494954CB65
_BLOB = "booster.cbm"
_MOST_BYTES = 50_000_000  # of trees, which take many times more as json and as numbers
_CELLS = 4_000_000  # of the answers of all splits for a block of rows


@dataclass(frozen=True)
class Projection:
    """Which categories and answers make up the key of a table of statistics.

    Attributes
    ----------
    hashes : tuple of (int, list of int)
        Categorical feature, and the hash of each of its levels.
    borders : tuple of (int, float)
        Numeric feature, and the border that it is asked to be above.
    equals : tuple of (int, int)
        Categorical feature, and the level that it is asked to be.
    """

    hashes: tuple[tuple[int, list[int]], ...]
    borders: tuple[tuple[int, np.float32], ...]
    equals: tuple[tuple[int, int], ...]

    def key(self, numeric: list[float], codes: list[int]) -> int:
        """Return the hash of a row's values."""
        key = 0
        for feature, levels in self.hashes:
            key = _combined(key, levels[codes[feature]])
        for feature, border in self.borders:
            key = _combined(key, int(numeric[feature] > border))
        for feature, level in self.equals:
            key = _combined(key, int(codes[feature] == level))
        return key


@dataclass(frozen=True)
class Statistics:
    """A table of statistics with the features that are read from it.

    Attributes
    ----------
    projection : Projection
    found : dict of int to ndarray
        Key to the features' values.
    absent : ndarray
        Their values for a key that training did not have.
    """

    projection: Projection
    found: dict[int, npt.NDArray[np.float32]]
    absent: npt.NDArray[np.float32]


class JoinedCatBoost:
    """A bag of CatBoost models of symmetric trees.

    Parameters
    ----------
    models : sequence of CatBoost
        With trees.
    blank : FeatureTable
        Any table of the features; its rows are not looked at.
    """

    def __init__(self, models: Sequence[CatBoost], blank: FeatureTable) -> None:
        if sum(len(model.state().blobs[_BLOB]) for model in models) > _MOST_BYTES:
            raise ValueError(f"trees of more than {_MOST_BYTES / 1e6:.0f} MB are not joined")
        self._outputs = FoldOutputs([model.outputs for model in models])
        self._columns = Columns(len(blank.numeric_names))
        pool = every_level(blank) if blank.code_names else None
        folds = [SymmetricTrees(described(model, pool), self._columns) for model in models]
        depth = max(fold.depth for fold in folds)
        padded = [fold.padded(depth) for fold in folds]
        self._feature = np.concatenate([feature for feature, _ in padded])
        self._border = np.concatenate([border for _, border in padded])
        self._powers = (2 ** np.arange(depth)).astype(np.float32)
        n_leaves = np.concatenate([fold.n_leaves for fold in folds])
        self._first_leaf = np.cumsum([0, *n_leaves])[:-1]
        self._first_tree = np.cumsum([0] + [len(fold.n_leaves) for fold in folds])
        widths = np.diff(self._outputs.starts)
        if any(fold.values.shape[1] != w for fold, w in zip(folds, widths, strict=True)):
            raise ValueError("leaves must hold a value for each output")
        self._values = [fold.values for fold in folds]
        self._flat = np.concatenate(self._values) if len(set(widths)) == 1 else None
        self._scale = np.repeat([fold.scale for fold in folds], widths)
        self._bias = np.concatenate([fold.bias for fold in folds])

    def predict(self, table: FeatureTable) -> Prediction:
        """Return the mean prediction of the folds, shape (n_samples, n_outputs)."""
        raw = np.empty((len(table), len(self._bias)))
        columns = self._columns.of(table)
        block = max(1, _CELLS // self._feature.size)
        for first in range(0, len(table), block):
            rows = slice(first, first + block)
            above = columns[rows][:, self._feature] > self._border
            leaves = self._first_leaf + (above @ self._powers).astype(np.intp)
            raw[rows] = self._sums(leaves)
        return self._outputs.mean(raw * self._scale + self._bias)

    def _sums(self, leaves: npt.NDArray[np.intp]) -> Reals:
        """Return the sums of leaf values by fold and output, shape (n_rows, n_columns)."""
        first = self._first_tree[:-1]
        if self._flat is not None:
            return np.add.reduceat(self._flat[leaves], first, axis=1).reshape(len(leaves), -1)
        parts, offset = [], 0
        for values, start, stop in zip(self._values, first, self._first_tree[1:], strict=True):
            parts.append(values[leaves[:, start:stop] - offset].sum(axis=1))
            offset += len(values)
        return np.hstack(parts)


class Columns:
    """The numbers that splits ask about: numeric features, then the derived ones."""

    def __init__(self, n_numeric: int) -> None:
        self._n_numeric = n_numeric
        self.levels: dict[tuple[int, int], int] = {}
        self.statistics: list[tuple[int, Statistics]] = []
        self.always: dict[int, int] = {}
        self.width = n_numeric

    def of_level(self, feature: int, level: int) -> int:
        """Return the column that tells whether a category is of a level."""
        return self._derived(self.levels, (feature, level))

    def of_missing(self, feature: int) -> int:
        """Return the column of a number that is above every border when it is missing."""
        return self._derived(self.always, feature)

    def of_statistics(self, statistics: Statistics) -> int:
        """Return the first of the columns that are read from a table of statistics."""
        first = self.width
        self.statistics.append((first, statistics))
        self.width += len(statistics.absent)
        return first

    def of(self, table: FeatureTable) -> npt.NDArray[np.float32]:
        """Return all columns of a table's rows, shape (n_samples, width)."""
        numeric, codes = table.numeric, table.codes
        columns = np.empty((len(table), self.width), dtype=np.float32)
        columns[:, : self._n_numeric] = numeric
        if self.levels:
            pairs = np.array(list(self.levels))
            columns[:, list(self.levels.values())] = codes[:, pairs[:, 0]] == pairs[:, 1]
        for feature, at in self.always.items():
            columns[:, at] = np.where(np.isnan(numeric[:, feature]), np.inf, numeric[:, feature])
        if self.statistics:
            for row, numbers in enumerate(numeric):
                levels = codes[row].tolist()
                for at, each in self.statistics:
                    key = each.projection.key(numbers, levels)
                    columns[row, at : at + len(each.absent)] = each.found.get(key, each.absent)
        return columns

    def _derived(self, places: dict[Any, int], key: Any) -> int:
        if key not in places:
            places[key] = self.width
            self.width += 1
        return places[key]


class SymmetricTrees:
    """The trees of one model, as CatBoost describes them in json."""

    def __init__(self, described: dict[str, Any], columns: Columns) -> None:
        info = described["features_info"]
        self._columns = columns
        self._float_features = info.get("float_features") or []
        hashes = {
            entry["value"]: int(entry["hash"]) for entry in info.get("cat_features_hash") or []
        }
        self._hash_of = [hashes[str(level)] for level in range(len(hashes))]
        self._level_of = {_signed(value): level for level, value in enumerate(self._hash_of)}
        self._statistics = self._read_statistics(described)
        trees = described["oblivious_trees"]
        self.splits = [[self._place(split) for split in tree["splits"] or []] for tree in trees]
        self.depth = max(map(len, self.splits), default=0)
        self.n_leaves = [2 ** len(splits) for splits in self.splits]
        self.scale, bias = described["scale_and_bias"]
        self.bias = np.asarray(bias, dtype=np.float64)
        flat = np.concatenate([np.asarray(tree["leaf_values"], dtype=float) for tree in trees])
        self.values = flat.reshape(sum(self.n_leaves), -1)

    def padded(self, depth: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float32]]:
        """Return columns and borders of all splits, shape (n_trees, depth).

        Past a tree's own depth the border is infinite: no number is above it.
        """
        column = np.zeros((len(self.splits), depth), dtype=np.intp)
        border = np.full((len(self.splits), depth), np.inf, dtype=np.float32)
        for tree, splits in enumerate(self.splits):
            for level, (at, value) in enumerate(splits):
                column[tree, level], border[tree, level] = at, value
        return column, border

    def _place(self, split: dict[str, Any]) -> tuple[int, float]:
        """Return the column that a split asks about, and its border."""
        kind = split["split_type"]
        if kind == "FloatFeature":
            feature = int(split["float_feature_index"])
            above = self._float_features[feature]["nan_value_treatment"] == "AsTrue"
            column = self._columns.of_missing(feature) if above else feature
            return column, float(split["border"])
        if kind == "OneHotFeature":
            level = self._level_of.get(int(split["value"]), -1)
            return self._columns.of_level(int(split["cat_feature_index"]), level), 0.5
        return self._statistics[int(split["split_index"])], float(split["border"])

    def _read_statistics(self, described: dict[str, Any]) -> dict[int, int]:
        """Return the column that each split index over a statistic asks about."""
        info = described["features_info"]
        features = info.get("ctrs") or []
        by_table: dict[str, list[dict[str, Any]]] = {}
        for feature in features:
            by_table.setdefault(feature["identifier"], []).append(feature)
        place: dict[int, int] = {}
        for identifier, shared in by_table.items():
            statistics = self._table(shared, described["ctr_data"][identifier])
            first = self._columns.of_statistics(statistics)
            place |= {id(feature): first + i for i, feature in enumerate(shared)}
        # Splits are numbered through: those of numbers, then those of levels, then these.
        number = sum(len(f["borders"] or []) for f in self._float_features)
        number += sum(len(f.get("values") or []) for f in info.get("categorical_features") or [])
        column_of = {}
        for feature in features:
            for _ in feature["borders"]:
                column_of[number] = place[id(feature)]
                number += 1
        return column_of

    def _table(self, features: list[dict[str, Any]], data: dict[str, Any]) -> Statistics:
        """Return a table of statistics with the values of its features for each key."""
        stride, flat = int(data["hash_stride"]), data["hash_map"]
        denominator = int(data["counter_denominator"])
        found = {}
        for first in range(0, len(flat), stride):
            counts = [int(count) for count in flat[first + 1 : first + stride]]
            values = [_statistic(feature, counts, denominator) for feature in features]
            found[int(flat[first])] = np.array(values, dtype=np.float32)
        nothing = [0] * (stride - 1)
        absent = [_statistic(feature, nothing, denominator) for feature in features]
        projection = self._projection(features[0]["elements"])
        return Statistics(projection, found, np.array(absent, dtype=np.float32))

    def _projection(self, elements: list[dict[str, Any]]) -> Projection:
        hashes, borders, equals = [], [], []
        signed = [_signed(value) & MASK for value in self._hash_of]
        for element in elements:
            kind = element["combination_element"]
            if kind == "cat_feature_value":
                hashes.append((int(element["cat_feature_index"]), signed))
            elif kind == "float_feature":
                feature = int(element["float_feature_index"])
                borders.append((feature, np.float32(element["border"])))
            else:
                level = self._level_of.get(int(element["value"]), -1)
                equals.append((int(element["cat_feature_index"]), level))
        return Projection(tuple(hashes), tuple(borders), tuple(equals))


def _statistic(feature: dict[str, Any], counts: list[int], denominator: int) -> float:
    """Return a statistic from the counts under a key: of each class, or of all rows."""
    kind = feature["ctr_type"]
    if kind in ("Counter", "FeatureFreq"):
        part, total = counts[0], denominator
    elif kind == "Borders":
        part, total = sum(counts[int(feature["target_border_idx"]) + 1 :]), sum(counts)
    elif kind == "Buckets":
        part, total = counts[int(feature["target_border_idx"])], sum(counts)
    else:
        raise ValueError(f"statistics of a known kind are needed, got {kind!r}")
    mean = (part + feature["prior_numerator"]) / (total + feature["prior_denomerator"])
    return float((mean + feature["shift"]) * feature["scale"])


def _signed(value: int) -> int:
    """Return 32 bits as a signed number."""
    value &= 0xFFFFFFFF
    return value - 2**32 if value >= 2**31 else value


def _combined(key: int, value: int) -> int:
    return HASH_FACTOR * (key + HASH_FACTOR * value) & MASK


def every_level(blank: FeatureTable) -> Any:
    """Return rows in which every level occurs, from which CatBoost tells the levels' hashes."""
    n_rows = max(blank.n_levels)
    levels = np.arange(n_rows)[:, None] % np.array(blank.n_levels)
    numeric = np.zeros((n_rows, len(blank.numeric_names)), dtype=np.float32)
    names = blank.numeric_names, blank.code_names, blank.n_levels
    return as_pool(FeatureTable(numeric, levels.astype(np.int32), *names))


def described(model: CatBoost, pool: Any) -> dict[str, Any]:
    """Return a model as CatBoost describes it in json."""
    import catboost

    booster = catboost.CatBoost().load_model(blob=model.state().blobs[_BLOB], format="cbm")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        try:
            booster.save_model(str(path), format="json", pool=pool)
        except catboost.CatBoostError as error:
            raise ValueError(f"CatBoost does not describe the model: {error}") from error
        described: dict[str, Any] = json.loads(path.read_text())
    if "oblivious_trees" not in described:
        raise ValueError("trees must be symmetric")
    return described
