import numpy as np
import pytest

from tabular_automl.core.budget import Budget
from tabular_automl.data.table import FeatureTable, Samples
from tabular_automl.data.task import ProblemType, Task
from tabular_automl.models.base import FittedSpec, Setting
from tabular_automl.models.prior import Prior


def fitted(task, y, loss="log_loss", weight=None):
    train = Samples(FeatureTable.empty(len(y)), np.asarray(y), weight)
    return Prior(Prior.Params(), Setting(task, loss)).fit(train, None, Budget.unlimited())


def test_classes_never_seen_keep_a_small_probability():
    prior = fitted(Task(ProblemType.MULTICLASS, 3), [0, 0, 0, 1])
    prediction = prior.predict(FeatureTable.empty(2))
    assert prediction.shape == (2, 3)
    assert 0 < prediction[0, 2] < prediction[0, 1] < prediction[0, 0]
    assert prediction.sum(axis=1) == pytest.approx([1, 1])


def test_weights_move_the_average():
    prior = fitted(
        Task(ProblemType.REGRESSION), [0.0, 4.0], "squared_error", weight=np.array([1.5, 0.5])
    )
    assert prior.predict(FeatureTable.empty(1)) == pytest.approx(1.0)


def test_absolute_error_is_answered_with_the_median():
    prior = fitted(Task(ProblemType.REGRESSION), [0.0, 0.0, 9.0], "absolute_error")
    assert prior.predict(FeatureTable.empty(1)) == pytest.approx(0.0)


def test_the_median_heeds_weights():
    y, weight = [0.0, 0.0, 9.0], np.array([0.3, 0.3, 2.4])
    prior = fitted(Task(ProblemType.REGRESSION), y, "absolute_error", weight)
    assert prior.predict(FeatureTable.empty(1)) == pytest.approx(9.0)


def test_a_saved_prior_predicts_the_same_for_no_rows_too():
    prior = fitted(Task(ProblemType.BINARY, 2), [0, 1, 1])
    again = FittedSpec.from_state(FittedSpec("prior", prior).state()).model
    for n_rows in (0, 3):
        table = FeatureTable.empty(n_rows)
        assert np.array_equal(again.predict(table), prior.predict(table))
