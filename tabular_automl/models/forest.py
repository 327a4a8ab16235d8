"""Forests of randomised trees: extra trees and random forests."""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from tabular_automl.artifacts.state import State
from tabular_automl.core.budget import Budget
from tabular_automl.core.errors import DataError, OutOfTimeError
from tabular_automl.core.params import Params as AnyParams
from tabular_automl.core.params import param
from tabular_automl.core.quantiles import quantiles_of_groups
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.data.task import ProblemType, Task
from tabular_automl.models.base import Model, Prediction
from tabular_automl.models.forest_nodes import Floats, Ints, Nodes, Reals, compact

_ROWS_PER_TREE = 100_000  # of larger tables each tree sees this many, unless told otherwise
_FEW_ROWS = 100  # up to here all trees descend together; above, one tree after the other
_PROBE_ROWS = 2_000
_MAX_BY_TARGET = 32  # levels; the order of more of them gives away the training rows' target
_ROWS_BEYOND = 2  # a quantile, in each leaf: of one row, each quantile is that row
_LEAF_ROWS = {ProblemType.BINARY: 5, ProblemType.MULTICLASS: 1, ProblemType.REGRESSION: 1}
_SMOOTHINGS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
_MAX_LOOKUPS = 5_000_000  # of leaf values while choosing among them
_MANY_ROWS = 10_000  # from which extra trees for numbers gain by trying more of the features
_MIN_WAVES = 10  # rounds of trees that should fit into the time, on fewer rows if need be


@dataclass(frozen=True)
class ForestParams(AnyParams):
    """Hyperparameters that both kinds of forest share."""

    n_trees: int = param(150, 1, 5000, log=True, doc="trees to grow while there is time")
    max_features: float | None = param(
        None, 0.01, 1.0, doc="part of the features tried at each split; None: by task and rows"
    )
    min_samples_leaf: int | None = param(
        None, 1, 1000, log=True, doc="fewest rows in a leaf; None: by task and loss"
    )
    max_depth: int | None = param(None, 1, 64, doc="deepest leaf; None: no limit")
    max_samples: float | None = param(
        None, 0.01, 1.0, doc="fraction of the rows each tree sees; None: at most 100,000 rows"
    )
    criterion: str = param("gini", choices=("gini", "entropy"), doc="impurity, for classes")
    leaf_smoothing: float | None = param(
        None, 0.001, 100.0, log=True, doc="imagined rows at the base rate in a leaf, for classes"
    )
    category_order: str = param(
        "target", choices=("target", "frequency", "code"), doc="how categories become numbers"
    )


