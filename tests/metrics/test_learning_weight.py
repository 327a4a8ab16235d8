"""What rows count by while models learn for the sake of a metric."""

import numpy as np
import pytest

from tabular_automl.core.medians import weighted_median
from tabular_automl.metrics.base import METRICS
from tabular_automl.metrics.losses import learning_weight, loss_of_models

RELATIVE = METRICS.get("mean_absolute_percentage_error").loss


@pytest.mark.parametrize("weighted", [False, True])
def test_the_weighted_median_is_the_best_constant_for_relative_errors(weighted):
    rng = np.random.default_rng(0)
    y = np.exp(rng.normal(size=500)) + 0.1
    weight = rng.uniform(size=500) if weighted else None
    best = weighted_median(y, learning_weight(RELATIVE, y, weight))
    metric = METRICS.get("mean_absolute_percentage_error")

    def error(value):
        return metric.raw(y, np.full((500, 1), value), weight)

    assert error(best) <= min(error(value) for value in np.linspace(0.1, 3.0, 300)) * 1.001
    assert best < np.median(y)


def test_other_losses_leave_weights_as_they_are():
    y, weight = np.array([1.0, 2.0]), np.array([3.0, 4.0])
    assert learning_weight("absolute_error", y, weight) is weight
    assert learning_weight("squared_error", y, None) is None
    assert learning_weight(RELATIVE, np.zeros(2), weight) is weight
    assert loss_of_models(RELATIVE) == "absolute_error"
    assert loss_of_models("log_loss") == "log_loss"


def test_tiny_values_do_not_count_without_end():
    y = np.append(np.linspace(1.0, 2.0, 999), [1e-300, 0.0])
    weight = learning_weight(RELATIVE, y, None)
    assert weight.mean() == pytest.approx(1.0)
    assert weight.max() < 2.0
    zero = learning_weight(RELATIVE, y, np.append(np.zeros(1), np.ones(1000)))
    assert zero[0] == 0.0
