"""Models that read a dense matrix, linear ones and networks, in an ONNX graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tabular_automl.deployment.onnx_columns import Features
from tabular_automl.deployment.onnx_graph import Graph, Value
from tabular_automl.models.dense import COUNT_LENGTH, FAR, DenseEncoder
from tabular_automl.models.linear import Linear
from tabular_automl.models.neural import NeuralNetwork

_ONE = np.float32(1.0)


def add_linear(graph: Graph, models: Sequence[Linear], features: Features) -> list[Value]:
    """Return what each linear model predicts."""
    return [_linear(graph, model, features) for model in models]


def add_neural(graph: Graph, models: Sequence[NeuralNetwork], features: Features) -> list[Value]:
    """Return what each fold's networks predict."""
    return [_Networks(graph, model).prediction(features) for model in models]


def encoded(graph: Graph, encoder: DenseEncoder, features: Features) -> Value:
    """Return what `DenseEncoder.transform` makes of the features, shape (n_rows, width)."""
    blocks: list[Value] = []
    if features.numeric is not None:
        blocks.append(_numbers(graph, encoder, features.numeric))
        if len(encoder.piece_column):
            blocks.append(_pieces(graph, encoder, features.numeric))
    for column, levels in enumerate(encoder.tables or []):
        if levels.shape[1] and features.codes is not None:
            code = graph.column(features.codes, column)
            blocks.append(graph.add("Gather", np.asarray(levels, dtype=np.float32), code))
    if not blocks:
        raise ValueError("the features of a fold must vary")
    return graph.side_by_side(blocks)


def _numbers(graph: Graph, encoder: DenseEncoder, numeric: Value) -> Value:
    """Return scaled numbers, and counts of words in their place."""
    center, scale = (np.asarray(a, dtype=np.float32) for a in (encoder.center, encoder.scale))
    scaled = graph.add("Mul", graph.add("Sub", numeric, center), scale)
    missing = graph.add("IsNaN", scaled)
    scaled = graph.add("Where", missing, np.float32(0.0), scaled)
    scaled = graph.add("Clip", scaled, np.float32(-FAR), np.float32(FAR))
    if encoder.clip:
        third = graph.add("Mul", scaled, np.float32(1 / 3))
        squared = graph.add("Add", graph.add("Mul", third, third), _ONE)
        scaled = graph.add("Div", scaled, graph.add("Sqrt", squared))
    if not len(encoder.count_column):
        return scaled
    both = graph.side_by_side([scaled, _word_weights(graph, encoder, numeric)])
    order = np.arange(len(center))
    order[encoder.count_column] = len(center) + np.arange(len(encoder.count_column))
    return graph.columns(both, order)


def _word_weights(graph: Graph, encoder: DenseEncoder, numeric: Value) -> Value:
    """Return counts weighted by rarity, each row's scaled to one length."""
    counts = _or_zero(graph, graph.columns(numeric, encoder.count_column))
    weights = graph.add("Mul", counts, np.asarray(encoder.rarity, dtype=np.float32))
    length = graph.add("ReduceL2", weights, axes=np.array([1]), keepdims=1)
    length = graph.add("Max", length, np.float32(1e-6))
    return graph.add("Mul", weights, graph.add("Div", np.float32(COUNT_LENGTH), length))


def _pieces(graph: Graph, encoder: DenseEncoder, numeric: Value) -> Value:
    """Return how far each number has come along each piece."""
    risen = graph.add("Sub", graph.columns(numeric, encoder.piece_column), encoder.piece_low)
    risen = graph.add("Mul", risen, encoder.piece_slope)
    missing = graph.add("IsNaN", risen)
    risen = graph.add("Where", missing, np.float32(0.5), risen)
    risen = graph.add("Clip", risen, np.float32(0.0), _ONE)
    return graph.add("Sub", risen, np.float32(0.5))


def _or_zero(graph: Graph, values: Value) -> Value:
    return graph.add("Where", graph.add("IsNaN", values), np.float32(0.0), values)


