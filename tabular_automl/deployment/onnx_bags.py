"""Bags in an ONNX graph, by whatever way their family has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

from tabular_automl.core.errors import ExportError
from tabular_automl.deployment.fast_bags import has_pairs
from tabular_automl.deployment.onnx_boosters import add_lightgbm, add_xgboost
from tabular_automl.deployment.onnx_catboost import add_catboost
from tabular_automl.deployment.onnx_columns import Features
from tabular_automl.deployment.onnx_dense import add_linear, add_neural
from tabular_automl.deployment.onnx_forest import add_forests
from tabular_automl.deployment.onnx_graph import Graph, Value
from tabular_automl.ensemble.bagging import Bag
from tabular_automl.models.base import Model
from tabular_automl.models.catboost import CatBoost
from tabular_automl.models.forest import ExtraTrees, RandomForest
from tabular_automl.models.lightgbm import LightGBM
from tabular_automl.models.linear import Linear
from tabular_automl.models.neighbors import Neighbors
from tabular_automl.models.neural import NeuralNetwork
from tabular_automl.models.pairs import LARGEST, Pairs
from tabular_automl.models.prior import Prior
from tabular_automl.models.xgboost import XGBoost

# What reading another library's description of its trees may meet.
_NOT_CONVERTED = (ValueError, KeyError, IndexError)
_REASONS: Mapping[type[Model], str] = {
    Neighbors: "which of several almost equally near rows count depends on rounding",
}


def _add_prior(graph: Graph, models: Sequence[Prior], features: Features) -> list[Value]:
    averages = (np.asarray(model.average, dtype=np.float64) for model in models)
    return [graph.for_each_row(average) for average in averages]


_CONVERTERS: Mapping[type[Model], Callable[[Graph, Sequence[Any], Features], list[Value]]] = {
    LightGBM: add_lightgbm,
    XGBoost: add_xgboost,
    CatBoost: add_catboost,
    ExtraTrees: add_forests,
    RandomForest: add_forests,
    Linear: add_linear,
    NeuralNetwork: add_neural,
    Prior: _add_prior,
}


def check_bag(bag: Bag) -> None:
    """Raise now when a bag's family cannot be converted.

    Raises
    ------
    ExportError
    """
    family = type(bag.models[0].model)
    if family not in _CONVERTERS:
        raise _refusal(bag, _REASONS.get(family, "its family is not converted"))


def add_bag(graph: Graph, bag: Bag, features: Features) -> Value:
    """Return a bag's mean prediction on the models' scale, float64, shape (n_rows, n_outputs).

    Raises
    ------
    ExportError
        Names the model.
    """
    check_bag(bag)
    models = [fitted.model for fitted in bag.models]
    try:
        predictions = _predictions(graph, models, features)
    except _NOT_CONVERTED as error:
        raise _refusal(bag, str(error)) from error
    total = reduce(lambda one, other: graph.add("Add", one, other), predictions)
    return graph.add("Div", total, np.float64(len(models)))


def _predictions(graph: Graph, models: Sequence[Model], features: Features) -> list[Value]:
    """Return what each model predicts: all at once, unless each has made features of its own."""
    convert = _CONVERTERS[type(models[0])]
    if not any(has_pairs(model) for model in models):
        return convert(graph, models, features)
    found = []
    for model in models:
        pairs = model.pairs if isinstance(model, (LightGBM, CatBoost)) else Pairs.none()
        found += convert(graph, [model], _with_pairs(graph, pairs, features))
    return found


def _with_pairs(graph: Graph, pairs: Pairs, features: Features) -> Features:
    """Do what `Pairs.extend` does."""
    if not len(pairs) or features.numeric is None:
        return features
    sides = [graph.columns(features.numeric, pairs.made_of[:, side].tolist()) for side in (0, 1)]
    left, right = (graph.cast(side, np.float64) for side in sides)
    blocks = [graph.add(name, left, right) for name in ("Add", "Sub", "Mul", "Div")]
    n_pairs = len(pairs)
    places = [how * n_pairs + i for i, how in enumerate(pairs.made_of[:, 2].tolist())]
    made = graph.columns(graph.side_by_side(blocks), places)
    for bound, beyond in ((LARGEST, "Greater"), (-LARGEST, "Less")):
        limit = np.float64(bound)
        made = graph.add("Where", graph.add(beyond, made, limit), limit, made)
    return features.with_numeric(graph, graph.cast(made, np.float32), n_pairs)


def _refusal(bag: Bag, reason: str) -> ExportError:
    return ExportError(
        f"Model {bag.key!r} must be one that ONNX can hold, got one of the family "
        f"{bag.models[0].family!r}: {reason}; leave it out with without=[{bag.key!r}], or of the "
        f"fit with FitConfig(exclude=({bag.models[0].family!r},)), or serve with compile()."
    )
