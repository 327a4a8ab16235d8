"""The trees of all fold models of a boosted bag as one booster.

LightGBM's text format can hold any tree that splits on thresholds or sets of levels, so the trees
of several LightGBM or XGBoost boosters become the trees of one, each fold an output of its own.
Many small trees are answered from bits (`TreeBits`). Others are walked by LightGBM in one call: a
call of a booster for one row costs a multiple of what its trees cost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tabular_automl.data.table import FeatureTable
from tabular_automl.deployment.asked_booster import Answer, AskedBooster
from tabular_automl.deployment.fold_outputs import FoldOutputs
from tabular_automl.deployment.tree_bits import NotAsBitsError, TreeBits
from tabular_automl.models.base import Prediction
from tabular_automl.models.lightgbm import LightGBM
from tabular_automl.models.xgboost import XGBoost

_NO_TREE = "num_leaves=1\nnum_cat=0\nleaf_value=0\nis_linear=0\nshrinkage=1\n\n\n"
_SIGMOID = re.compile(r"^objective=binary sigmoid:(\S+)", re.M)
_CATEGORICAL, _DEFAULT_LEFT, _NAN_IS_MISSING = 1, 2, 8


class JoinedLightGBM:
    """A bag of LightGBM models as one booster.

    Parameters
    ----------
    models : sequence of LightGBM
        With trees.
    n_features, n_threads : int
    """

    def __init__(self, models: Sequence[LightGBM], n_features: int, n_threads: int) -> None:
        self._outputs = FoldOutputs([model.outputs for model in models])
        texts = [model.state().blobs["booster.txt"].decode() for model in models]
        trees = _by_rounds([trees_of(text) for text in texts], self._outputs.starts)
        n_columns = int(self._outputs.starts[-1])
        self._asked = _asked(trees, "raw_score", n_columns, n_features, n_threads)

    def predict(self, table: FeatureTable) -> Prediction:
        """Return the mean prediction of the folds, shape (n_samples, n_outputs)."""
        return self._outputs.mean(self._asked.predict(table.matrix()))


class JoinedXGBoost:
    """A bag of XGBoost models as one booster; sums run in float32, as XGBoost's do.

    Parameters
    ----------
    models : sequence of XGBoost
        With trees.
    n_features, n_threads : int
    """

    def __init__(self, models: Sequence[XGBoost], n_features: int, n_threads: int) -> None:
        self._outputs = FoldOutputs([model.outputs for model in models])
        starts = self._outputs.starts
        folds = [XGBoostTrees(model.state().blobs["booster.ubj"]) for model in models]
        trees, n_columns = _by_rounds([fold.texts for fold in folds], starts), int(starts[-1])
        n_rounds = len(trees) // n_columns
        self._base = np.concatenate([fold.base for fold in folds])
        if len(self._base) != n_columns:
            raise ValueError(f"{n_columns} outputs must have a base each, got {len(self._base)}")
        leaves = [[np.zeros(1, dtype=np.float32)] * n_columns for _ in range(n_rounds)]
        for start, stop, fold in zip(starts, starts[1:], folds, strict=False):
            width = stop - start
            for position, values in enumerate(fold.leaves):
                leaves[position // width][start + position % width] = values
        flat = [values for row in leaves for values in row]
        self._values = np.concatenate(flat)
        self._first = np.cumsum([0] + [len(values) for values in flat])[:-1]
        self._asked = _asked(trees, "pred_leaf", n_columns, n_features, n_threads)

    def predict(self, table: FeatureTable) -> Prediction:
        """Return the mean prediction of the folds, shape (n_samples, n_outputs)."""
        leaves = self._asked.predict(table.matrix()).astype(np.intp)
        values = self._values[self._first + leaves].reshape(len(table), -1, len(self._base))
        values[:, 0] += self._base
        return self._outputs.mean(np.add.accumulate(values, axis=1)[:, -1])


def _by_rounds(folds: Sequence[Sequence[str]], starts: npt.NDArray[Any]) -> list[str]:
    """Return all folds' trees, those of a round together; folds with fewer get trees of value 0.

    ``folds`` holds each fold's trees as text without their number, those of a round together.
    """
    widths = np.diff(starts)
    n_rounds = max(len(trees) // width for trees, width in zip(folds, widths, strict=True))
    blocks = []
    for turn in range(n_rounds):
        for trees, width in zip(folds, widths, strict=True):
            own = trees[turn * width : (turn + 1) * width]
            blocks += [*own, *[_NO_TREE] * (width - len(own))]
    return blocks


def _asked(
    trees: Sequence[str], answer: Answer, n_columns: int, n_features: int, n_threads: int
) -> TreeBits | AskedBooster:
    """Return what answers for the trees, in whichever way is sooner."""
    try:
        return TreeBits(trees, answer, n_columns, n_features)
    except NotAsBitsError:
        booster = _booster_of(trees, n_columns, n_features)
        n_answers = n_columns if answer == "raw_score" else len(trees)
        return AskedBooster(booster, answer, n_answers, n_threads)


def _booster_of(trees: Sequence[str], n_columns: int, n_features: int) -> Any:
    """Return one booster of trees."""
    import lightgbm

    header = [
        *("tree", "version=v4", f"num_class={n_columns}", f"num_tree_per_iteration={n_columns}"),
        *("label_index=0", f"max_feature_idx={n_features - 1}"),
        "feature_names=" + " ".join(f"Column_{i}" for i in range(n_features)),
        "feature_infos=" + " ".join(["none"] * n_features),
    ]
    numbered = "".join(f"Tree={i}\n{block}" for i, block in enumerate(trees))
    text = "\n".join(header) + "\n\n" + numbered + "end of trees\n"
    try:
        return lightgbm.Booster(model_str=text)
    except lightgbm.basic.LightGBMError as error:
        raise ValueError(f"LightGBM does not read the joined trees: {error}") from error


def trees_of(text: str) -> list[str]:
    """Return the trees in LightGBM's own text, without their numbers."""
    scale = _SIGMOID.search(text, 0, text.find("\nTree="))
    if scale is not None and float(scale[1]) != 1.0:
        raise ValueError(f"the sigmoid of a booster must be of scale 1, got {scale[1]}")
    body = text[: text.index("end of trees")]
    return [block.partition("\n")[2] for block in body.split("\nTree=")[1:]]


