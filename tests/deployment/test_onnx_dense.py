"""Linear models and networks answer in a graph as they do themselves."""

import numpy as np
import pytest

from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.deployment.onnx_dense import encoded
from tabular_automl.models.dense import DenseEncoder
from tests.deployment.bags import BINARY, FOUR_CLASSES, REGRESSION, bag_of
from tests.deployment.onnx_runs import assert_converts, feeds_of, run, with_inputs

TASKS = (BINARY, FOUR_CLASSES, REGRESSION)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.problem_type)
@pytest.mark.parametrize("params", [{"n_knots": 4}, {"n_knots": 0, "clip": False}])
def test_linear_models_answer_as_before(task, params):
    assert_converts(bag_of("linear", task, regularization=1.0, **params), atol=5e-6)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.problem_type)
@pytest.mark.parametrize("activation", ["mish", "selu"])
def test_networks_answer_as_before(task, activation):
    params = {"n_epochs": 2, "width": 16, "n_members": 2, "activation": activation}
    assert_converts(bag_of("neural", task, **params), atol=5e-6)


@pytest.mark.parametrize("n_knots", [0, 4])
def test_a_network_without_waves_is_converted(n_knots):
    params = {"n_epochs": 2, "width": 16, "n_members": 2, "n_frequencies": 0, "n_knots": n_knots}
    assert_converts(bag_of("neural", REGRESSION, **params), atol=5e-6)


@pytest.mark.parametrize("block", ["numeric", "codes"])
@pytest.mark.parametrize("family", ["linear", "neural"])
def test_numbers_only_and_categories_only_will_do(family, block):
    params = {"linear": {"regularization": 1.0}, "neural": {"n_epochs": 2, "width": 16}}
    assert_converts(bag_of(family, BINARY, block=block, **params[family]), block, atol=5e-6)


@pytest.mark.parametrize("n_knots", [0, 4])
def test_counts_of_words_are_weighted_in_their_place(n_knots):
    rng = np.random.default_rng(0)
    counts = (rng.random((300, 60)) < 0.1) * rng.integers(1, 4, (300, 60))
    numeric = np.hstack([rng.normal(size=(300, 2)), counts]).astype(np.float32)
    names = tuple(f"n{i}" for i in range(62))
    table = FeatureTable(numeric, np.empty((300, 0), np.int32), names)
    encoder = DenseEncoder(n_knots=n_knots)
    encoder.fit(Samples(table, rng.integers(0, 2, 300)), BINARY, 0)
    assert len(encoder.count_column) == 60
    new = table.take(np.arange(50))
    new.numeric[3, 5:9] = np.nan
    graph, inputs = with_inputs(new)
    found = run(graph, encoded(graph, encoder, inputs), feeds_of(new), dtype=np.float32)
    np.testing.assert_allclose(found, encoder.transform(new), rtol=0, atol=1e-5)
