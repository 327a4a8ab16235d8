"""Bags of LightGBM and XGBoost models in an ONNX graph; what all boosters' sums mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tabular_automl.deployment.joined_boosters import XGBoostTrees, trees_of
from tabular_automl.deployment.onnx_columns import Features
from tabular_automl.deployment.onnx_graph import Graph, Value
from tabular_automl.deployment.onnx_text_trees import linear_outputs, tree_of_text
from tabular_automl.deployment.onnx_trees import Trees, add_trees
from tabular_automl.models.boosting import Outputs

Reals = npt.NDArray[np.float64]


def add_lightgbm(graph: Graph, models: Sequence[Any], features: Features) -> list[Value]:
    """Return what each LightGBM model predicts."""

    def sums_of(trained: Sequence[Any]) -> Value:
        folds = [trees_of(model.state().blobs["booster.txt"].decode()) for model in trained]
        widths = [_width(model.outputs) for model in trained]
        parts, first = [], 0
        for trees, width in zip(folds, widths, strict=True):
            parts += [
                tree_of_text(text, features, first + i % width, linear_at=sum(widths))
                for i, text in enumerate(trees)
            ]
            first += width
        return linear_outputs(graph, Trees.join(parts), features, sum(widths))

    return predictions_of(graph, models, sums_of)


def add_xgboost(graph: Graph, models: Sequence[Any], features: Features) -> list[Value]:
    """Return what each XGBoost model predicts."""

    def sums_of(trained: Sequence[Any]) -> Value:
        folds = [XGBoostTrees(model.state().blobs["booster.ubj"]) for model in trained]
        parts, first = [], 0
        for fold in folds:
            width = len(fold.base)
            parts += [
                tree_of_text(text, features, first + i % width, values.tolist())
                for i, (text, values) in enumerate(zip(fold.texts, fold.leaves, strict=True))
            ]
            first += width
        base = np.concatenate([fold.base for fold in folds]).astype(np.float64)
        return graph.add("Add", add_trees(graph, Trees.join(parts), features.matrix, first), base)

    return predictions_of(graph, models, sums_of)


def predictions_of(
    graph: Graph, models: Sequence[Any], sums_of: Callable[[Sequence[Any]], Value]
) -> list[Value]:
    """Return the folds' predictions from the sums of all that have trees, side by side."""
    trained = [model for model in models if not model.outputs.is_constant]
    sums = sums_of(trained) if trained else ""
    predictions, first = [], 0
    for model in models:
        if model.outputs.is_constant:
            constant = model.outputs.decode(np.empty(0), 1)[0]
            predictions.append(graph.for_each_row(constant))
            continue
        width = _width(model.outputs)
        own = graph.columns(sums, np.arange(first, first + width))
        predictions.append(decoded(graph, model.outputs, own))
        first += width
    return predictions


def _width(outputs: Outputs) -> int:
    """Return the raw outputs of a booster."""
    return 1 if len(outputs.known) <= 2 else len(outputs.known)  # 0 known classes: a regression


def decoded(graph: Graph, outputs: Outputs, raw: Value) -> Value:
    """Return a prediction of shape (n_rows, n_outputs) from a booster's raw outputs.

    Parameters
    ----------
    graph : Graph
    outputs : Outputs
        Not constant.
    raw : Value
        float64: the target, log-odds of the second class, or a score for each known class.
    """
    n_known = len(outputs.known)
    if not n_known:
        return raw
    if n_known == 2:
        raw = graph.side_by_side([graph.add("Mul", raw, np.float64(0.0)), raw])
    shares = graph.add("Softmax", raw, axis=1)
    if n_known == outputs.n_outputs:
        return shares
    places, absent = np.zeros((n_known, outputs.n_outputs)), np.ones(outputs.n_outputs)
    absent[list(outputs.known)] = 0.0
    places[np.arange(n_known), list(outputs.known)] = 1.0 - outputs.floor * absent.sum()
    return graph.add("Add", graph.add("MatMul", shares, places), outputs.floor * absent)
