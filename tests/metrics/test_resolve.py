"""From names and functions to metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sklearn.metrics as reference

from tabular_automl.core.errors import DataError, InvalidOptionError
from tabular_automl.data.task import ProblemType, Task
from tabular_automl.metrics.base import METRICS, Reads
from tabular_automl.metrics.regression import pinball
from tabular_automl.metrics.resolve import check_on_labels, make_metric, resolve_metric

BINARY, MULTICLASS, REGRESSION = ProblemType
TWO, THREE, NUMBER = Task(BINARY, 2), Task(MULTICLASS, 3), Task(REGRESSION)


def _count_hits(y_true: Any, y_pred: Any) -> float:
    return float((y_true == y_pred).sum())


def _miss_loss(y_true: Any, y_pred: Any) -> float:
    return float((y_true != y_pred).sum())


@pytest.mark.parametrize(
    ("problem_type", "name"),
    [(BINARY, "roc_auc"), (MULTICLASS, "log_loss"), (REGRESSION, "root_mean_squared_error")],
)
def test_none_means_the_default(problem_type: ProblemType, name: str) -> None:
    assert resolve_metric(None, problem_type).name == name


@pytest.mark.parametrize("spelling", ["rmse", "RMSE", "root-mean-squared-error", " Rmse "])
def test_case_and_hyphens_do_not_matter(spelling: str) -> None:
    assert resolve_metric(spelling, REGRESSION) is METRICS.get("root_mean_squared_error")


@pytest.mark.parametrize("spelling", ["pinball_0.9", "Pinball-.9", "mean_pinball_loss_0.90"])
def test_a_quantile_is_part_of_the_name_of_its_loss(spelling: str) -> None:
    assert resolve_metric(spelling, REGRESSION) == pinball(0.9)
    assert resolve_metric("pinball_0.5", REGRESSION) == METRICS.get("pinball")


@pytest.mark.parametrize("name", ["pinball_0.0", "pinball_90", "quantile_0.9"])
def test_a_name_without_a_quantile_raises_with_one_that_has_it(name: str) -> None:
    with pytest.raises(InvalidOptionError, match=rf"Unknown metric '{name}'.*'pinball_0\.9'"):
        resolve_metric(name, REGRESSION)


def test_a_function_of_values_may_be_learned_by_a_quantile() -> None:
    assert make_metric(_miss_loss, needs="value", loss="quantile_0.9").loss == "quantile_0.9"
    with pytest.raises(InvalidOptionError, match=r"'quantile'.*'quantile_0\.9'"):
        make_metric(_miss_loss, needs="value", loss="quantile")
    with pytest.raises(InvalidOptionError, match="loss of a metric of labels"):
        make_metric(_miss_loss, loss="quantile_0.9")


def test_an_unknown_name_raises_with_the_nearest() -> None:
    with pytest.raises(InvalidOptionError, match=r"Unknown metric 'roc_acu'.*'roc_auc'"):
        resolve_metric("roc_acu", BINARY)
    with pytest.raises(InvalidOptionError, match=r"Unknown metric 'rmsee'.*'rmse'"):
        resolve_metric("rmsee", None)


def test_a_metric_of_another_task_raises_with_those_that_fit() -> None:
    with pytest.raises(InvalidOptionError, match="'r2' judges a regression task, got a binary"):
        resolve_metric("r2", BINARY)
    with pytest.raises(InvalidOptionError, match=r"'f1' judges a binary task.*f1_macro"):
        resolve_metric("f1", MULTICLASS)
    with pytest.raises(InvalidOptionError, match=r"'roc_auc' judges .*mean_absolute_error"):
        resolve_metric(METRICS.get("roc_auc"), REGRESSION)


@pytest.mark.parametrize("metric", [3, ["roc_auc"], object()])
def test_something_that_is_no_metric_raises(metric: Any) -> None:
    with pytest.raises(InvalidOptionError, match="eval_metric must be a metric name"):
        resolve_metric(metric, BINARY)


def test_a_scikit_learn_scorer_raises_with_what_to_pass_instead() -> None:
    scorer = reference.make_scorer(reference.accuracy_score)

    with pytest.raises(InvalidOptionError, match=r"scorer .*pass its name or the function"):
        resolve_metric(scorer, BINARY)


def test_a_bare_function_reads_labels_of_classes_and_numbers_of_a_regression() -> None:
    assert resolve_metric(_count_hits, BINARY).reads is Reads.LABEL
    assert resolve_metric(_count_hits, REGRESSION).reads is Reads.VALUE
    assert resolve_metric(_count_hits, BINARY).name == "_count_hits"


def test_a_bare_function_named_as_a_loss_is_minimised() -> None:
    assert resolve_metric(_count_hits, BINARY).greater_is_better
    assert not resolve_metric(_miss_loss, BINARY).greater_is_better
    assert not resolve_metric(reference.mean_squared_error, REGRESSION).greater_is_better


def test_a_user_function_gets_the_users_own_labels() -> None:
    seen: list[Any] = []

    def remember(y_true: Any, y_pred: Any) -> float:
        seen.append((list(y_true), list(y_pred)))
        return 1.0

    metric = resolve_metric(remember, BINARY).bind(np.array(["no", "yes"]))
    metric.raw(np.array([0, 1]), np.array([[0.1, 0.9], [0.2, 0.8]]))

    assert seen == [(["no", "yes"], ["yes", "yes"])]


def test_a_probability_function_gets_one_column_of_two_classes_and_all_of_more() -> None:
    shapes: list[tuple[int, ...]] = []

    def remember(y_true: Any, y_pred: Any) -> float:
        shapes.append(y_pred.shape)
        return 1.0

    metric = make_metric(remember, needs="probability")
    metric.raw(np.zeros(4, dtype=int), np.full((4, 2), 0.5))
    metric.raw(np.zeros(4, dtype=int), np.full((4, 3), 1 / 3))

    assert shapes == [(4,), (4, 3)]


def test_scikit_learns_own_functions_can_be_passed() -> None:
    classes, rng = np.array(["a", "b", "c"]), np.random.default_rng(0)
    y, probability = rng.integers(0, 3, 50), rng.dirichlet(np.ones(3), 50)
    weight = rng.random(50)
    metric = make_metric(reference.log_loss, needs="probability", greater_is_better=False)

    found = metric.bind(classes).score(y, probability, weight)

    assert found == pytest.approx(METRICS.get("log_loss").score(y, probability, weight))


def test_row_weights_reach_only_a_function_that_takes_them() -> None:
    y, codes, weight = np.array([0, 1]), np.array([0, 0]), np.array([3.0, 1.0])

    assert make_metric(reference.accuracy_score).raw(y, codes, weight) == 0.75
    assert make_metric(_count_hits).raw(y, codes, weight) == 1.0


def test_make_metric_names_what_it_does_not_know() -> None:
    with pytest.raises(InvalidOptionError, match=r"Unknown value of needs 'labels'.*'label'"):
        make_metric(_count_hits, needs="labels")
    with pytest.raises(InvalidOptionError, match="Unknown loss of a metric of values 'mae'"):
        make_metric(_count_hits, needs="value", loss="mae")
    with pytest.raises(InvalidOptionError, match="function must be callable, got 'accuracy'"):
        make_metric("accuracy")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", METRICS.names())
def test_every_built_in_passes_the_check_on_labels(name: str) -> None:
    metric = METRICS.get(name)
    for task in (TWO, THREE, NUMBER):
        if task.problem_type in metric.problem_types:
            y = np.arange(5000) % 3 % max(task.n_classes, 2)
            check_on_labels(metric, task, y if task.is_classification else y + 1.5)


def test_a_function_of_mistaken_direction_raises() -> None:
    y = np.arange(10) % 2

    with pytest.raises(InvalidOptionError, match=r"'_miss_loss' gives 0 to perfect .*=False"):
        check_on_labels(make_metric(_miss_loss), TWO, y)
    with pytest.raises(InvalidOptionError, match=r"'_count_hits' gives 10 to perfect .*=True"):
        check_on_labels(make_metric(_count_hits, greater_is_better=False), TWO, y)


def test_a_function_that_returns_nothing_raises() -> None:
    with pytest.raises(InvalidOptionError, match="must return a number, got None"):
        check_on_labels(make_metric(lambda a, b: None, needs="value"), NUMBER, np.arange(4.0))  # type: ignore[arg-type,return-value]


def test_labels_that_a_metric_cannot_judge_raise() -> None:
    with pytest.raises(DataError, match="labels of at least 0, got -7"):
        check_on_labels(METRICS.get("rmsle"), NUMBER, np.append(np.arange(9000.0), -7.0))


def test_a_rare_class_is_among_the_labels_that_a_metric_is_tried_on() -> None:
    seen: list[set[int]] = []

    def noting(y: Any, probability: Any) -> float:
        seen.append(set(y.tolist()))
        return float((probability * y).mean())

    y = np.append(np.zeros(100_000, dtype=np.int64), 1)
    check_on_labels(make_metric(noting, needs="probability"), TWO, y)
    assert seen == [{0, 1}] * 2