class XGBoostTrees:
    """The trees of one XGBoost booster.

    Attributes
    ----------
    texts : list of str
        In LightGBM's text format.
    leaves : list of ndarray of float32
        Leaf values of each tree.
    base : ndarray of float32, shape (n_outputs,)
        Where the sums begin.
    """

    def __init__(self, raw: bytes) -> None:
        import xgboost

        booster = xgboost.Booster(model_file=bytearray(raw))
        learner = json.loads(bytes(booster.save_raw("json")))["learner"]
        model = learner["gradient_booster"]["model"]
        n_outputs = max(1, int(learner["learner_model_param"]["num_class"]))
        if model["tree_info"] != [i % n_outputs for i in range(len(model["trees"]))]:
            raise ValueError("trees must come by rounds, one for each output")
        trees = [_XGBoostTree(tree) for tree in model["trees"]]
        self.texts = [tree.text() for tree in trees]
        self.leaves = [tree.leaf_values for tree in trees]
        base = json.loads(learner["learner_model_param"]["base_score"])
        self.base = np.resize(np.asarray(base, dtype=np.float32), n_outputs)
        if learner["objective"]["name"] == "binary:logistic":
            self.base = -np.log(1.0 / self.base - 1.0)


class _XGBoostTree:
    """One tree of an XGBoost booster, its inner nodes and its leaves numbered apart."""

    def __init__(self, tree: dict[str, Any]) -> None:
        self._left = np.array(tree["left_children"])
        self._right = np.array(tree["right_children"])
        self._inner = self._left >= 0
        n_inner = int(self._inner.sum())
        if n_inner != len(self._left) - n_inner - 1:
            raise ValueError("a tree must have one leaf more than inner nodes")
        leaf_number = np.cumsum(~self._inner) - 1
        self._number = np.where(self._inner, np.cumsum(self._inner) - 1, -leaf_number - 1)
        conditions = np.array(tree["split_conditions"], dtype=np.float32)
        self.leaf_values = conditions[~self._inner]
        self._feature = np.array(tree["split_indices"])[self._inner]
        # XGBoost goes left below the threshold, LightGBM up to it.
        below = np.nextafter(conditions, np.float32(-np.inf), dtype=np.float32)
        self._threshold = below[self._inner].astype(np.float64)
        self._default_left = np.array(tree["default_left"], dtype=bool)[self._inner]
        self._is_set = np.array(tree["split_type"])[self._inner] == 1
        self._sets = self._sets_by_node(tree)

    @staticmethod
    def _sets_by_node(tree: dict[str, Any]) -> dict[int, list[int]]:
        sizes = zip(tree["categories_segments"], tree["categories_sizes"], strict=True)
        levels = [tree["categories"][first : first + size] for first, size in sizes]
        return dict(zip(tree["categories_nodes"], levels, strict=True))

    def text(self) -> str:
        """Return the tree in LightGBM's format."""
        n_leaves = len(self.leaf_values)
        if n_leaves == 1:
            return _NO_TREE
        left = self._number[self._left[self._inner]]
        right = self._number[self._right[self._inner]]
        # Levels of a set go right in XGBoost, left in LightGBM.
        left, right = np.where(self._is_set, right, left), np.where(self._is_set, left, right)
        kind = _NAN_IS_MISSING + _DEFAULT_LEFT * self._default_left
        kind = np.where(self._is_set, _CATEGORICAL | _NAN_IS_MISSING, kind)
        threshold, words, bounds = self._bit_sets()
        lines = {
            "num_leaves": [n_leaves],
            "num_cat": [len(bounds) - 1],
            "split_feature": self._feature.tolist(),
            "threshold": threshold,
            "decision_type": kind.tolist(),
            "left_child": left.tolist(),
            "right_child": right.tolist(),
            "leaf_value": [0] * n_leaves,
        }
        if words:
            lines |= {"cat_boundaries": bounds, "cat_threshold": words}
        lines |= {"is_linear": [0], "shrinkage": [1]}
        shown = (f"{name}={' '.join(map(repr, values))}\n" for name, values in lines.items())
        return "".join(shown) + "\n\n"

    def _bit_sets(self) -> tuple[list[Any], list[int], list[int]]:
        """Return thresholds, those of sets by their number, the sets' bits, and their bounds."""
        threshold: list[Any] = self._threshold.tolist()
        words: list[int] = []
        bounds = [0]
        nodes = np.flatnonzero(self._inner)
        for position in np.flatnonzero(self._is_set).tolist():
            levels = self._sets[int(nodes[position])]
            bits = [0] * (max(levels, default=0) // 32 + 1)
            for level in levels:
                bits[level // 32] |= 1 << level % 32
            threshold[position] = len(bounds) - 1
            words += bits
            bounds.append(len(words))
        return threshold, words, bounds
