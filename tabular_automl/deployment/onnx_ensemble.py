"""From the features in an ONNX graph to the ensemble's answer: stack, weights, calibration."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tabular_automl.deployment.onnx_bags import add_bag
from tabular_automl.deployment.onnx_columns import Features
from tabular_automl.deployment.onnx_graph import Graph, Value
from tabular_automl.ensemble.calibration import DecisionRule, Temperature
from tabular_automl.fitted import FittedPipeline


def add_ensemble(graph: Graph, pipeline: FittedPipeline, features: Features) -> Value:
    """Return what `FittedPipeline.predict` does: float64, shape (n_rows, n_outputs)."""
    outputs = _bag_outputs(graph, pipeline, features)
    total: Value | None = None
    for key, weight in pipeline.stack.weights.items():
        own = graph.add("Mul", _in_user_units(graph, pipeline, outputs[key]), np.float64(weight))
        total = own if total is None else graph.add("Add", total, own)
    assert total is not None  # an ensemble has a bag at least
    if pipeline.temperature is None:
        return total
    return _calibrated(graph, pipeline.temperature, total, pipeline.task.n_outputs)


def add_answer(graph: Graph, pipeline: FittedPipeline, prediction: Value) -> dict[str, str]:
    """Make outputs of a prediction; return their names by what they are."""
    if not pipeline.task.is_classification:
        value = graph.column(prediction, 0)
        return {"prediction": graph.output("prediction", value, np.float64, ["n_rows"])}
    labels = label_array(pipeline)
    label = graph.add("Gather", labels, _decided(graph, pipeline.rule, prediction, len(labels)))
    names = {"prediction": graph.output("prediction", label, labels.dtype, ["n_rows"])}
    shape: list[int | str] = ["n_rows", len(labels)]
    names["probabilities"] = graph.output("probabilities", prediction, np.float64, shape)
    return names


def label_array(pipeline: FittedPipeline) -> npt.NDArray[Any]:
    """Return the class labels as ONNX has them: whole numbers, numbers, booleans, else texts."""
    values = pipeline.codec.classes.tolist()
    for kind, dtype in ((bool, np.bool_), (int, np.int64), (float, np.float64)):
        if all(type(value) is kind for value in values):
            return np.array(values, dtype=dtype)
    return np.array([str(value) for value in values], dtype=object)


def _bag_outputs(graph: Graph, pipeline: FittedPipeline, features: Features) -> dict[str, Value]:
    """Return what each bag predicts on the models' scale, by key."""
    stack, n_outputs = pipeline.stack, pipeline.task.n_outputs
    inputs, outputs = {1: features}, dict[str, Value]()
    for bag in stack.bags:
        if bag.layer not in inputs:
            fed = [outputs[key] for key in stack.feeds[bag.layer]]
            if n_outputs > 1:  # the first class is one minus the others
                fed = [graph.columns(output, np.arange(1, n_outputs)) for output in fed]
            block = graph.cast(graph.side_by_side(fed), np.float32)
            width = len(fed) * max(1, n_outputs - 1)
            inputs[bag.layer] = features.with_numeric(graph, block, width)
        outputs[bag.key] = add_bag(graph, bag, inputs[bag.layer])
    return outputs


def _in_user_units(graph: Graph, pipeline: FittedPipeline, output: Value) -> Value:
    """Do what `TargetCodec.decode` does for a regression."""
    codec = pipeline.codec
    if codec.task.is_classification:
        return output
    value = graph.add("Mul", output, np.float64(codec.scale))
    value = graph.add("Add", value, np.float64(codec.center))
    value = graph.add("Clip", value, *(np.float64(bound) for bound in codec.bounds))
    return graph.add("Sub", graph.add("Exp", value), np.float64(1.0)) if codec.log else value


def _calibrated(graph: Graph, temperature: Temperature, p: Value, n_classes: int) -> Value:
    """Do what `Temperature.apply` does."""
    p = graph.add("Div", p, graph.add("ReduceSum", p, np.array([1]), keepdims=1))
    mixed = graph.add("Mul", p, np.float64(1.0 - temperature.floor))
    mixed = graph.add("Add", mixed, np.float64(temperature.floor / n_classes))
    if temperature.power == 1.0:
        return mixed
    logs = graph.add("Mul", graph.add("Log", mixed), np.float64(temperature.power))
    return graph.add("Softmax", logs, axis=1)


def _decided(graph: Graph, rule: DecisionRule | None, p: Value, n_classes: int) -> Value:
    """Do what `FittedPipeline.decide` does: class codes of shape (n_rows,)."""
    if rule is not None and rule.cutoffs is not None:
        codes = np.arange(n_classes, dtype=np.float64)[:, None]
        beyond = graph.add("Greater", graph.add("MatMul", p, codes), rule.cutoffs)
        counted = graph.cast(beyond, np.int64)
        return graph.add("ReduceSum", counted, np.array([1]), keepdims=0)
    if rule is not None and rule.factors is not None:
        p = graph.add("Mul", p, rule.factors)
    return graph.add("ArgMax", p, axis=1, keepdims=0)
