import numpy as np
import pandas as pd
import pytest

from tabular_automl.data.task import TargetCodec, infer_task
from tabular_automl.ensemble.judge import Judge
from tabular_automl.metrics.resolve import make_metric, resolve_metric


def judge_of(y, problem_type, metric, weight=None):
    y = pd.Series(y)
    task, _ = infer_task(y, problem_type)
    resolved = resolve_metric(metric, task.problem_type)
    codec = TargetCodec.fit(y, task, resolved.loss)
    shown = codec.encode(y) if task.is_classification else y.to_numpy(float)
    return Judge(resolved, codec, shown, weight)


def test_a_standardised_output_is_scored_in_the_users_units():
    y = np.array([100.0, 200.0, 300.0, 400.0])
    judge = judge_of(y, "regression", "mean_absolute_error")
    mean_prediction = judge.decode(np.zeros((4, 1)))
    np.testing.assert_allclose(mean_prediction, 250.0)
    assert judge.score(mean_prediction, np.arange(4)) == pytest.approx(-100.0)


def test_probabilities_are_left_as_they_are():
    judge = judge_of(["a", "b"] * 5, "binary", "log_loss")
    probabilities = np.full((10, 2), 0.5)
    assert judge.decode(probabilities) is probabilities
    assert judge.score(probabilities, np.arange(10)) == pytest.approx(-np.log(2))


def test_only_the_given_rows_and_their_weights_count():
    y = np.array([0.0, 1.0, 2.0, 30.0])
    judge = judge_of(y, "regression", "mean_absolute_error", np.array([1.0, 3.0, 1.0, 1.0]))
    prediction = np.array([[1.0], [1.0]])
    assert judge.score(prediction, np.array([0, 1])) == pytest.approx(-0.25)
    assert judge.error(prediction, np.array([0, 1])) == pytest.approx(0.25)


def test_a_function_of_the_users_own_judges_rows_of_every_class_only():
    labels = ["a", "b", "c"] * 5
    own = make_metric(lambda y_true, y_pred: 1.0, name="own")
    some, every = np.array([0, 1, 3]), np.array([0, 1, 2])
    judge = judge_of(labels, "multiclass", own)
    assert not judge.can_judge(some)
    assert judge.can_judge(every)
    assert judge_of(labels, "multiclass", "accuracy").can_judge(some)
    numbers = make_metric(lambda y_true, y_pred: 1.0, name="numbers", needs="value")
    assert judge_of(np.arange(15.0), "regression", numbers).can_judge(some)
