"""Weights, stacks, units, calibration and decisions in a graph."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from tabular_automl.data.task import ProblemType, TargetCodec, Task
from tabular_automl.deployment.onnx_columns import add_features
from tabular_automl.deployment.onnx_ensemble import add_answer, add_ensemble, label_array
from tabular_automl.deployment.onnx_graph import Graph
from tabular_automl.deployment.onnx_inputs import exported_parts, input_values
from tabular_automl.deployment.onnx_parity import run_model
from tabular_automl.ensemble.calibration import DecisionRule, Temperature

TASKS = ("binary", "multiclass", "regression")


def answer_of(pipeline, table):
    parts = exported_parts(pipeline.featurizer)
    graph = Graph()
    prediction = add_ensemble(graph, pipeline, add_features(graph, parts, pipeline.featurizer))
    names = add_answer(graph, pipeline, prediction)
    return run_model(graph.to_bytes({}), input_values(parts, table), names)


def assert_answers(pipeline, table, atol=1e-6):
    expected = pipeline.predict(table)
    found = answer_of(pipeline, table)
    np.testing.assert_allclose(found.numbers, expected, rtol=1e-6, atol=atol)
    return found, expected


@pytest.mark.parametrize("task", TASKS)
def test_an_ensemble_of_all_families_answers_as_before(task, plain_pipelines, new_rows):
    assert_answers(plain_pipelines(task), new_rows(task))


@pytest.mark.parametrize("task", TASKS)
def test_a_stack_of_two_layers_answers_as_before(task, plain_pipelines, new_rows):
    assert_answers(plain_pipelines(task, n_layers=2), new_rows(task))


@pytest.mark.parametrize("task", ["binary", "multiclass"])
@pytest.mark.parametrize("power", [1.0, 1.7])
def test_probabilities_are_calibrated(task, power, plain_pipelines, new_rows):
    temperature = Temperature(power, floor=0.01)
    assert_answers(replace(plain_pipelines(task), temperature=temperature), new_rows(task))


@pytest.mark.parametrize(
    "rule",
    [
        None,
        DecisionRule(),
        DecisionRule(factors=np.array([0.2, 0.3, 0.5])),
        DecisionRule(cutoffs=np.array([0.9, 1.05])),
    ],
    ids=["none", "most probable", "factors", "cutoffs"],
)
def test_a_decision_is_taken_by_the_rule(rule, plain_pipelines, new_rows):
    pipeline, rows = replace(plain_pipelines("multiclass"), rule=rule), new_rows("multiclass")
    found, expected = assert_answers(pipeline, rows)
    labels = pipeline.codec.labels(pipeline.decide(expected))
    assert found.labels.tolist() == labels.tolist()
    assert labels.nunique() > 1


def test_logarithmic_targets_are_turned_back(plain_pipelines, new_rows):
    pipeline = plain_pipelines("regression")
    y = pd.Series(np.linspace(1.0, 5000.0, 50))
    codec = TargetCodec.fit(y, Task(ProblemType.REGRESSION), "squared_log_error")
    assert_answers(replace(pipeline, codec=codec), new_rows("regression"))


@pytest.mark.parametrize(
    ("classes", "dtype"),
    [(["a", "b"], object), ([3, 7], np.int64), ([False, True], np.bool_), ([0.5, 2.0], float)],
)
def test_labels_keep_their_type(classes, dtype, plain_pipelines, new_rows):
    pipeline = plain_pipelines("binary")
    codec = replace(pipeline.codec, classes=pd.Index(classes))
    pipeline = replace(pipeline, codec=codec)
    assert label_array(pipeline).dtype == dtype
    labels = answer_of(pipeline, new_rows("binary")).labels
    expected = np.array(classes)[pipeline.decide(pipeline.predict(new_rows("binary")))]
    assert labels.tolist() == expected.tolist()