class _Forest(Model):
    """What extra trees and random forests share: everything but how one tree is grown."""

    Params = ForestParams
    interruptible: ClassVar[bool] = True
    modules: ClassVar[tuple[str, ...]] = ("sklearn.tree",)
    bootstrap: ClassVar[bool]

    def fit(self, train: Samples, valid: Samples | None, budget: Budget) -> Self:
        """Grow trees until ``n_trees`` or the budget's end; ``valid`` is not needed."""
        if budget.expired():
            raise OutOfTimeError("A forest needs time for one tree, got none; raise the limit.")
        if not train.table.n_features:
            raise DataError("A forest needs at least 1 feature, got 0; leave it out of this fit.")
        self._fit_encoding(train)
        growth = _Growth(self, self._encoded(train.table), train)
        # The rest is for smoothing the leaves and for predicting the validation rows.
        grown = Nodes.join(growth.grow(budget.share(0.8)))
        self.hurried = growth.hurried
        self.smoothing = 0.0
        if self.setting.task.is_classification:
            self.smoothing = self.params.leaf_smoothing or self._chosen_smoothing(
                grown, growth.base, valid
            )
            grown = replace(grown, values=_smoothed(grown.values, growth.base, self.smoothing))
        self.nodes = grown
        return self

    def predict(self, table: FeatureTable) -> Prediction:
        """Return the trees' mean prediction."""
        matrix = self._encoded(table)
        if len(matrix) <= _FEW_ROWS:
            leaves = self.nodes.leaves_of_few(matrix)
            total = self.nodes.values[leaves].sum(axis=1, dtype=np.float64)
        else:
            total = self.nodes.add_up(matrix, self.setting.n_threads)
        if self.setting.task.is_classification:
            return total / total.sum(axis=1, keepdims=True)
        return total / self.nodes.n_trees

    def state(self) -> State:
        """Return the node arrays, and what numbers stand for missing values and categories."""
        nodes = self.nodes
        n_features = len(self.fill) + len(self.levels)
        return State(
            meta={
                "n_levels": [len(values) for values in self.levels],
                "smoothing": self.smoothing,
            },
            arrays={
                "feature": nodes.feature.astype(np.int16 if n_features < 2**15 else np.int32),
                "threshold": nodes.threshold,
                "child": nodes.child,
                "values": nodes.values,
                "starts": nodes.starts,
                "fill": self.fill,
                "levels": np.concatenate([np.empty(0, np.float32), *self.levels]),
            },
        )

    def restore(self, state: State) -> None:
        """Take the arrays back; raises ArtifactError when they are not a forest's."""
        task, n_levels = self.setting.task, [int(n) for n in state.meta["n_levels"]]
        state.require(min(n_levels, default=0) >= 0, "n_levels", "be numbers of levels")
        # Older artifacts do not tell.
        self.smoothing = state.number("smoothing", least=0.0) if "smoothing" in state.meta else 0.0
        levels = state.array("levels", np.float32, (sum(n_levels),))
        self.fill = state.array("fill", np.float32, (None,))
        self.levels = np.split(levels, np.cumsum(n_levels, dtype=int))[:-1]
        feature = state.array(
            "feature", np.int32, (None,), least=-1, below=len(self.fill) + len(self.levels)
        )
        self.nodes = Nodes(
            feature=feature,
            threshold=state.array("threshold", np.float32, feature.shape),
            child=state.array("child", np.int32, feature.shape, least=0),
            # Shares of classes add up to something that is divided by.
            values=state.array(
                "values",
                np.float32,
                (None, task.n_outputs),
                least=0 if task.is_classification else None,
            ),
            starts=state.array("starts", np.int32, (None,), least=0, below=len(feature) + 1),
        )
        state.require(self.nodes.all_end(), "child", "lead from every root to leaves")

    @classmethod
    def estimate_bytes(cls, params: AnyParams, table: FeatureTable, task: Task) -> int:
        """Count the encoded matrix, all trees' nodes, and one tree in scikit-learn's form."""
        shape: Any = params
        rows = min(len(table), _ROWS_PER_TREE if shape.max_samples is None else len(table))
        n_nodes = 2 * rows // max(1, int(1.5 * _leaf_rows(shape, task))) + 1
        if shape.max_depth is not None:
            n_nodes = min(n_nodes, 2 ** (shape.max_depth + 1))
        kept = shape.n_trees * n_nodes * (12 + 2 * task.n_outputs)
        return int(2 * table.n_bytes + kept + n_nodes * (64 + 8 * task.n_outputs))

    def fitted_params(self) -> AnyParams:
        """Return the params with the smoothing that was chosen."""
        params: ForestParams = self.params
        return replace(params, leaf_smoothing=self.smoothing) if self.smoothing else params

    def amount_learned(self) -> float | None:
        """Return the trees; `hurried` tells whether each of them saw fewer rows than planned."""
        return float(self.nodes.n_trees)

    def _chosen_smoothing(self, grown: Nodes, base: Reals, valid: Samples | None) -> float:
        """Return the smoothing of leaves with the least log loss on validation rows."""
        if valid is None or not len(valid) or (valid.weight is not None and not valid.weight.any()):
            return 0.1
        rows = np.arange(len(valid)) if valid.weight is None else np.flatnonzero(valid.weight)
        n_rows = max(100, _MAX_LOOKUPS // (grown.n_trees * len(base)))
        # Rows in order may be rows of one kind, so a part of them is drawn.
        order = np.random.default_rng(self.setting.seed).permutation(rows)[:n_rows]
        leaves = grown.leaves_of_few(self._encoded(valid.table.take(order)))
        truth = np.arange(len(order)), valid.y[order]
        weight = None if valid.weight is None else valid.weight[order]
        losses = []
        for smoothing in _SMOOTHINGS:
            values = _smoothed(grown.values, base, smoothing)
            shares = values[leaves].mean(axis=1, dtype=np.float64)
            losses.append(np.average(-np.log(shares[truth]), weights=weight))
        return _SMOOTHINGS[int(np.argmin(losses))]

    def _tree(self, **options: Any) -> Any:
        """Return an unfitted scikit-learn tree."""
        raise NotImplementedError

    def _fit_encoding(self, train: Samples) -> None:
        numeric = train.table.numeric
        present = ~np.isnan(numeric).all(axis=0)
        self.fill = np.zeros(numeric.shape[1], dtype=np.float32)
        self.fill[present] = np.nanmedian(numeric[:, present], axis=0)
        self.levels = [
            _level_values(codes, n_levels, train, self.setting.task, self.params.category_order)
            for codes, n_levels in zip(train.table.codes.T, train.table.n_levels, strict=True)
        ]

    def _encoded(self, table: FeatureTable) -> Floats:
        """Return numbers, medians for missing ones, and categories by their place in line."""
        n_numeric = len(self.fill)
        matrix = np.empty((len(table), n_numeric + len(self.levels)), dtype=np.float32)
        numeric, codes = table.numeric, table.codes
        matrix[:, :n_numeric] = np.where(np.isnan(numeric), self.fill, numeric)
        for column, values in enumerate(self.levels):
            matrix[:, n_numeric + column] = values[codes[:, column]]
        return matrix


class ExtraTrees(_Forest):
    """Trees on all rows that split at random thresholds and keep the best of them [1]_.

    References
    ----------
    .. [1] P. Geurts, D. Ernst, L. Wehenkel, "Extremely randomized trees", Machine Learning 63,
       2006.
    """

    bootstrap = False

    def _tree(self, **options: Any) -> Any:
        from sklearn.tree import ExtraTreeClassifier, ExtraTreeRegressor

        kind = ExtraTreeClassifier if self.setting.task.is_classification else ExtraTreeRegressor
        return kind(**options)


class RandomForest(_Forest):
    """Trees on bootstrap samples that split at the best threshold of random features [1]_.

    References
    ----------
    .. [1] L. Breiman, "Random forests", Machine Learning 45, 2001.
    """

    bootstrap = True

    def _tree(self, **options: Any) -> Any:
        from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

        is_classification = self.setting.task.is_classification
        return (DecisionTreeClassifier if is_classification else DecisionTreeRegressor)(**options)


class _Growth:
    """One fit of a forest: the encoded rows, and how a tree is grown on them."""

    def __init__(self, forest: _Forest, matrix: Floats, train: Samples) -> None:
        self.forest = forest
        self.params: ForestParams = forest.params
        self.task = forest.setting.task
        self.matrix, self.y, self.weight = matrix, train.y, train.weight
        # A leaf of one row has no use for the row's weight.
        weighed = self.params.min_samples_leaf is None and train.weight is not None
        rows = _leaf_rows(self.params, self.task, forest.setting.quantile)
        self._leaf_rows = max(2 if weighed else 1, rows)
        self.share = self.params.max_samples or min(1.0, _ROWS_PER_TREE / len(train))
        self.hurried = False
        if self.task.is_classification:
            count = np.bincount(train.y, weights=train.weight, minlength=self.task.n_classes)
            self.base = (count + 1 / self.task.n_classes) / (count.sum() + 1)

    def grow(self, budget: Budget) -> list[Nodes]:
        """Grow trees, as many at once as there are threads, until done or out of time."""
        setting = self.forest.setting
        seeds = np.random.SeedSequence(setting.seed).generate_state(self.params.n_trees).tolist()
        trees: list[Nodes] = []
        fallback, expected = self._probe(seeds[0], budget) if budget.limited else ([], 0.0)
        with ThreadPoolExecutor(setting.n_threads) as pool:
            for first in range(0, len(seeds), setting.n_threads):
                began = time.monotonic()
                if budget.limited and budget.remaining() < expected:
                    break
                trees.extend(pool.map(self._grow_tree, seeds[first : first + setting.n_threads]))
                expected = 1.2 * (time.monotonic() - began)
        return trees or fallback

    def _probe(self, seed: int, budget: Budget) -> tuple[list[Nodes], float]:
        """Time a tree on few rows; have trees see fewer rows when too few of them would fit.

        Returns the small tree, which is better than nothing, and the seconds to expect of others.
        """
        n_samples = len(self.y)
        full = self.share
        self.share = min(full, _PROBE_ROWS / n_samples)
        began = time.monotonic()
        tree = self._grow_tree(seed)
        seconds = time.monotonic() - began
        # Growing takes n log n steps, and small samples stay in the cache, hence the exponent.
        expected = seconds * (full / self.share) ** 1.25
        affordable = budget.remaining() / _MIN_WAVES
        if expected > affordable:
            full = max(self.share, full * affordable / expected)
            self.hurried = True
            expected = min(expected, affordable)
        self.share = full
        return [tree], expected

    def _grow_tree(self, seed: int) -> Nodes:
        """Grow one tree from its own seed."""
        weight = self._drawn(seed)
        tree = self.forest._tree(**self._options(seed))
        tree.fit(self.matrix, self.y, sample_weight=weight, check_input=False)
        grown = tree.tree_
        values = grown.value[:, 0, :]
        if self.task.is_classification:
            values = self._class_values(tree, values)
        elif (quantile := self.forest.setting.quantile) is not None:
            leaf = grown.apply(self.matrix)
            values = _with_leaf_quantiles(values, leaf, self.y, weight, quantile)
        return compact(grown, values.astype(np.float32))

    def _drawn(self, seed: int) -> Reals | None:
        """Return the rows' weights in this tree: 0 for rows left out."""
        n_samples = len(self.y)
        n_drawn = max(1, round(self.share * n_samples))
        rng = np.random.default_rng(seed)
        if self.forest.bootstrap:
            picked = rng.integers(0, n_samples, n_drawn)
        elif n_drawn < n_samples:
            picked = rng.choice(n_samples, n_drawn, replace=False)
        else:
            return self.weight
        drawn = np.bincount(picked, minlength=n_samples).astype(np.float64)
        return drawn if self.weight is None else drawn * self.weight

    def _options(self, seed: int) -> dict[str, Any]:
        n_features = self.matrix.shape[1]
        options = {
            "max_features": max(1, round(self._features_tried() * n_features)),
            "min_samples_leaf": self._leaf_rows,
            "max_depth": self.params.max_depth,
            "random_state": seed,
        }
        if self.task.is_classification:
            options["criterion"] = self.params.criterion
        return options

    def _features_tried(self) -> float:
        if self.params.max_features is not None:
            return self.params.max_features
        if self.task.is_classification:
            return 1 / math.sqrt(self.matrix.shape[1])
        random_thresholds = not self.forest.bootstrap
        return 0.75 if random_thresholds and len(self.matrix) >= _MANY_ROWS else 0.5

    def _class_values(self, tree: Any, values: Reals) -> Reals:
        """Return each node's class shares over all classes, and last the weight of its rows."""
        shares = np.zeros((len(values), self.task.n_classes + 1))
        shares[:, tree.classes_] = values / np.maximum(values.sum(axis=1, keepdims=True), 1e-12)
        shares[:, -1] = tree.tree_.weighted_n_node_samples
        return shares


def _smoothed(values: Floats, base: Reals, smoothing: float) -> Floats:
    """Return class shares pulled to the base rate, the more the lighter the leaf."""
    shares, mass = values[:, :-1], values[:, -1:]
    pulled: Floats = (shares * mass + smoothing * base) / (mass + smoothing)
    return pulled.astype(np.float32)


def _leaf_rows(params: ForestParams, task: Task, quantile: float | None = None) -> int:
    """Return the fewest rows in a leaf; two classes are noisy more often than many are."""
    if params.min_samples_leaf is not None:
        return params.min_samples_leaf
    if quantile is None or quantile == 0.5:
        return _LEAF_ROWS[task.problem_type]
    return round(_ROWS_BEYOND / min(quantile, 1.0 - quantile))


def _with_leaf_quantiles(
    values: Reals, leaf: npt.NDArray[np.intp], y: Reals, weight: Reals | None, quantile: float
) -> Reals:
    """Return the nodes' values with those of leaves replaced by a quantile of their rows."""
    nodes, of_leaves = quantiles_of_groups(y, leaf, weight, quantile)
    replaced = values.copy()
    replaced[nodes, 0] = of_leaves
    return replaced


def _level_values(codes: Ints, n_levels: int, train: Samples, task: Task, order: str) -> Floats:
    """Return the number that stands for each level of a categorical feature."""
    if order == "code":
        return np.arange(n_levels, dtype=np.float32)
    count = np.bincount(codes, weights=train.weight, minlength=n_levels).astype(np.float64)
    if order == "frequency" or n_levels > _MAX_BY_TARGET:
        return _ranks(count)
    target = train.y if not task.is_classification else train.y == _split_class(train, task)
    sums = np.bincount(codes, weights=target * _weights(train), minlength=n_levels)
    base = sums.sum() / max(count.sum(), 1e-12)
    return _ranks((sums - base * count) / (count + 10.0))


def _split_class(train: Samples, task: Task) -> int:
    return int(np.bincount(train.y, minlength=task.n_classes).argmax())


def _weights(train: Samples) -> Any:
    return 1.0 if train.weight is None else train.weight


def _ranks(keys: Reals) -> Floats:
    """Return each key's place among the distinct keys."""
    return np.unique(keys, return_inverse=True)[1].astype(np.float32)
