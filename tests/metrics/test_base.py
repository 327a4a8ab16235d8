"""Metric values: direction, what is read, binding to labels, the table of names."""

from __future__ import annotations

import numpy as np
import pytest

from tabular_automl.core.errors import InvalidOptionError
from tabular_automl.data.task import ProblemType
from tabular_automl.metrics.base import METRICS, Metric, Reads


def _metric_returning(figure: object) -> Metric:
    types = (ProblemType.REGRESSION,)
    return Metric("odd", lambda *_: figure, True, 1.0, Reads.VALUE, types, "squared_error")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", METRICS.names())
def test_every_name_loads_a_metric(name: str) -> None:
    metric = METRICS.get(name)

    assert isinstance(metric, Metric)
    assert METRICS.get(metric.name) is metric


def test_score_of_a_smaller_is_better_metric_is_negated() -> None:
    y, prediction = np.array([0.0, 0.0]), np.array([[3.0], [3.0]])
    rmse = METRICS.get("rmse")

    assert rmse.raw(y, prediction) == 3.0
    assert rmse.score(y, prediction) == -3.0
    assert rmse.error(y, prediction) == 3.0


def test_error_of_a_greater_is_better_metric_is_the_distance_to_its_optimum() -> None:
    y, prediction = np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]])

    assert METRICS.get("accuracy").error(y, prediction) == 0.5


def test_a_label_metric_takes_probabilities_or_codes() -> None:
    y, probability = np.array([0, 1, 2]), np.eye(3)[[0, 2, 2]]
    accuracy = METRICS.get("accuracy")

    assert accuracy.raw(y, probability) == accuracy.raw(y, probability.argmax(axis=1))


@pytest.mark.parametrize("figure", [float("nan"), None, "good", np.zeros(2)])
def test_a_figure_that_is_no_number_raises(figure: object) -> None:
    metric = _metric_returning(figure)

    with pytest.raises(InvalidOptionError, match="'odd' must return a number, got"):
        metric.raw(np.zeros(2), np.zeros((2, 1)))


def test_bind_leaves_a_built_in_as_it_is() -> None:
    metric = METRICS.get("f1")

    assert metric.bind(np.array(["no", "yes"])) is metric
