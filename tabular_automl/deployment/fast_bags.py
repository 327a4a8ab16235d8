"""A bag that answers few rows at once, by whatever way its family has to join its fold models.

Each joined bag is compared with the ordinary one when it is made, on rows that hit the borders of
its splits; where it is not equal, or the family has no such way, the ordinary bag answers.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tabular_automl.data.table import FeatureTable
from tabular_automl.deployment.joined_boosters import JoinedLightGBM, JoinedXGBoost
from tabular_automl.deployment.joined_catboost import JoinedCatBoost
from tabular_automl.deployment.joined_dense import JoinedLinear, JoinedNetworks
from tabular_automl.deployment.joined_forest import JoinedForest
from tabular_automl.deployment.joined_neighbors import JoinedNeighbors
from tabular_automl.ensemble.bagging import Bag
from tabular_automl.models.base import FittedSpec, Model, Prediction
from tabular_automl.models.catboost import CatBoost
from tabular_automl.models.forest import ExtraTrees, RandomForest
from tabular_automl.models.lightgbm import LightGBM
from tabular_automl.models.linear import Linear
from tabular_automl.models.neighbors import Neighbors
from tabular_automl.models.neural import NeuralNetwork
from tabular_automl.models.pairs import Pairs
from tabular_automl.models.xgboost import XGBoost

FEW_ROWS = 64  # for more, what a call costs is little next to what the rows cost
TOLERANCE = 1e-6
_BOOSTED = (LightGBM, XGBoost, CatBoost)
_SECONDS_OF_ARRAYS = 0.01
# For each megabyte that the folds of a bag hold. Those of the boosters were measured on one core;
# the other families only put arrays together, and a hundredth is an upper guess.
_SECONDS_TO_JOIN: dict[type[Model], float] = {
    LightGBM: 0.015,
    XGBoost: 0.12,
    CatBoost: 0.14,
    ExtraTrees: _SECONDS_OF_ARRAYS,
    RandomForest: _SECONDS_OF_ARRAYS,
    NeuralNetwork: _SECONDS_OF_ARRAYS,
    Linear: _SECONDS_OF_ARRAYS,
    Neighbors: _SECONDS_OF_ARRAYS,
}


class Joined(Protocol):
    """The fold models of a bag as one."""

    def predict(self, table: FeatureTable) -> Prediction:
        """Return the mean prediction of the folds, shape (n_samples, n_outputs)."""


@dataclass(frozen=True)
class _JoinedByFamily:
    """The joined form that a family makes itself."""

    predict: Callable[[FeatureTable], Prediction]


@dataclass(frozen=True)
class _OfExtended:
    """The joined form of a model that reads features which it made of others."""

    pairs: Pairs
    joined: Joined

    def predict(self, table: FeatureTable) -> Prediction:
        return self.joined.predict(self.pairs.extend(table))


@dataclass(frozen=True)
class FastBag(Bag):
    """A bag with its joined form.

    Attributes
    ----------
    joined : Joined or None
        Answers up to `FEW_ROWS` rows; None: the fold models do.
    reason : str
        Why there is no joined form; empty when there is.
    """

    joined: Joined | None = field(default=None, repr=False)
    reason: str = ""

    def predict(self, table: FeatureTable) -> Prediction:
        """Return the mean prediction of the fold models, shape (n_samples, n_outputs)."""
        if self.joined is None or not 0 < len(table) <= FEW_ROWS:
            return super().predict(table)
        return self.joined.predict(table)


def fast_bag(bag: Bag, table: FeatureTable, n_threads: int) -> FastBag:
    """Return a bag that predicts equally, on so many threads; the given one stays as it is.

    Parameters
    ----------
    bag : Bag
    table : FeatureTable
        Rows on which the joined form must equal the bag; see `probe_table`.
    n_threads : int
    """
    ordinary = unjoined_bag(bag, n_threads)
    if not has_joined_form(bag):
        return ordinary
    try:
        joined = _join([fitted.model for fitted in ordinary.models], table, n_threads)
        off = _difference(joined, ordinary, table)
    except Exception as error:  # whatever other libraries raise, the ordinary way answers
        return replace(ordinary, reason=f"{type(error).__name__}: {error}")
    if off > TOLERANCE:
        return replace(ordinary, reason=f"the joined form was off by {off:.2g}")
    return replace(ordinary, joined=joined, reason="")


def unjoined_bag(bag: Bag, n_threads: int) -> FastBag:
    """Return a bag that predicts equally, on so many threads, its models one by one."""
    models = tuple(FittedSpec(f.family, _on_threads(f.model, n_threads)) for f in bag.models)
    reason = "there was no time for it" if has_joined_form(bag) else _why_not_joined(bag)
    return FastBag(bag.key, bag.layer, models, reason=reason)


def has_joined_form(bag: Bag) -> bool:
    """Return whether the folds of a bag can answer as one: not if each made its own features."""
    family = type(bag.models[0].model)
    is_known = family in _SECONDS_TO_JOIN or family.joins
    return is_known and not (len(bag.models) > 1 and _any_has_pairs(bag))


def _why_not_joined(bag: Bag) -> str:
    if _any_has_pairs(bag):
        return "each of its models reads features that it made of others"
    return f"the family {bag.models[0].family!r} has no joined form"


def _any_has_pairs(bag: Bag) -> bool:
    return any(has_pairs(fitted.model) for fitted in bag.models)


def has_pairs(model: Model) -> bool:
    """Return whether a model reads features that it has made of others."""
    return isinstance(model, (LightGBM, CatBoost)) and len(model.pairs) > 0


def seconds_to_join(bag: Bag) -> float:
    """Return about how long joining the folds takes, from the size of what they hold."""
    states = [fitted.model.state() for fitted in bag.models]
    blobs = sum(len(raw) for state in states for raw in state.blobs.values())
    arrays = sum(array.nbytes for state in states for array in state.arrays.values())
    seconds = _SECONDS_TO_JOIN.get(type(bag.models[0].model), _SECONDS_OF_ARRAYS)
    return seconds * (blobs + arrays) / 1e6


def soon_joined(bags: Sequence[Bag], seconds: float) -> list[Bag]:
    """Return the bags that are joined in about so many seconds together, the quickest first."""
    able = [bag for bag in bags if has_joined_form(bag)]
    if math.isinf(seconds):
        return able
    needed = {bag.key: seconds_to_join(bag) for bag in able}
    able.sort(key=lambda bag: needed[bag.key])
    totals = itertools.accumulate(needed[bag.key] for bag in able)
    return [bag for bag, total in zip(able, totals, strict=True) if total <= seconds]


def _difference(joined: Joined, bag: FastBag, table: FeatureTable) -> float:
    """Return how far the joined form is off at most, relative above 1, row by row."""
    furthest = 0.0
    for row in range(len(table)):
        one = table.take([row])
        expected = bag.predict(one)
        off = np.abs(joined.predict(one) - expected) / np.maximum(1.0, np.abs(expected))
        furthest = max(furthest, float(np.nan_to_num(off, nan=np.inf).max()))
    return furthest


def probe_table(blank: FeatureTable, bags: Sequence[Bag], n_rows: int = 16) -> FeatureTable:
    """Return rows of values at and next to the borders of the bags' splits, some missing.

    Parameters
    ----------
    blank : FeatureTable
        Any table of the features; its rows are not looked at.
    bags : sequence of Bag
        Of the first layer.
    n_rows : int
    """
    rng = np.random.default_rng(0)
    numeric = rng.normal(size=(n_rows, len(blank.numeric_names))).astype(np.float32)
    borders = _borders(bags, len(blank.numeric_names))
    for feature, points in enumerate(borders):
        if len(points):
            near = np.concatenate([points, np.nextafter(points, np.float32(np.inf)), points - 1])
            numeric[:, feature] = rng.choice(near, n_rows)
    numeric[rng.random(numeric.shape) < 0.1] = np.nan
    levels = np.array(blank.n_levels, dtype=np.int64)
    codes = rng.integers(0, levels, (n_rows, len(levels))).astype(np.int32)
    raw = {name: np.full(n_rows, None, dtype=object) for name in blank.raw}
    names = blank.numeric_names, blank.code_names, blank.n_levels
    return FeatureTable(numeric, codes, *names, raw, blank.raw_kinds)


def _borders(bags: Sequence[Bag], n_numeric: int) -> list[npt.NDArray[np.float32]]:
    """Return the borders at which trees split each numeric feature, as far as easily told."""
    found: list[list[float]] = [[] for _ in range(n_numeric)]
    for bag in bags:
        for fitted in bag.models[:2]:
            for feature, border in _splits(fitted.model):
                if feature < n_numeric and abs(border) < 1e30:
                    # LightGBM takes what is nearer to 0 than 1e-35 for 0, and has borders there.
                    found[feature].append(border if abs(border) > 1e-30 else 0.0)
    return [np.unique(np.array(points, dtype=np.float32)) for points in found]


def _splits(model: Model) -> list[tuple[int, float]]:
    if isinstance(model, (ExtraTrees, RandomForest)):
        inner = model.nodes.feature >= 0
        some = slice(None, 20_000)
        pairs = model.nodes.feature[inner][some], model.nodes.threshold[inner][some]
        return list(zip(pairs[0].tolist(), pairs[1].tolist(), strict=True))
    text = model.state().blobs.get("booster.txt") if isinstance(model, LightGBM) else None
    if text is None:
        return []
    pairs_of_lines = []
    for line in text.decode().splitlines():
        name, _, values = line.partition("=")
        if name == "split_feature":
            features = [int(value) for value in values.split()]
        elif name == "threshold":
            borders = [float(value) for value in values.split()]
            pairs_of_lines += list(zip(features, borders, strict=True))
    return pairs_of_lines


def _on_threads(model: Model, n_threads: int) -> Model:
    """Return a model that shares everything with the given one but the number of threads."""
    own = copy.copy(model)
    own.setting = replace(model.setting, n_threads=n_threads)
    return own


def _join(models: list[Any], table: FeatureTable, n_threads: int) -> Joined:
    """Return the joined form of fold models of one family."""
    if has_pairs(models[0]):
        pairs = models[0].pairs
        return _OfExtended(pairs, _join_any(models, pairs.extend(table), n_threads))
    return _join_any(models, table, n_threads)


def _join_any(models: list[Any], table: FeatureTable, n_threads: int) -> Joined:
    """Return the joined form of models that read the table as it is."""
    family = type(models[0])
    if family.joins:
        answer = family.join(models)
        if answer is None:
            raise ValueError("these models cannot be joined")
        return _JoinedByFamily(answer)
    if family in _BOOSTED and any(model.outputs.is_constant for model in models):
        raise ValueError("a fold has no trees, since its target was constant")
    if family is LightGBM:
        return JoinedLightGBM(models, table.n_features, n_threads)
    if family is XGBoost:
        return JoinedXGBoost(models, table.n_features, n_threads)
    if family is CatBoost:
        return JoinedCatBoost(models, table)
    if family in (ExtraTrees, RandomForest):
        return JoinedForest(models)
    if family is NeuralNetwork:
        return JoinedNetworks(models)
    return JoinedLinear(models) if family is Linear else JoinedNeighbors(models)