def _linear(graph: Graph, model: Linear, features: Features) -> Value:
    x = encoded(graph, model.encoder, features)
    scores = graph.add("MatMul", x, np.asarray(model.coefficients, dtype=np.float32))
    intercept = np.asarray(model.intercept, dtype=np.float32)
    scores = graph.cast(graph.add("Add", scores, intercept), np.float64)
    task = model.setting.task
    if not task.is_classification:
        return graph.add("Clip", scores, np.float64(model.bounds[0]), np.float64(model.bounds[1]))
    if task.n_classes == 2:
        scores = graph.side_by_side([graph.add("Mul", scores, np.float64(0.0)), scores])
    return graph.add("Softmax", scores, axis=1)


class _Networks:
    """The networks of one fold, as `NeuralNetwork.outputs` computes them."""

    def __init__(self, graph: Graph, model: NeuralNetwork) -> None:
        self._graph, self._model = graph, model
        state = model.state()
        self._encoder = DenseEncoder()
        self._encoder.restore(state.children["encoder"])
        self._wavy, self._range = state.arrays["wavy"], state.arrays["range"]
        self._arrays: dict[str, Any] = {
            name.removeprefix("net."): array
            for name, array in state.arrays.items()
            if name.startswith("net.")
        }

    def prediction(self, features: Features) -> Value:
        """Return the mean prediction of the members, float64, shape (n_rows, n_outputs)."""
        graph, n_layers = self._graph, self._model.params.n_layers
        hidden = self._first_layer(encoded(graph, self._encoder, features))
        for layer in range(n_layers):
            if layer:
                hidden = graph.add("MatMul", hidden, self._arrays[f"weight_{layer}"])
            hidden = graph.add("Add", hidden, self._by_member(f"bias_{layer}"))
            bent = graph.add("Sub", self._bent(hidden), hidden)
            mixed = graph.add("Mul", bent, self._by_member(f"mix_{layer}"))
            hidden = graph.add("Add", hidden, mixed)
        last = graph.add("MatMul", hidden, self._arrays[f"weight_{n_layers}"])
        last = graph.add("Add", last, self._by_member(f"bias_{n_layers}"))
        return self._mean(graph.cast(last, np.float64))

    def _first_layer(self, x: Value) -> Value:
        """Return x and its waves times the first weights, shape (n_members, n_rows, width)."""
        graph, arrays = self._graph, self._arrays
        if "frequency" not in arrays:
            return graph.add("MatMul", x, arrays["weight_0"])
        width = self._encoder.width
        own = graph.add("MatMul", x, np.ascontiguousarray(arrays["weight_0"][:, :width]))
        wavy = graph.add("Unsqueeze", graph.columns(x, self._wavy), np.array([2]))
        angle = graph.add("Mul", wavy, self._by_member("frequency"))
        waves = graph.add("Cos", graph.add("Add", angle, self._by_member("phase")))
        waves = graph.add("Reshape", waves, np.array([len(arrays["phase"]), 0, -1]))
        ahead = np.ascontiguousarray(arrays["weight_0"][:, width:])
        return graph.add("Add", own, graph.add("MatMul", waves, ahead))

    def _by_member(self, name: str) -> Any:
        """Return an array with an axis for the rows behind that of the members."""
        return np.asarray(self._arrays[name], dtype=np.float32)[:, None]

    def _bent(self, x: Value) -> Value:
        """Return the activation, Mish or SELU."""
        graph = self._graph
        if self._model.activation == "selu":
            return graph.add("Selu", x, alpha=1.6732632423543772, gamma=1.0507009873554805)
        bound = np.float32(20.0)  # beyond, it is x
        soft = graph.add("Softplus", graph.add("Min", x, bound))
        return graph.add("Mul", x, graph.add("Tanh", soft))

    def _mean(self, outputs: Value) -> Value:
        graph = self._graph
        if self._model.setting.task.is_classification:
            shares = graph.add("Softmax", outputs, axis=2)
            return graph.add("ReduceMean", shares, axes=np.array([0]), keepdims=0)
        mean = graph.add("ReduceMean", outputs, axes=np.array([0]), keepdims=0)
        low, high = (np.float64(bound) for bound in self._range)
        return graph.add("Clip", mean, low, high)
